"""Regular expressions of schemas, in RE2: Go's syntax, and time that is linear in the text. Pure.

Python's own ``re`` would let a pattern of twenty bytes hold up the server for ever.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import AnyStr, Protocol

import re2

# Bytes of a compiled pattern. It bounds what a byte of text may cost: each step of a match looks at
# no more states than the pattern has.
_MEMORY = 256 * 1024
# Characters; a longer pattern would not fit into the memory either.
LONGEST = 16 * 1024


class Match(Protocol):
    """A match of a pattern in a text."""

    def span(self) -> tuple[int, int]:
        """Return where it begins and ends."""
        ...


class Pattern(Protocol):
    """A compiled pattern; ``programsize`` is the number of its instructions.

    In bytes, which have to be ASCII, a match is found in a third of the time.
    """

    programsize: int

    def search(self, text: AnyStr) -> Match | None:
        """Return the first match; None if there is none."""
        ...

    def finditer(self, text: AnyStr) -> Iterator[Match]:
        """Yield all matches, each found when it is asked for."""
        ...


class PatternError(ValueError):
    """A pattern that RE2 refuses, with its reason."""

    @property
    def go(self) -> str:
        """The reason as Go says it."""
        why, _, part = str(self).partition(": ")
        said = f"error parsing regexp: {_IN_GO.get(why, why)}"
        return f"{said}: `{part}`" if part or why in _IN_GO else said


_IN_GO = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid named capture group": "invalid named capture",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "trailing \\ at end of regexp": "trailing backslash at end of expression",
}


def _options() -> "re2.Options":
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    return options


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> Pattern:
    """Compile a pattern; raises PatternError."""
    if len(pattern) > LONGEST:
        raise PatternError(f"it has more than {LONGEST} characters")
    try:
        found: Pattern = re2.compile(pattern, options=_options())  # type: ignore[no-untyped-call]
    except re2.error as err:
        text = err.args[0] if err.args else err
        raise PatternError(text.decode() if isinstance(text, bytes) else str(text)) from err
    return found
