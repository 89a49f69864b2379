"""The proxy's errors."""


class ProxyError(Exception):
    """An error whose text tells an operator in one line what failed and why."""


class KernelRefusedError(ProxyError):
    """The kernel or its tool refused an operation. ``line`` is the refused rule, if it is known."""

    def __init__(self, message: str, line: str = "") -> None:
        super().__init__(f"{message}; the refused rule: {line}" if line else message)
        self.line = line


class BadFlagError(ProxyError):
    """A flag or configuration field with a bad value. The text names it and the allowed values."""
