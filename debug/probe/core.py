"""Loads a probe's program by libbpf: compiled with podwire, it fits each kernel that has BTF."""

import os
import struct
import time
from contextlib import ExitStack
from pathlib import Path

from debug.kernel.ring import Ring
from debug.probe.events import Probe
from proxy.backends.ebpf.libbpf import BUILT, BpfMap, Libbpf, load_object
from proxy.model.errors import KernelRefusedError

_PACKAGED = Path(__file__).resolve().parent / "built"
_BTF = Path("/sys/kernel/btf/vmlinux")
_TELLING = ("connects", "sockets", "retransmits")


class CoreMeans:
    """A loaded program, attached until ``close``, or until this process ends.

    Raises KernelRefusedError.
    """

    title = "CO-RE (libbpf)"

    def __init__(self, probe: Probe) -> None:
        if not _BTF.exists():
            raise KernelRefusedError(f"the kernel has no BTF ({_BTF}, CONFIG_DEBUG_INFO_BTF)")
        self._library = Libbpf()
        self._undo = ExitStack()
        self._ring: Ring | None = None
        try:
            self._open(probe)
        except KernelRefusedError:
            self.close()
            raise

    def _open(self, probe: Probe) -> None:
        folder = _PACKAGED if _PACKAGED.exists() else BUILT
        self._object = load_object(
            self._library, folder / f"probe-{probe.name}.bpf.o", lambda _: None
        )
        self._undo.callback(self._object.close)
        if probe.name in _TELLING:
            self._ring = Ring(self._library, self._object.map_fd("events"))
            self._undo.callback(self._ring.close)
        for tracepoint, function in probe.functions:
            self._attach(tracepoint, self._object.program_fd(function))

    def _attach(self, tracepoint: str, program: int) -> None:
        made = self._library.bpf.bpf_raw_tracepoint_open(tracepoint.encode(), program)
        link = self._library.check(made, f"listening to the tracepoint {tracepoint}")
        self._undo.callback(os.close, link)

    def close(self) -> None:
        """Detach the program."""
        self._undo.close()

    def events(self, seconds: float) -> list[bytes]:
        """Return the events of so many seconds."""
        time.sleep(seconds)
        return self._ring.read() if self._ring else []

    def entries(self, table: str, key: int, value: int) -> list[tuple[bytes, bytes]]:
        """Return the entries of a table, whose keys and values have so many bytes.

        Raises KernelRefusedError.
        """
        opened = self._map(table)
        try:
            return [*dict(opened.entries(key, value)).items()]
        finally:
            opened.close()

    def lost(self) -> int:
        """Return how much there was no room for. Raises KernelRefusedError."""
        opened = self._map("lost")
        try:
            (count,) = struct.unpack("=Q", opened.lookup(bytes(4), 8))
            return int(count)
        finally:
            opened.close()

    def _map(self, name: str) -> BpfMap:
        return BpfMap(self._library, self._object.map_fd(name), name)
