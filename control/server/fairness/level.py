"""Priority levels: how many seats each has, and which request is the next to take one. Pure.

A level's flows have a hand of its queues each (shuffle sharding): two flows that share one queue
seldom share all. Queues take turns by the seats that they got (start-time fair queueing), so that
a flow with many requests waits behind its own. What a level does not use, others may borrow, but
for what it does not lend.
"""

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from control.server.access.attributes import AccessAttributes
from control.server.fairness.schemas import Flow

NOTHING = AccessAttributes("")
_MOST_QUEUES = 1024
_MOST_WAITING = 10_000  # of a queue
_HANDS = 4096  # flows whose hands are remembered


@dataclass(slots=True, eq=False)
class Asker:
    """Who asks for what, as debugging shows it; times are of the epoch."""

    flow: Flow
    user: str = ""
    path: str = ""
    asked: AccessAttributes = NOTHING
    arrived: float = 0.0
    started: float = 0.0  # zero while it waits


@dataclass(slots=True, eq=False)
class Seat:
    """A request that goes on with the seats that it has; ``queue`` is where it has waited."""

    level: "Level | None"
    seats: int
    asker: Asker
    queue: int = -1
    is_bounded: bool = True  # by the seats of its level
    is_free: bool = False  # it has given its seats back


@dataclass(slots=True, eq=False)
class Ticket:
    """A request that waits; ``go`` is called when it may go on."""

    seats: int
    go: Callable[[], None]
    queue: int = 0
    asker: Asker | None = None


@dataclass(frozen=True, slots=True)
class LevelSpec:
    """A PriorityLevelConfiguration; without queues a request that finds no seat is refused."""

    name: str
    uid: str
    exempt: bool = False
    shares: int = 0
    lendable: int = 0  # percent
    borrowing: int | None = None  # percent of its own seats; None: no limit
    queues: int = 0
    hand: int = 1
    length: int = 0


def level_of(wire: Mapping[str, Any]) -> LevelSpec:
    """Read a PriorityLevelConfiguration; values out of their range get the next valid one."""
    meta, spec = wire.get("metadata") or {}, wire.get("spec") or {}
    name, uid = meta.get("name", ""), meta.get("uid", "")
    if spec.get("type") == "Exempt":
        own = spec.get("exempt") or {}
        return LevelSpec(name, uid, True, *_shares(own, 0))
    own = spec.get("limited") or {}
    response = own.get("limitResponse") or {}
    queuing = response.get("queuing") or {}
    queues = hand = length = 0
    if response.get("type") == "Queue":
        queues = _within(queuing.get("queues"), 64, 1, _MOST_QUEUES)
        hand = _within(queuing.get("handSize"), 8, 1, queues)
        length = _within(queuing.get("queueLengthLimit"), 50, 1, _MOST_WAITING)
    most = own.get("borrowingLimitPercent")
    borrowing = None if most is None else max(0, most)
    shares = _shares(own, 30)
    return LevelSpec(name, uid, False, *shares, borrowing, queues, max(1, hand), length)


def _shares(own: Mapping[str, Any], default: int) -> tuple[int, int]:
    shares = _within(own.get("nominalConcurrencyShares"), default, 0, 1 << 30)
    return shares, _within(own.get("lendablePercent"), 0, 0, 100)


def _within(value: int | None, default: int, low: int, high: int) -> int:
    return default if value is None else min(max(value, low), high)


@lru_cache(_HANDS)
def hand_of(flow: str, queues: int, size: int) -> tuple[int, ...]:
    """Return the queues of a flow: as many different ones, as a hash of its name deals them."""
    rest = int.from_bytes(hashlib.blake2b(flow.encode(), digest_size=16).digest())
    deck, hand = list(range(queues)), []
    for _ in range(size):
        rest, place = divmod(rest, len(deck))
        hand.append(deck.pop(place))
    return tuple(hand)


@dataclass(slots=True)
class Tally:
    """How many requests of a level have ended their wait, and how."""

    dispatched: int = 0
    rejected: int = 0
    timed_out: int = 0
    cancelled: int = 0


