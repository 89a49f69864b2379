"""Loads a probe's program by bcc: compiled on this machine, against its kernel's headers.

Debian's python3-bpfcc does it in a process of the system's Python: ``debug/probe/compiler.py``.
"""

import json
import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from debug.probe.events import Probe
from proxy.model.errors import KernelRefusedError

_PYTHON = "/usr/bin/python3"
_PACKAGE = Path("/usr/lib/python3/dist-packages/bcc/__init__.py")
_HERE = Path(__file__).resolve().parent
_KHEADERS = Path("/sys/kernel/kheaders.tar.xz")
_SOURCE = "BCC_KERNEL_SOURCE"  # bcc's own: where the headers are instead
_COMPILING = 300.0  # seconds: three are usual, but an emulated processor takes a hundred
_ANSWERING = 10.0  # seconds beyond what was asked for
_LONGEST = 64 << 20  # bytes of an answer: a ring of 1 MB, in hexadecimal, takes 2 MB
_MOST_SAID = 1 << 20
_USUAL = ("PATH", "LANG", "HOME", _SOURCE)


def lacking() -> Iterator[str]:
    """Yield what this machine lacks for bcc."""
    release = os.uname().release
    if not _PACKAGE.exists():
        yield "python3-bpfcc is not installed"
    folders = (Path(os.environ.get(_SOURCE) or f"/lib/modules/{release}/build"), _KHEADERS)
    if not any(folder.exists() for folder in folders):
        yield f"Linux {release} has no headers here ({folders[0]}, or {_KHEADERS})"


class BccMeans:
    """A loaded program, attached until ``close``, or until this process ends.

    Raises KernelRefusedError.
    """

    title = "bcc"

    def __init__(self, probe: Probe) -> None:
        if lacks := [*lacking()]:
            raise KernelRefusedError("; ".join(lacks))
        self._answers = b""
        self._errors = TemporaryFile()  # the compiler may say more than a pipe holds  # noqa: SIM115
        self._process = subprocess.Popen(
            [
                *(_PYTHON, "-I", str(_HERE / "compiler.py")),
                *(str(_HERE / "bpf" / f"{probe.name}.bpf.c"), json.dumps(probe.functions)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={name: os.environ[name] for name in _USUAL if name in os.environ},
            start_new_session=True,  # Ctrl-C is for us: we end it when we have what it heard
        )
        with ExitStack() as undo:
            undo.callback(self.close)
            self._answer(_COMPILING)
            undo.pop_all()

    def close(self) -> None:
        """End the process; the kernel detaches its program."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def events(self, seconds: float) -> list[bytes]:
        """Return the events of so many seconds. Raises KernelRefusedError."""
        return [bytes.fromhex(one) for one in self._ask({"events": seconds}, seconds)["events"]]

    def entries(self, table: str, key: int, value: int) -> list[tuple[bytes, bytes]]:
        """Return the entries of a table, whose keys and values have so many bytes.

        Raises KernelRefusedError.
        """
        found = self._ask({"entries": table})["entries"]
        pairs = [(bytes.fromhex(one), bytes.fromhex(other)) for one, other in found]
        return [pair for pair in pairs if (len(pair[0]), len(pair[1])) == (key, value)]

    def lost(self) -> int:
        """Return how much there was no room for. Raises KernelRefusedError."""
        return int(self._ask({"lost": True})["lost"])

    def _ask(self, question: dict[str, Any], seconds: float = 0) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        try:
            self._process.stdin.write(f"{json.dumps(question)}\n".encode())
            self._process.stdin.flush()
        except OSError as err:
            raise KernelRefusedError(f"bcc: its process has ended: {err.strerror}") from err
        return self._answer(seconds + _ANSWERING)

    def _answer(self, seconds: float) -> dict[str, Any]:
        line = self._line(time.monotonic() + seconds)
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its process has ended"}
        if "error" in answer:
            raise KernelRefusedError(f"bcc: {answer['error']}{self._said()}")
        return answer

    def _line(self, deadline: float) -> bytes:
        """Return a line, or b"" at the end. Raises KernelRefusedError after the deadline."""
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._answers:
                if len(self._answers) > _LONGEST or not waiting.select(deadline - time.monotonic()):
                    raise KernelRefusedError("bcc: no answer in time from its process")
                data = os.read(self._process.stdout.fileno(), 1 << 16)
                if not data:
                    return b""
                self._answers += data
        line, _, self._answers = self._answers.partition(b"\n")
        return line

    def _said(self) -> str:
        """Return the first error of the compiler, if it said one."""
        self._errors.seek(0)
        said = self._errors.read(_MOST_SAID).decode(errors="replace").splitlines()
        wrong = [line for line in said if "error:" in line] or said[-1:]
        return f": {wrong[0]}" if wrong else ""
