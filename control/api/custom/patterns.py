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
