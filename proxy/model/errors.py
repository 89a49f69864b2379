"""What can go wrong, in the proxy's own words."""


class ProxyError(Exception):
    """Something that an operator can be told in one line."""


class KernelRefusedError(ProxyError):
    """A transaction was not committed; ``line`` is the rule it stumbled on, if that is known."""

    def __init__(self, message: str, line: str = "") -> None:
        super().__init__(f"{message}; refused was: {line}" if line else message)
        self.line = line


class BadFlagError(ProxyError):
    """A flag or a configuration field that cannot be followed; names it, and what is allowed."""
