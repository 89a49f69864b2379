"""The clauses of ``string.format``: what each takes, and how it writes that.

Numbers with a fraction are written for readers of English, as 1,234.50, and powers of ten with
raised digits; a precision of ``%e`` is its width, as upstream has it.
Source: ext/formatting.go of github.com/google/cel-go.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from control.api.cel.errors import EvaluationError
from control.api.cel.functions.numbers import number_text
from control.api.cel.functions.standard import type_of
from control.api.cel.functions.table import full_name, name_of
from control.api.cel.functions.times import duration_text, timestamp_text

_MOST = 1_000_000  # characters of a formatted text
_WIDEST = 1_000  # digits after a point, and characters of a number
_CLAUSE = re.compile(r"%(?:%|(?:\.([0-9]*))?(.?))", re.DOTALL)
_USUAL = 6
ENDED = "unexpected end of string"
_PRECISION = "could not parse formatting clause: error while parsing precision"


@dataclass(frozen=True, slots=True)
class Clause:
    """A place for a value; ``why`` is what is wrong with it."""

    sort: str
    precision: int
    why: str


def pieces(text: str) -> Iterator[str | Clause]:
    """Yield what a format consists of: texts and clauses."""
    last = 0
    for match in _CLAUSE.finditer(text):
        yield text[last : match.start()]
        last = match.end()
        yield "%" if match[2] is None else _clause(match[1], match[2])
    yield text[last:]


def _clause(digits: str | None, sort: str) -> Clause:
    why = ""
    if not sort:
        why = (
            ENDED if digits is None else f"{_PRECISION}: could not find end of precision specifier"
        )
    elif digits == "":
        wrong = (
            'error while converting precision to integer: strconv.Atoi: parsing "": invalid syntax'
        )
        why = f"{_PRECISION}: {wrong}"
    elif sort not in CLAUSES:
        shown = chr(sort.encode(errors="surrogatepass")[0])  # upstream reads a byte
        why = f'could not parse formatting clause: unrecognized formatting clause "{shown}"'
    precision = _USUAL if digits is None else int(digits[:5] or 0)
    return Clause(sort, min(precision, _WIDEST), why)


def formatted(text: str, values: list[Any]) -> str:
    """Return a format with values in its places; raises EvaluationError."""
    made, used, size = list[str](), 0, 0
    for piece in pieces(text):
        if isinstance(piece, Clause):
            if used >= len(values):
                raise EvaluationError(f"index {used} out of range")
            if piece.why:
                raise EvaluationError(piece.why)
            made.append(_written(piece, values[used]))
            used += 1
        else:
            made.append(piece)
        size += len(made[-1])
        if size > _MOST:
            raise EvaluationError("format: its result is too long")
    return "".join(made)


def _written(clause: Clause, value: Any) -> str:
    name = name_of(value.__class__)
    names, _, write = CLAUSES[clause.sort]
    if name not in names and value not in _FLOATS.get(clause.sort, ()):
        raise EvaluationError(refusal(clause.sort, type_of(value).name))
    return write(value, clause.precision)


def refusal(sort: str, name: str) -> str:
    """Return what is said of a value of a type that a clause does not take."""
    return f"error during formatting: {CLAUSES[sort][1]}, was given {name}"


def _named(number: float) -> str:
    return "NaN" if math.isnan(number) else "∞" if number > 0 else "-∞"


def _fixed(value: Any, precision: int) -> str:
    number = float(value) or 0.0
    return f"{number:,.{precision}f}" if math.isfinite(number) else _named(number)


_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "+")


def _scientific(value: Any, width: int) -> str:
    number = float(value) or 0.0
    if not math.isfinite(number):
        return _named(number).rjust(width)
    digits, _, exponent = f"{number:.{_USUAL}e}".partition("e")
    return f"{digits}\N{MULTIPLICATION SIGN}10{exponent.translate(_RAISED)}".rjust(width)


def _hex(value: Any, sort: str) -> str:
    if isinstance(value, int):
        return f"{int(value):{sort}}"
    made = (value.encode() if isinstance(value, str) else value).hex()
    return made.upper() if sort == "X" else made


_NAMES = ("NaN", "Infinity", "-Infinity")
_FLOATS = {"f": _NAMES, "e": _NAMES}  # texts that are numbers
_WHOLE = ("int", "uint")
_HEXED = (*_WHOLE, "string", "bytes")
_TEXTS = ("string", "bool", "bytes", *_WHOLE, "double", "null", "timestamp", "duration", "type")
_OF_TEXTS = (
    "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types,"
    " durations, and timestamps"
)
_OF_HEXED = "only integers, byte buffers, and strings can be formatted as hex"
# The types of values that a clause takes, what is said of others, and how it writes one.
CLAUSES: dict[str, tuple[tuple[str, ...], str, Callable[[Any, int], str]]] = {
    "s": ((*_TEXTS, "list", "map"), _OF_TEXTS, lambda value, _: text_of(value)),
    "d": (
        _WHOLE,
        "decimal clause can only be used on integers",
        lambda value, _: str(int(value)),
    ),
    "f": (("double",), "fixed-point clause can only be used on doubles", _fixed),
    "e": (("double",), "scientific clause can only be used on doubles", _scientific),
    "b": (
        (*_WHOLE, "bool"),
        "only integers and bools can be formatted as binary",
        lambda value, _: f"{int(value):b}",
    ),
    "o": (
        _WHOLE,
        "octal clause can only be used on integers",
        lambda value, _: f"{int(value):o}",
    ),
    "x": (_HEXED, _OF_HEXED, lambda value, _: _hex(value, "x")),
    "X": (_HEXED, _OF_HEXED, lambda value, _: _hex(value, "X")),
}


def may_take(sort: str, name: str) -> bool:
    """Return True if a clause can take values of a type that is declared; texts may be numbers."""
    return name == "dyn" or name in CLAUSES[sort][0] or (sort in _FLOATS and name == "string")


def _bytes_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as err:
        why = 'argument "invalid UTF-8 in bytes, cannot convert to string" to string'
        raise EvaluationError(f"error during formatting: could not convert {why}") from err


def _truth(value: Any) -> str:
    return "true" if value else "false"


def _whole(value: Any) -> str:
    return str(int(value))


_PLAIN: dict[str, Callable[[Any], str]] = {
    "bool": _truth,
    "int": _whole,
    "uint": _whole,
    "double": number_text,
    "string": str,
    "bytes": _bytes_text,
    "null": lambda _: "null",
    "timestamp": timestamp_text,
    "duration": duration_text,
    "type": lambda value: value.name,
    "list": lambda value: f"[{', '.join(map(_inner, value))}]",
    "map": lambda value: _map_text(value),
}
# In a list or a map.
_INNER: dict[str, Callable[[Any], str]] = _PLAIN | {
    "double": lambda value: f"{value:.6f}" if math.isfinite(value) else quoted(number_text(value)),
    "string": lambda value: quoted(value),
    "bytes": lambda value: f"b{quoted(value.decode(errors='surrogateescape'))}",
    "timestamp": lambda value: f'timestamp("{timestamp_text(value)}")',
    "duration": lambda value: f'duration("{duration_text(value)}")',
}
_KEYS = ("string", "bool", "int", "uint")


def _inner(value: Any) -> str:
    name = name_of(value.__class__)
    if name not in _INNER:
        why = f"no formatting function for {full_name(name)}"
        raise EvaluationError(f"error during formatting: {why}")
    return _INNER[name](value)


def _map_text(value: dict[Any, Any]) -> str:
    pairs = {}
    for key, item in value.items():
        name = name_of(key.__class__)
        if name not in _KEYS:
            why = f"no formatting function for map key of type {full_name(name)}"
            raise EvaluationError(f"error during formatting: {why}")
        pairs[_INNER[name](key)] = _inner(item)
    return f"{{{', '.join(f'{key}:{pairs[key]}' for key in sorted(pairs))}}}"


ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


def quoted(text: str) -> str:
    """Write a text as Go's ``%q`` does."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(sign: str) -> str:
    if sign in ESCAPES:
        return ESCAPES[sign]
    if sign.isprintable():
        return sign
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def text_of(value: Any) -> str:
    """Write a value as the clause ``%s`` does; raises EvaluationError."""
    write = _PLAIN.get(name_of(value.__class__))
    if write is None:
        raise EvaluationError(refusal("s", type_of(value).name))
    return write(value)
