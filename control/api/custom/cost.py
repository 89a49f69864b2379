"""A bound on what one object may cost: checks of its values, and defaults that fill it. Pure.

A schema of many alternatives times an object of many values would else take for ever.
"""

from contextvars import ContextVar

# Checks of one object, each some microseconds.
MOST_CHECKS = 300_000
# The most of a computation that may not take so long; None without such a limit.
LIMIT: ContextVar[int | None] = ContextVar("limit of checks", default=None)


class TooCostlyError(ValueError):
    """An object and its schema need more checks than are allowed."""


class Spending:
    """What one object has cost so far, in checks."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        limit = LIMIT.get()
        self.left = MOST_CHECKS if limit is None else limit

    def spend(self, checks: int = 1) -> None:
        """Count checks; raises TooCostlyError."""
        self.left -= checks
        if self.left < 0:
            raise TooCostlyError(f"its schema needs more than {MOST_CHECKS} checks of values")
