"""Keeps replies for as long as they may be kept: bounded in number and in bytes. Pure.

The event loop puts replies in; the sockets' threads take them out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from control.dns.upstream.reply import Question, Reply

MOST_REPLIES = 9984  # of each type, as in CoreDNS
MOST_BYTES = 16 << 20  # of each type
SUCCESS, DENIAL = "success", "denial"
Labels = tuple[str, ...]


@dataclass(slots=True)
class _Shelf:
    """Replies of one type with the time of their end, the oldest first; and what they count."""

    kept: dict[Question, tuple[Reply, float]] = field(default_factory=dict)
    size: int = 0
    hits: int = 0
    evictions: int = 0

    def put(self, question: Question, reply: Reply, end: float) -> None:
        self.drop(question)
        self.kept[question] = reply, end
        self.size += reply.size
        while len(self.kept) > MOST_REPLIES or self.size > MOST_BYTES:
            self.drop(next(iter(self.kept)))
            self.evictions += 1

    def drop(self, question: Question) -> None:
        if found := self.kept.pop(question, None):
            self.size -= found[0].size


class Cache:
    """The replies, by question; ``clock`` returns seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._shelves = {SUCCESS: _Shelf(), DENIAL: _Shelf()}
        self._misses = 0

    def put(self, question: Question, reply: Reply) -> None:
        """Keep a reply, in place of another one, if it may be kept."""
        if not reply.seconds:
            return
        with self._lock:
            for shelf in self._shelves.values():
                shelf.drop(question)
            shelf = self._shelves[DENIAL if reply.negative else SUCCESS]
            shelf.put(question, reply, self._clock() + reply.seconds)

    def get(self, question: Question) -> tuple[Reply, int] | None:
        """Return a reply, and for how many seconds it is still good: at least 1."""
        now = self._clock()
        with self._lock:
            for shelf in self._shelves.values():
                found = shelf.kept.get(question)
                if found is None:
                    continue
                if found[1] - now > 0:
                    shelf.hits += 1
                    return found[0], max(1, int(found[1] - now))
                shelf.drop(question)
            self._misses += 1
        return None

    def counts(self) -> dict[str, dict[Labels, float]]:
        """Return the numbers by CoreDNS' names and the label ``type``, where there is one."""
        with self._lock:
            hits = self._by_type(lambda shelf: shelf.hits)
            return {
                "entries": self._by_type(lambda shelf: len(shelf.kept)),
                "evictions_total": self._by_type(lambda shelf: shelf.evictions),
                "hits_total": hits,
                "misses_total": {(): self._misses},
                "requests_total": {(): self._misses + sum(hits.values())},
            }

    def _by_type(self, number: Callable[[_Shelf], float]) -> dict[Labels, float]:
        return {(name,): number(shelf) for name, shelf in self._shelves.items()}
