"""Output to the user: a line for each step with its time, and tables."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

Say = Callable[[str], None]  # replaces the text of the step under way


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as text, without cut columns: a terminal breaks long lines."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (zip(line, widths, strict=True) for line in lines)
    return "\n".join("   ".join(f"{c:<{w}}" for c, w in line).rstrip() for line in padded)


class Steps:
    """Prints steps: with a spinner to a terminal, else as plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """The seconds since this object was made."""
        return time.monotonic() - self._began

    @contextmanager
    def step(self, text: str, *, animated: bool = True) -> Iterator[Say]:
        """Show a step: a spinner while it runs, a line when it is done.

        A spinner runs in a thread, so steps that fork must not be ``animated``.
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
