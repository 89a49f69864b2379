"""Packets that the kernel drops, with its reason: an eBPF program on the tracepoint skb:kfree_skb.

The program, ``debug/trace/bpf/drops.bpf.c``, is compiled with podwire. It hears the whole machine,
and tells the namespace. It ends with this process.
"""

import ctypes
import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from debug.kernel.libbpf import declared
from debug.kernel.tracepoints import Programs
from debug.trace.watch.clock import clock_offset
from proxy.backends.ebpf.libbpf import Libbpf

PACKAGED = Path(__file__).resolve().parents[1] / "built"  # of a wheel
_DROP = struct.Struct("=QQIII4x128s")
_ENUM = 6  # BTF_KIND_ENUM
NO_LOSS = ("PACKET_SOCK_ERROR",)  # of packet sockets that have no room: no packet is lost by it
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
        sought = struct.pack("=III", first, last, port)
        self._programs = Programs(PACKAGED, "drops", [(None, "dropped")], sought)
        self._ring = self._programs.ring("drops")

    def fileno(self) -> int:
        """Return a descriptor that is readable when there are drops, for selectors."""
        return self._ring.fileno()

    def close(self) -> None:
        """Detach the program."""
        self._programs.close()

    @property
    def lost(self) -> int:
        """Drops for which the ring had no room. Raises KernelRefusedError."""
        return self._programs.lost()

    def read(self) -> list[Dropped]:
        """Return the drops since the last call."""
        offset = clock_offset()
        told = [decode(data, self._reasons, offset) for data in self._ring.read()]
        return [one for one in told if one.reason not in NO_LOSS]

    @cached_property
    def _reasons(self) -> dict[int, str]:
        return reasons(self._programs.library)


def decode(data: bytes, names: Mapping[int, str], offset: int) -> Dropped:
    """Return the drop of a message; ``offset`` is from the monotonic clock to that of the day."""
    when, function, reason, netns, link, packet = _DROP.unpack_from(data)
    name = names.get(reason, f"reason {reason}")
    return Dropped(when + offset, netns, link, name, function, packet)


def reasons(library: Libbpf) -> dict[int, str]:
    """Return this kernel's names for the reasons of drops, of its BTF; none if it has no BTF."""
    bpf = declared(library)
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
