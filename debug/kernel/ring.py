"""A ring through which an eBPF program tells what it heard (BPF_MAP_TYPE_RINGBUF)."""

import ctypes

from proxy.backends.ebpf.libbpf import Libbpf
from proxy.model.errors import KernelRefusedError

_HEAR = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class Ring:
    """Reads a ring's messages. Raises KernelRefusedError."""

    def __init__(self, library: Libbpf, fd: int) -> None:
        """``fd`` is the map's descriptor."""
        self._bpf = library.bpf
        self._found: list[bytes] = []
        self._callback = _HEAR(self._hear)
        _declare(self._bpf)
        self._ring = self._bpf.ring_buffer__new(fd, self._callback, None, None)
        if not self._ring:
            raise KernelRefusedError("ebpf: the ring of a program cannot be read")

    def fileno(self) -> int:
        """Return a descriptor that is readable when there are messages, for selectors."""
        return int(self._bpf.ring_buffer__epoll_fd(self._ring))

    def close(self) -> None:
        """Let the ring go; programs that write into it keep it."""
        self._bpf.ring_buffer__free(self._ring)

    def read(self) -> list[bytes]:
        """Return the messages since the last call."""
        self._bpf.ring_buffer__consume(self._ring)
        found, self._found = self._found, []
        return found

    def _hear(self, _: int, data: int, size: int) -> int:
        self._found.append(ctypes.string_at(data, size))
        return 0


def _declare(bpf: ctypes.CDLL) -> None:
    pointer, whole = ctypes.c_void_p, ctypes.c_int
    for name, result, types in (
        ("ring_buffer__new", pointer, [whole, _HEAR, pointer, pointer]),
        ("ring_buffer__free", None, [pointer]),
        ("ring_buffer__epoll_fd", whole, [pointer]),
        ("ring_buffer__consume", whole, [pointer]),
    ):
        function = getattr(bpf, name)
        function.restype, function.argtypes = result, types
