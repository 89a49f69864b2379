"""Network namespaces: open one, compare two, step into one for a moment."""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)
_OWN = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own() -> Iterator[int]:
    """A descriptor of the calling thread's network namespace, for the block."""
    descriptor = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_namespace(fd: int) -> bool:
    """Whether a descriptor is a network namespace, and not some file at that path."""
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False


def is_own(fd: int) -> bool:
    """Whether a descriptor is the calling thread's network namespace."""
    home, other = os.stat(_OWN), os.fstat(fd)  # noqa: PTH116  # pathlib takes longer than stat(2)
    return (home.st_dev, home.st_ino) == (other.st_dev, other.st_ino)


def is_container(fd: int | None) -> bool:
    """Whether a descriptor is a network namespace other than the calling thread's."""
    return fd is not None and is_namespace(fd) and not is_own(fd)


@contextmanager
def entered(fd: int | None) -> Iterator[None]:
    """Run a block inside a namespace; this thread only. None is the one it is already in."""
    if fd is None:
        yield
        return
    with own() as home:
        _setns(fd)
        try:
            yield
        finally:
            _setns(home)


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
