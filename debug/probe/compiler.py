"""Loads a probe's program by bcc, and answers questions on standard input about what it heard.

Debian's python3-bpfcc is a package of the system's Python, which podwire's own environment does not
see, and LLVM in a process is 100 MB: so this runs in a process of its own, and imports nothing of
podwire. It ends, and the kernel detaches its program, when standard input ends.

A line of JSON each way. Asked: ``{"events": SECONDS}``, ``{"entries": TABLE}``, ``{"lost": true}``.
Answered: ``{"ready": true}`` at first, then ``{"events": [HEX]}``, ``{"entries": [[HEX, HEX]]}``,
``{"lost": COUNT}``; ``{"error": TEXT}`` where it cannot go on.
"""

import ctypes
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

_INCLUDE = re.compile(r'#include "([a-z.]+)"')
# Calls of maps, which bcc takes from no macro: ours, and its own. Arguments have no parentheses.
_CALLS = (
    (re.compile(r"\bLOOKUP\((\w+), ([^()]+)\)"), r"\1.lookup(\2)"),
    (re.compile(r"\bUPDATE\((\w+), ([^()]+)\)"), r"\1.update(\2)"),
    (re.compile(r"\bDELETE\((\w+), ([^()]+)\)"), r"\1.delete(\2)"),
    (
        re.compile(r"\bEMIT\(([^()]+)\)"),
        r"events.ringbuf_output(\1, sizeof(*(\1)), BPF_RB_NO_WAKEUP)",
    ),
)
_DEFINED = re.compile(r"(?m)^#else$.*?^#endif$", re.DOTALL)  # what is libbpf's, of means.h


def text(source: Path) -> str:
    """Return a program's text with our own headers in it: bcc rewrites only its main file."""
    whole = _INCLUDE.sub(lambda found: (source.parent / found[1]).read_text(), source.read_text())
    whole = _DEFINED.sub("#endif", whole)
    for ours, theirs in _CALLS:
        whole = ours.sub(theirs, whole)
    return f"#define BY_BCC 1\n{whole}"


class Heard:
    """What a program of bcc's tells."""

    def __init__(self, program: Any, has_ring: bool) -> None:
        self._program = program
        self._events: list[str] = []
        if has_ring:
            program["events"].open_ring_buffer(self._hear)
        self._has_ring = has_ring

    def _hear(self, _: object, data: int, size: int) -> int:
        self._events.append(ctypes.string_at(data, size).hex())
        return 0

    def events(self, seconds: float) -> list[str]:
        """Return the events of so many seconds."""
        time.sleep(seconds)
        if self._has_ring:
            self._program.ring_buffer_consume()
        found, self._events = self._events, []
        return found

    def entries(self, table: str) -> list[tuple[str, str]]:
        """Return a table's entries."""
        found = self._program[table].items()
        return [(bytes(key).hex(), bytes(value).hex()) for key, value in found]

    def lost(self) -> int:
        """Return how much there was no room for."""
        return int(self._program["lost"][0].value)

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a question."""
        if "events" in asked:
            return {"events": self.events(asked["events"])}
        if "entries" in asked:
            return {"entries": self.entries(asked["entries"])}
        return {"lost": self.lost()}


def load(source: Path, functions: list[list[str]]) -> Heard:
    """Compile and attach a program; raises ImportError, and Exception as bcc does."""
    from bcc import BPF  # type: ignore[import-not-found]

    code = text(source)
    program = BPF(text=code)
    for tracepoint, function in functions:
        program.attach_raw_tracepoint(tp=tracepoint, fn_name=function)
    return Heard(program, "RING;" in code)


def say(answer: dict[str, Any]) -> None:
    """Write one line."""
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


def main(source: str, functions: str) -> None:
    """Serve until standard input ends."""
    try:
        heard = load(Path(source), json.loads(functions))
    except Exception as err:  # noqa: BLE001  # bcc raises nothing narrower
        return say({"error": f"{type(err).__name__}: {err}"})
    say({"ready": True})
    for line in sys.stdin:
        say(heard.answer(json.loads(line)))
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
