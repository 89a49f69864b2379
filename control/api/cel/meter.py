"""What a computation costs, in upstream's units, and where it is cut off.

A unit is a step: a variable, a field, a call; ten characters of a text are one more. A computation
of a million units takes some tenths of a second here.
"""

from math import ceil
from typing import Any

from control.api.cel.errors import CostExceededError
from control.api.cel.values import size_of
from control.api.custom.cost import TooCostlyError

# Of one expression, of all of an object or a policy, and of a webhook's conditions.
PER_CALL = 1_000_000
PER_OBJECT = 10_000_000
PER_CONDITIONS = 2_500_000
_ENDLESS = 1 << 62
_TEXT = 0.1  # a character
REGEX = 0.25  # a character of a pattern


class Meter:
    """Counts down; ``patience`` is what may be spent here, None for as much as is allowed."""

    __slots__ = ("left", "patience")

    def __init__(self, limit: int = PER_CALL, patience: int | None = None) -> None:
        self.left = limit
        self.patience = _ENDLESS if patience is None else patience

    def spend(self, units: int, steps: int | None = None) -> None:
        """Count what is charged, and the time that it takes, which is mostly the same.

        Raises CostExceededError, or TooCostlyError beyond what may be spent here.
        """
        self.left -= units
        self.patience -= units if steps is None else steps
        if self.left < 0:
            raise CostExceededError
        if self.patience < 0:
            raise TooCostlyError("its expressions need more than can be computed at once")


def of_text(size: int) -> int:
    """Return the units of going through a text."""
    return ceil(size * _TEXT)


def traversal(*values: Any) -> int:
    """Return the units of going through texts or lists."""
    return sum(of_text(size_of(each)) for each in values)


def matching(text: int, pattern: int) -> int:
    """Return the units of a regular expression of so many characters in a text."""
    return ceil((1 + text) * _TEXT) * ceil(pattern * REGEX)
