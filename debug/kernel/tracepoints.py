"""eBPF programs on the kernel's tracepoints. Compiled with podwire, they fit each that has BTF."""

import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from debug.kernel.libbpf import declared
from debug.kernel.ring import Ring
from proxy.backends.ebpf.libbpf import BUILT, BpfMap, BpfObject, Libbpf, load_object
from proxy.model.errors import KernelRefusedError

_COUNT = 8  # bytes of what was lost


class Programs:
    """The programs of an object file, attached until ``close``, or until this process ends.

    Raises KernelRefusedError.
    """

    def __init__(
        self,
        packaged: Path,
        name: str,
        functions: Iterable[tuple[str | None, str]],
        constants: bytes = b"",
    ) -> None:
        """``functions`` have a tracepoint each; None: the one that the object file names.

        The file is in the folder ``packaged`` of a wheel, in build/ of a checkout.
        """
        self.library = Libbpf()
        self._maps: dict[str, BpfMap] = {}

        def prepare(made: BpfObject) -> None:
            if constants:
                made.set_constants(constants)

        path = (packaged if packaged.exists() else BUILT) / f"{name}.bpf.o"
        with ExitStack() as undo:
            self._object = load_object(self.library, path, prepare)
            undo.callback(self._object.close)
            for tracepoint, function in functions:
                undo.callback(os.close, self._attach(tracepoint, function))
            self._undo = undo.pop_all()

    def _attach(self, tracepoint: str | None, function: str) -> int:
        program = self._object.program_fd(function)
        made = declared(self.library).bpf_raw_tracepoint_open(
            tracepoint and tracepoint.encode(), program
        )
        return self.library.check(made, f"listening by the program {function}")

    def ring(self, name: str) -> Ring:
        """Return the reader of a ring, which is let go with the programs; without one they end."""
        try:
            found = Ring(self.library, self._object.map_fd(name))
        except KernelRefusedError:
            self.close()
            raise
        self._undo.callback(found.close)
        return found

    def map(self, name: str) -> BpfMap:
        """Return a map, which is closed with the programs."""
        if name not in self._maps:
            self._maps[name] = BpfMap(self.library, self._object.map_fd(name), name)
            self._undo.callback(self._maps[name].close)
        return self._maps[name]

    def lost(self) -> int:
        """Return how much there was no room for, by the map of that name."""
        return int.from_bytes(self.map("lost").lookup(bytes(4), _COUNT), sys.byteorder)

    def close(self) -> None:
        """Detach the programs."""
        self._undo.close()
