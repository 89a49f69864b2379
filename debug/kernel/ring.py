"""A ring through which an eBPF program tells what it heard (BPF_MAP_TYPE_RINGBUF)."""

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from debug.kernel.libbpf import HEAR, declared
from proxy.backends.ebpf.libbpf import Libbpf
from proxy.model.errors import KernelRefusedError

_MOST = 100_000  # messages that one call returns


class Ring:
    """Reads a ring's messages. Raises KernelRefusedError."""

    def __init__(self, library: Libbpf, fd: int) -> None:
        """``fd`` is the map's descriptor."""
        self._bpf = declared(library)
        self._found: list[bytes] = []
        self._most = _MOST
        self._callback = HEAR(self._hear)
        self._ring = self._bpf.ring_buffer__new(fd, self._callback, None, None)
        if not self._ring:
            raise KernelRefusedError("ebpf: the ring of a program cannot be read")

    def fileno(self) -> int:
        """Return a descriptor that is readable when there are messages, for selectors."""
        return int(self._bpf.ring_buffer__epoll_fd(self._ring))

    def close(self) -> None:
        """Let the ring go; programs that write into it keep it."""
        self._bpf.ring_buffer__free(self._ring)

    def read(self, most: int = _MOST) -> list[bytes]:
        """Return messages since the last call, at most so many; the others next time."""
        self._most = most
        with _uninterrupted():
            self._bpf.ring_buffer__consume(self._ring)
        found, self._found = self._found, []
        return found

    def _hear(self, _: int, data: int, size: int) -> int:
        self._found.append(ctypes.string_at(data, size))
        return -(len(self._found) >= self._most)  # libbpf stops at what is negative


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait: ctypes would swallow what it raises in a callback."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
