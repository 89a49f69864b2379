"""Gives memory back to the system after many connections have closed.

TLS takes some 60 KB of a connection from malloc. glibc returns only what is free at the end of its
heap by itself, and something that stays always lies behind. Source: malloc_trim(3).
"""

import asyncio
from collections.abc import Callable

_MANY = 128  # connections: 8 MB
_AFTER = 1.0  # seconds: others close at the same time


def trim() -> None:
    """Return free memory, which takes some milliseconds; a C library other than glibc keeps it."""
    import ctypes  # which a server with few clients never needs

    if give := getattr(ctypes.CDLL(None), "malloc_trim", None):
        give(0)


class Released:
    """Counts connections that have closed since memory was last given back."""

    def __init__(self, release: Callable[[], None] = trim) -> None:
        self._release = release
        self._closed = 0

    def count(self) -> None:
        """Count one more; after many, give memory back a moment later."""
        self._closed += 1
        if self._closed == _MANY:
            asyncio.get_running_loop().call_later(_AFTER, self._go)

    def _go(self) -> None:
        self._closed = 0
        self._release()
