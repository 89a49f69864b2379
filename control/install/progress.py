"""Say what is done, step by step, on standard error: standard output has the result."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Say = Callable[[str], None]


class Progress:
    """A line for each step; a quiet one says nothing."""

    def __init__(self, *, quiet: bool = False, out: TextIO | None = None) -> None:
        self._quiet, self._out = quiet, out or sys.stderr

    @contextmanager
    def step(self, text: str) -> Iterator[Say]:
        """Show a step when it is done, with its time; what is said meanwhile, once."""
        began, last = time.monotonic(), [""]

        def say(new: str) -> None:
            if new != last[0]:
                last[0] = new
                self.note(f"… {new}")

        try:
            yield say
        except BaseException:
            self.note(f"✗ {text}")
            raise
        self.note(f"✓ {text} {time.monotonic() - began:.1f} s")

    def note(self, text: str) -> None:
        """Show a line."""
        if not self._quiet:
            print(text, file=self._out, flush=True)
