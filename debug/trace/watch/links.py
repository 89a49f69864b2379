"""Packets on links, heard by eBPF programs on the kernel's tracepoints (bpf/taps.bpf.c).

They hear the whole machine, and tell of the namespaces that are meant. All times are of one clock,
and are taken as the packet passes. They end with this process.
"""

import os
import struct
from contextlib import ExitStack

from debug.kernel.ring import Ring
from debug.trace.sought import Sought
from debug.trace.watch.clock import clock_offset
from debug.trace.watch.drops import PACKAGED, open_tracepoint
from debug.trace.watch.taps import MOST_AT_ONCE, Tapped
from proxy.backends.ebpf.libbpf import BUILT, BpfMap, BpfObject, Libbpf, load_object
from proxy.model.errors import KernelRefusedError

_OBJECT = (PACKAGED if PACKAGED.exists() else BUILT) / "taps.bpf.o"
_TAPPED = struct.Struct("=QIHH16s")
_PROGRAMS = ("received", "sent")


class LinkListener:
    """Hears the links of all namespaces that are added. Raises KernelRefusedError."""

    def __init__(self, sought: Sought) -> None:
        self._undo = ExitStack()
        self._missed = 0
        try:
            self._open(Libbpf(), sought)
        except KernelRefusedError:
            self.close()
            raise

    def _open(self, library: Libbpf, sought: Sought) -> None:
        programs = _load(library, sought)
        self._undo.callback(programs.close)
        self._places = BpfMap(library, programs.map_fd("places"), "places")
        self._undo.callback(self._places.close)
        self._lost = BpfMap(library, programs.map_fd("lost"), "lost")
        self._undo.callback(self._lost.close)
        self._ring = Ring(library, programs.map_fd("taps"))
        self._undo.callback(self._ring.close)
        for name in _PROGRAMS:
            link = open_tracepoint(library, programs.program_fd(name), name)
            self._undo.callback(os.close, link)

    def add(self, netns: int) -> None:
        """Hear a namespace, by its number, from now on. Raises KernelRefusedError."""
        self._places.update({struct.pack("=I", netns): b"\1"})

    def fileno(self) -> int:
        """Return a descriptor that is readable when there are packets, for selectors."""
        return self._ring.fileno()

    def close(self) -> None:
        """Detach the programs."""
        self._undo.close()

    @property
    def lost(self) -> int:
        """Packets for which the ring had no room. Raises KernelRefusedError."""
        return int.from_bytes(self._lost.lookup(bytes(4), 4), "little")

    def read(self) -> list[Tapped]:
        """Return the packets since the last call."""
        offset = clock_offset()
        return [decode(data, offset) for data in self._ring.read(MOST_AT_ONCE)]


def _load(library: Libbpf, sought: Sought) -> BpfObject:
    """Load the programs, in the form that older kernels know too if need be."""

    def prepare(casts: bool) -> BpfObject:
        constants = sought.packed(casts=casts)
        return load_object(library, _OBJECT, lambda made: made.set_constants(constants))

    try:
        return prepare(casts=True)
    except KernelRefusedError:
        return prepare(casts=False)


def decode(data: bytes, offset: int) -> Tapped:
    """Return the packet of a message; ``offset`` is from the monotonic clock to that of the day."""
    when, netns, out, size, link = _TAPPED.unpack_from(data)
    name = link.split(b"\0")[0].decode(errors="replace")
    packet = data[_TAPPED.size : _TAPPED.size + size]
    return Tapped(when + offset, name, bool(out), packet, netns=netns)
