"""Packets that the kernel drops, with its reason: an eBPF program on the tracepoint skb:kfree_skb.

The program, ``debug/trace/bpf/drops.bpf.c``, is compiled with podwire. It hears the whole machine,
and tells the namespace. It ends with this process.
"""

import ctypes
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from debug.kernel.ring import Ring
from debug.trace.watch.clock import clock_offset
from proxy.backends.ebpf.libbpf import BUILT, BpfMap, Libbpf, load_object
from proxy.model.errors import KernelRefusedError

PACKAGED = Path(__file__).resolve().parents[1] / "built"  # of a wheel
_OBJECT = (PACKAGED if PACKAGED.exists() else BUILT) / "drops.bpf.o"
_DROP = struct.Struct("=QQIII4x128s")
_ENUM = 6  # BTF_KIND_ENUM
_OURS = ("PACKET_SOCK_ERROR",)  # of the taps: packets that they have no room for
_PREFIX = "SKB_DROP_REASON_"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A packet's end, from its IP header on; ``reason`` is the kernel's name for it."""

    time: int  # nanoseconds since 1970
    netns: int  # the inode of its namespace
    link: int
    reason: str
    function: int  # the address in the kernel where it ended
    data: bytes


class DropListener:
    """Hears drops on the whole machine, of packets that have a word in a range, or a port.

    Raises KernelRefusedError.
    """

    def __init__(self, first: int, last: int, port: int = 0) -> None:
        self.lost = 0  # the ring has room for a thousand drops of one probe
        self._undo = ExitStack()
        library = Libbpf()
        self._bpf = library.bpf
        try:
            self._open(library, struct.pack("=III", first, last, port))
        except KernelRefusedError:
            self.close()
            raise

    def _open(self, library: Libbpf, sought: bytes) -> None:
        programs = load_object(library, _OBJECT, lambda _: None)
        self._undo.callback(programs.close)
        wanted = BpfMap(library, programs.map_fd("wanted"), "wanted")
        self._undo.callback(wanted.close)
        wanted.update({bytes(4): sought})
        self._ring = Ring(library, programs.map_fd("drops"))
        self._undo.callback(self._ring.close)
        link = open_tracepoint(library, programs.program_fd("dropped"), "skb:kfree_skb")
        self._undo.callback(os.close, link)

    def fileno(self) -> int:
        """Return a descriptor that is readable when there are drops, for selectors."""
        return self._ring.fileno()

    def close(self) -> None:
        """Detach the program."""
        self._undo.close()

    def read(self) -> list[Dropped]:
        """Return the drops since the last call."""
        offset = clock_offset()
        told = [decode(data, self._reasons, offset) for data in self._ring.read()]
        return [one for one in told if one.reason not in _OURS]

    @cached_property
    def _reasons(self) -> dict[int, str]:
        return reasons(self._bpf)


def decode(data: bytes, names: Mapping[int, str], offset: int) -> Dropped:
    """Return the drop of a message; ``offset`` is from the monotonic clock to that of the day."""
    when, function, reason, netns, link, packet = _DROP.unpack_from(data)
    name = names.get(reason, f"reason {reason}")
    return Dropped(when + offset, netns, link, name, function, packet)


def reasons(bpf: ctypes.CDLL) -> dict[int, str]:
    """Return this kernel's names for the reasons of drops, of its BTF; none if it has no BTF."""
    _declare(bpf)
    btf = bpf.btf__load_vmlinux_btf()
    if not btf:
        return {}
    try:
        number = bpf.btf__find_by_name_kind(btf, b"skb_drop_reason", _ENUM)
        kind = bpf.btf__type_by_id(btf, number) if number > 0 else None
        return dict(_values(bpf, btf, kind)) if kind else {}
    finally:
        bpf.btf__free(btf)


def _values(bpf: ctypes.CDLL, btf: int, kind: int) -> Iterator[tuple[int, str]]:
    """Yield the values of an enumeration (struct btf_type, then struct btf_enum of each)."""
    _, info, _ = struct.unpack("=III", ctypes.string_at(kind, 12))
    for at in range(info & 0xFFFF):
        name, value = struct.unpack("=Ii", ctypes.string_at(kind + 12 + at * 8, 8))
        text = (bpf.btf__name_by_offset(btf, name) or b"").decode(errors="replace")
        yield value, text.removeprefix(_PREFIX)


def function_at(address: int) -> str:
    """Return the kernel's function at an address; "" if this process may not know."""
    starts, names = _functions()
    at = bisect_right(starts, address)
    return names[at - 1] if at else ""


@cache
def _functions() -> tuple[list[int], list[str]]:
    """Where functions start, and their names: some hundred thousand, of which drops ask often."""
    found = []
    with suppress(OSError), Path("/proc/kallsyms").open() as lines:
        for line in lines:
            address, kind, name, *_ = line.split()
            if kind in "tT" and address.strip("0"):
                found.append((int(address, 16), name))
    found.sort()
    return [start for start, _ in found], [name for _, name in found]


def open_tracepoint(library: Libbpf, program: int, name: str) -> int:
    """Have a program run at its tracepoint; return the descriptor that keeps it there.

    Raises KernelRefusedError.
    """
    _declare(library.bpf)
    return library.check(library.bpf.bpf_raw_tracepoint_open(None, program), f"listening to {name}")


def _declare(bpf: ctypes.CDLL) -> None:
    pointer, whole = ctypes.c_void_p, ctypes.c_int
    for name, result, types in (
        ("bpf_raw_tracepoint_open", whole, [ctypes.c_char_p, whole]),
        ("btf__load_vmlinux_btf", pointer, []),
        ("btf__free", None, [pointer]),
        ("btf__find_by_name_kind", whole, [pointer, ctypes.c_char_p, ctypes.c_uint32]),
        ("btf__type_by_id", pointer, [pointer, ctypes.c_uint32]),
        ("btf__name_by_offset", ctypes.c_char_p, [pointer, ctypes.c_uint32]),
    ):
        function = getattr(bpf, name)
        function.restype, function.argtypes = result, types
