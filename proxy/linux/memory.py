"""The process's memory: a first load needs much, and needs it only once."""

import ctypes
import gc

# Nearly all objects live as long as their Service and form no cycles. With these thresholds the
# garbage collector takes a twentieth of a first load, with Python's own a third.
_LOADING = (1_000_000, 20, 50)
_SERVING = (100_000, 20, 50)

_ARENA_MAX = -8  # malloc.h: M_ARENA_MAX


def expect_load() -> None:
    """Prepare this process for a first load. Call it before there are threads."""
    gc.set_threshold(*_LOADING)
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has no mallopt, and one arena
    if set_option is not None:
        set_option(_ARENA_MAX, 1)  # `give_back` would leave 12 MB of other threads' arenas


def settle() -> None:
    """Tell the garbage collector that the objects of the first load stay: it need not visit them
    again.
    """
    gc.freeze()
    gc.set_threshold(*_SERVING)


def give_back() -> None:
    """Return freed memory to the kernel. glibc keeps it, up to twice as much as the proxy uses.

    It is memory of C code: libnftables' parser and packed map entries. Python returns its own.
    """
    trim = getattr(
        ctypes.CDLL(None), "malloc_trim", None
    )  # musl has no malloc_trim, and keeps less
    if trim is not None:
        trim(0)
