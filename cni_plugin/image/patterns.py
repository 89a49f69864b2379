"""Regular expressions, compiled when the image is written: their compiler is slow to import."""

import re
from re import _compiler, _parser  # type: ignore[attr-defined]  # the steps of re.compile


def compiled(pattern: re.Pattern[str]) -> tuple[object, ...]:
    """Return the arguments of ``_sre.compile`` with which ``re._compiler.compile`` calls it."""
    parsed = _parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    names = dict(parsed.state.groupdict)
    by_number: list[str | None] = [None] * parsed.state.groups
    for name, number in names.items():
        by_number[number] = name
    code = [int(step) for step in _compiler._code(parsed, pattern.flags)]
    flags = int(pattern.flags | parsed.state.flags)
    return pattern.pattern, flags, code, parsed.state.groups - 1, names, tuple(by_number)