@dataclass(slots=True, eq=False)
class Level:
    """One level: seats in use, and requests that wait in its queues."""

    spec: LevelSpec
    nominal: int = 0
    used: int = 0  # of those that are bounded
    seated: set[Seat] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    _queues: dict[int, deque[Ticket]] = field(default_factory=dict)
    _served: dict[int, float] = field(default_factory=dict)
    _now: float = 0.0

    @property
    def kept(self) -> int:
        """The seats that nobody else gets."""
        return self.nominal - self.nominal * self.spec.lendable // 100

    @property
    def most(self) -> float:
        """The seats that it can have with all that others lend."""
        if self.spec.borrowing is None:
            return math.inf
        return self.nominal + self.nominal * self.spec.borrowing // 100

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._queues.values()))

    @property
    def occupied(self) -> int:
        """The seats of all requests that go on; an exempt level has no bound of them."""
        return sum(seat.seats for seat in self.seated)

    def queues(self) -> Iterator[tuple[int, Sequence[Ticket], float]]:
        """Yield each queue: its number, who waits in it, and what it was served already."""
        for number in range(self.spec.queues):
            yield number, self._queues.get(number, ()), self._served.get(number, 0.0)

    def enqueue(self, flow: str, ticket: Ticket) -> bool:
        """Put a request into the shortest queue of its flow; False if that is full."""
        if not self.spec.queues:
            return False
        hand = hand_of(flow, self.spec.queues, self.spec.hand)
        ticket.queue = min(hand, key=lambda it: len(self._queues.get(it, ())))
        queue = self._queues.get(ticket.queue)
        if queue is None:
            queue = self._queues[ticket.queue] = deque()
            # Who has not waited has no credit for the past.
            begun = self._served.get(ticket.queue, 0.0)
            self._served[ticket.queue] = max(begun, self._now)
        elif len(queue) >= self.spec.length:
            return False
        queue.append(ticket)
        return True

    def next(self) -> Ticket | None:
        """Return the request whose turn it is; None if none waits."""
        if not self._queues:
            return None
        return self._queues[min(self._queues, key=self._served.__getitem__)][0]

    def take(self, ticket: Ticket) -> None:
        """Let a request that has waited leave its queue with its seats."""
        self._now = self._served[ticket.queue]
        self._served[ticket.queue] += ticket.seats
        self.leave(ticket)
        self.used += ticket.seats

    def leave(self, ticket: Ticket) -> None:
        """Forget a request that waits; it may have left already."""
        queue = self._queues.get(ticket.queue, deque())
        if ticket in queue:
            queue.remove(ticket)
        if not queue:
            self._queues.pop(ticket.queue, None)
            if not self._queues:
                self._served.clear()
                self._now = 0.0


class Room:
    """All levels, and the seats that they share."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.levels: dict[str, Level] = {}

    def set(self, specs: Iterable[LevelSpec]) -> None:
        """Make these the levels; those that stay keep who is seated and who waits.

        What waits at a level that is gone goes on.
        """
        before, self.levels = self.levels, {}
        known = list(specs)
        whole = sum(each.shares for each in known) or 1
        for spec in known:
            level = before.pop(spec.name, None) or Level(spec)
            level.spec, level.nominal = spec, math.ceil(self.total * spec.shares / whole)
            self.levels[spec.name] = level
        for gone in before.values():
            while (ticket := gone.next()) is not None:
                gone.take(ticket)
                ticket.go()
        self.seat()

    def has(self, level: Level, seats: int) -> bool:
        """Return True if a level has so many seats, its own or borrowed; the first always has."""
        wanted = level.used + seats
        if wanted <= level.nominal or not level.used:
            return True
        if wanted > level.most:
            return False
        others = (max(it.used, it.kept) for it in self.levels.values() if it is not level)
        return wanted + sum(others) <= self.total

    def begin(self, level: Level, seats: int) -> bool:
        """Take seats at once, if there are and nobody waits; False if not."""
        if level.next() is not None or not self.has(level, seats):
            return False
        level.used += seats
        return True

    def end(self, level: Level, seats: int) -> None:
        """Give seats back, and let others have them."""
        level.used -= seats
        self.seat(level)

    def seat(self, first: Level | None = None) -> None:
        """Let those go on for whom there are seats: of a level first, then of the others."""
        for level in (*((first,) if first else ()), *self.levels.values()):
            while (ticket := level.next()) is not None and self.has(level, ticket.seats):
                level.take(ticket)
                ticket.go()
