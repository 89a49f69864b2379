"""What the user sees while a lab works: one line a step, and the time it took."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

Say = Callable[[str], None]  # replaces the text of the step under way


def said(err: OSError) -> str:
    """Why the system refused: its words and about which file, or an error's own sentence."""
    if err.strerror is None:
        return str(err)
    return f"{err.strerror}: {err.filename}" if err.filename else err.strerror


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text. No column is ever cut: a pipe has no width, and a terminal breaks lines."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (zip(line, widths, strict=True) for line in lines)
    return "\n".join("   ".join(f"{c:<{w}}" for c, w in line).rstrip() for line in padded)


class Steps:
    """Prints steps to a terminal, or as plain lines to anything else."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the first step could have begun."""
        return time.monotonic() - self._began

    @contextmanager
    def step(self, text: str, *, animated: bool = True) -> Iterator[Say]:
        """A step: a spinner while it runs, a line when it is done.

        A spinner is a thread: steps that fork are not ``animated``.
        """
        began = time.monotonic()
        current = [text]
        if animated and self._console.is_terminal:
            with self._console.status(text) as status:

                def say(new: str) -> None:
                    current[0] = new
                    status.update(new)

                yield say
        else:
            yield lambda new: current.__setitem__(0, new)
        took = time.monotonic() - began
        self._console.print(f"[green]✓[/] {current[0]} [dim]{took:.1f} s[/]", highlight=False)
