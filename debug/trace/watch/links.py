"""Packets on links, heard by eBPF programs on the kernel's tracepoints (bpf/taps.bpf.c).

They hear the whole machine, and tell of the namespaces that are meant. All times are of one clock,
and are taken as the packet passes. They end with this process.
"""

import struct

from debug.kernel.tracepoints import Programs
from debug.trace.sought import Sought
from debug.trace.watch.clock import clock_offset
from debug.trace.watch.drops import PACKAGED
from debug.trace.watch.taps import MOST_AT_ONCE, Tapped
from proxy.model.errors import KernelRefusedError

_TAPPED = struct.Struct("=QIHH16s")
_PROGRAMS = ((None, "received"), (None, "sent"))


class LinkListener:
    """Hears the links of all namespaces that are added. Raises KernelRefusedError."""

    def __init__(self, sought: Sought) -> None:
        self._programs = _load(sought)
        self._ring = self._programs.ring("taps")

    def add(self, netns: int) -> None:
        """Hear a namespace, by its number, from now on. Raises KernelRefusedError."""
        self._programs.map("places").update({struct.pack("=I", netns): b"\1"})

    def fileno(self) -> int:
        """Return a descriptor that is readable when there are packets, for selectors."""
        return self._ring.fileno()

    def close(self) -> None:
        """Detach the programs."""
        self._programs.close()

    @property
    def lost(self) -> int:
        """Packets for which the ring had no room. Raises KernelRefusedError."""
        return self._programs.lost()

    def read(self) -> list[Tapped]:
        """Return the packets since the last call."""
        offset = clock_offset()
        return [decode(data, offset) for data in self._ring.read(MOST_AT_ONCE)]


def _load(sought: Sought) -> Programs:
    """Load the programs, in the form that older kernels know too if need be."""

    def load(*, casts: bool) -> Programs:
        return Programs(PACKAGED, "taps", _PROGRAMS, sought.packed(casts=casts))

    try:
        return load(casts=True)
    except KernelRefusedError:
        return load(casts=False)


def decode(data: bytes, offset: int) -> Tapped:
    """Return the packet of a message; ``offset`` is from the monotonic clock to that of the day."""
    when, netns, out, size, link = _TAPPED.unpack_from(data)
    name = link.split(b"\0")[0].decode(errors="replace")
    packet = data[_TAPPED.size : _TAPPED.size + size]
    return Tapped(when + offset, name, bool(out), packet, netns=netns)
