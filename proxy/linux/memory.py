"""Memory that a big load needs, and nothing needs after it."""

import ctypes
import gc

# Nearly all objects live as long as the Services they stand for, and form no cycles: to look for
# garbage is a twentieth of a first load with the second of these, a third with Python's own.
_LOADING = (1_000_000, 20, 50)
_SERVING = (100_000, 20, 50)

_ARENA_MAX = -8  # malloc.h: M_ARENA_MAX


def expect_load() -> None:
    """Prepare this process for a first load, before it has threads."""
    gc.set_threshold(*_LOADING)
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none, and one arena anyway
    if set_option is not None:
        set_option(_ARENA_MAX, 1)  # of the other threads' arenas `give_back` would leave 12 MB


def settle() -> None:
    """What the first load has made stays, and is not looked through any more."""
    gc.freeze()
    gc.set_threshold(*_SERVING)


def give_back() -> None:
    """Return freed memory to the kernel: glibc keeps it, up to twice what the proxy holds.

    It is C's memory, of libnftables' parser and of packed map entries; Python returns its own.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none, and keeps less
    if trim is not None:
        trim(0)
