"""Loads a probe's program by libbpf: compiled with podwire, it fits each kernel that has BTF."""

import time
from pathlib import Path

from debug.kernel.tracepoints import Programs
from debug.probe.events import Probe
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
        self._programs = Programs(_PACKAGED, f"probe-{probe.name}", probe.functions)
        self._ring = self._programs.ring("events") if probe.name in _TELLING else None

    def close(self) -> None:
        """Detach the program."""
        self._programs.close()

    def events(self, seconds: float) -> list[bytes]:
        """Return the events of so many seconds."""
        time.sleep(seconds)
        return self._ring.read() if self._ring else []

    def entries(self, table: str, key: int, value: int) -> list[tuple[bytes, bytes]]:
        """Return the entries of a table, whose keys and values have so many bytes.

        Raises KernelRefusedError.
        """
        return [*dict(self._programs.map(table).entries(key, value)).items()]

    def lost(self) -> int:
        """Return how much there was no room for. Raises KernelRefusedError."""
        return self._programs.lost()
