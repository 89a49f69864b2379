"""Memory that a big load needed, and nothing needs after it."""

import ctypes


def give_back() -> None:
    """Return freed memory to the kernel: glibc keeps it, up to twice what the proxy holds.

    It is C's memory, of libnftables' parser and of packed map entries; Python returns its own.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none, and keeps less
    if trim is not None:
        trim(0)
