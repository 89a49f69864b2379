"""The bytes of request bodies that are held at a time: bounded in all, and for each user.

Upstream bounds the number of requests (--max-mutating-requests-inflight); 200 bodies of 3 MiB and
what is decoded of them are too much for one process. A small body is always taken: a node's
heartbeat must not fail because somebody else writes much. An administrator is not locked out by
others, as in upstream.
"""

from collections import Counter
from typing import Self

_MIB = 1024 * 1024
TOTAL = 64 * _MIB
SHARE = TOTAL // 2  # of one user
FREE = 16 * 1024  # of each body


class BusyError(Exception):
    """There is no room for more bytes now; a repeat may succeed."""


class BodyBudget:
    """Counts bytes by user."""

    def __init__(self, total: int = TOTAL, share: int = SHARE, free: int = FREE) -> None:
        self._total, self._share, self._free = total, share, free
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """The bytes that are counted now."""
        return self._held.total()

    def holding(self, user: str, *, is_master: bool = False) -> "Holding":
        """Return what counts the body of one request until its block ends.

        A member of system:masters gets its share even if others have taken all the rest.
        """
        return Holding(self, user, is_master=is_master)

    def take(self, user: str, size: int, *, is_master: bool) -> None:
        """Count bytes; raises BusyError if they are too many."""
        is_full = self.held + size > self._total and not is_master
        if is_full or self._held[user] + size > self._share:
            raise BusyError
        self._held[user] += size

    def give_back(self, user: str, size: int) -> None:
        """Count bytes no more."""
        self._held[user] -= size
        if not self._held[user]:
            del self._held[user]

    def beyond_free(self, size: int) -> int:
        """Return how many bytes of a body of this size are counted."""
        return max(0, size - self._free)


class Holding:
    """The bytes of one body."""

    def __init__(self, budget: BodyBudget, user: str, *, is_master: bool) -> None:
        self._budget, self._user, self._is_master = budget, user, is_master
        self._size, self.counted = 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.counted:
            self._budget.give_back(self._user, self.counted)

    def grow(self, size: int) -> None:
        """Count bytes that have arrived; raises BusyError."""
        self._size += size
        more = self._budget.beyond_free(self._size) - self.counted
        if more:
            self._budget.take(self._user, more, is_master=self._is_master)
            self.counted += more
