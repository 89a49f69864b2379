"""The proxy's errors."""

from collections.abc import Sequence


class ProxyError(Exception):
    """An error whose text tells an operator in one line what failed and why."""


class KernelRefusedError(ProxyError):
    """The kernel or its tool refused an operation.

    ``line`` is the refused rule, if it is known; ``families`` are the IP versions that it concerns,
    none if nobody knows.
    """

    def __init__(self, message: str, line: str = "", families: Sequence[int] = ()) -> None:
        super().__init__(f"{message}; the refused rule: {line}" if line else message)
        self.line = line
        self.families = families


class BadFlagError(ProxyError):
    """A flag or configuration field with a bad value. The text names it and the allowed values."""
