"""Numbers for what has no short name: a chain of a profile, a set of a group."""

from collections.abc import Hashable
from itertools import count


class Numbers:
    """Gives each value a number, and no number twice."""

    def __init__(self) -> None:
        self._given: dict[Hashable, int] = {}
        self._next = count(1)

    def of(self, what: Hashable) -> int:
        """Return the number of a value."""
        number = self._given.get(what)
        if number is None:
            number = self._given[what] = next(self._next)
        return number

    def forget(self, what: Hashable) -> None:
        """Forget a value that is needed no more."""
        self._given.pop(what, None)
