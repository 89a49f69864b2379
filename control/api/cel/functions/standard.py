"""The operators and functions of the language itself.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

import math
import operator
from collections.abc import Callable
from typing import Any

from control.api.cel.errors import EvaluationError
from control.api.cel.functions.numbers import (
    number_text,
    parse_double,
    parse_int,
    parse_uint,
)
from control.api.cel.functions.table import Overload, full_name, name_of
from control.api.cel.functions.times import (
    LEAST_TIME,
    MOST_TIME,
    duration_text,
    parse_duration,
    parse_timestamp,
    timestamp_text,
)
from control.api.cel.meter import matching, of_text, traversal
from control.api.cel.values import (
    Duration,
    MapList,
    SetList,
    Timestamp,
    TypeName,
    UInt,
    equal,
    fits_int,
    hashed,
)
from control.api.custom.patterns import PatternError, compiled

_MOST_UINT = 2**64
_SECOND = 10**9


def _int(number: int) -> int:
    if not fits_int(number):
        raise EvaluationError("integer overflow")
    return number


def _uint(number: int) -> UInt:
    if not 0 <= number < _MOST_UINT:
        raise EvaluationError("unsigned integer overflow")
    return UInt(number)


def _divide(one: int, other: int) -> int:
    if other == 0:
        raise EvaluationError("division by zero")
    quotient = abs(one) // abs(other)
    return quotient if (one < 0) == (other < 0) else -quotient


def _modulo(one: int, other: int) -> int:
    if other == 0:
        raise EvaluationError("modulus by zero")
    if other == -1:
        _int(-one)
    return int(math.copysign(1, one)) * (abs(one) % abs(other))


def _divide_float(one: float, other: float) -> float:
    if other == 0:
        negative = math.copysign(1, one) * math.copysign(1, other) < 0
        return math.nan if one == 0 or math.isnan(one) else -math.inf if negative else math.inf
    return one / other


def _duration(nanos: int) -> Duration:
    if not fits_int(nanos):
        raise EvaluationError("integer overflow")
    return Duration(nanos)


def _timestamp(nanos: int, offset: int = 0) -> Timestamp:
    if not LEAST_TIME <= nanos < MOST_TIME:
        raise EvaluationError("timestamp overflow")
    return Timestamp(nanos, offset)


def _later(one: Timestamp, other: Duration) -> Timestamp:
    return _timestamp(one.nanos + other.nanos, one.offset)


def _earlier(one: Timestamp, other: Duration) -> Timestamp:
    return _timestamp(one.nanos - other.nanos, one.offset)


def _added(one: list[Any], other: list[Any]) -> list[Any]:
    """Join two lists; those of a set or a map merge, as in server-side apply."""
    if isinstance(one, SetList):
        known = {hashed(each) for each in one}
        return SetList([*one, *(each for each in other if hashed(each) not in known)])
    if isinstance(one, MapList):
        later = {one.named(each): each for each in other}
        kept = [later.pop(one.named(each), each) for each in one]
        return MapList([*kept, *later.values()], one.keys)
    return [*one, *other]


_ARITHMETIC = (
    Overload("_+_", "(int, int) int", lambda a, b: _int(a + b)),
    Overload("_+_", "(uint, uint) uint", lambda a, b: _uint(int(a) + int(b))),
    Overload("_+_", "(double, double) double", operator.add),
    Overload("_+_", "(string, string) string", operator.add, traversal),
    Overload("_+_", "(bytes, bytes) bytes", operator.add, traversal),
    Overload("_+_", "(list<A>, list<A>) list<A>", _added, traversal),
    Overload("_+_", "(timestamp, duration) timestamp", _later),
    Overload("_+_", "(duration, timestamp) timestamp", lambda a, b: _later(b, a)),
    Overload("_+_", "(duration, duration) duration", lambda a, b: _duration(a.nanos + b.nanos)),
    Overload("_-_", "(int, int) int", lambda a, b: _int(a - b)),
    Overload("_-_", "(uint, uint) uint", lambda a, b: _uint(int(a) - int(b))),
    Overload("_-_", "(double, double) double", operator.sub),
    Overload("_-_", "(timestamp, timestamp) duration", lambda a, b: _duration(a.nanos - b.nanos)),
    Overload("_-_", "(timestamp, duration) timestamp", _earlier),
    Overload("_-_", "(duration, duration) duration", lambda a, b: _duration(a.nanos - b.nanos)),
    Overload("_*_", "(int, int) int", lambda a, b: _int(a * b)),
    Overload("_*_", "(uint, uint) uint", lambda a, b: _uint(int(a) * int(b))),
    Overload("_*_", "(double, double) double", operator.mul),
    Overload("_/_", "(int, int) int", lambda a, b: _int(_divide(a, b))),
    Overload("_/_", "(uint, uint) uint", lambda a, b: _uint(_divide(a, b))),
    Overload("_/_", "(double, double) double", _divide_float),
    Overload("_%_", "(int, int) int", _modulo),
    Overload("_%_", "(uint, uint) uint", lambda a, b: _uint(_modulo(a, b))),
    Overload("-_", "(int) int", lambda a: _int(-a)),
    Overload("-_", "(double) double", operator.neg),
    Overload("!_", "(bool) bool", operator.not_),
)
_NUMBERS = ("int", "uint", "double")
_ORDERED = ("bool", "string", "bytes", "timestamp", "duration")
_COMPARED = {"_<_": operator.lt, "_<=_": operator.le, "_>_": operator.gt, "_>=_": operator.ge}


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(one: float, other: float) -> bool:
        if one != one or other != other:
            raise EvaluationError("NaN values cannot be ordered")
        return compare(one, other)

    return ordered


def _comparisons() -> list[Overload]:
    found = []
    for name, compare in _COMPARED.items():
        found += [
            Overload(
                name,
                f"({one}, {other}) bool",
                _ordered(compare) if "double" in (one, other) else compare,
            )
            for one in _NUMBERS
            for other in _NUMBERS
        ]
        found += [Overload(name, f"({one}, {one}) bool", compare, _least) for one in _ORDERED]
    return found


def _least(one: Any, other: Any) -> int:
    return min(traversal(one), traversal(other))


def _contained(item: Any, items: Any) -> bool:
    return any(equal(item, each) for each in items)


def _is_key(key: Any, items: dict[Any, Any]) -> bool:
    return key.__class__ in (str, int, UInt, bool, float) and key in items


def deep(value: Any) -> int:
    """Return the units of comparing a value: of each thing in it."""
    sort = value.__class__
    if sort is str or sort is bytes:
        return 1 + of_text(len(value))
    if isinstance(value, dict):
        return 1 + sum(map(deep, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(deep, value))
    return 1


def _compared(one: Any, other: Any) -> int:
    if one.__class__ in (str, bytes):
        return _least(one, other)
    return min(deep(one), deep(other)) if isinstance(one, dict | list) else 1


_EQUALITY = (
    Overload("_==_", "(A, A) bool", equal, _compared),
    Overload("_!=_", "(A, A) bool", lambda a, b: not equal(a, b), _compared),
    Overload("@in", "(A, list<A>) bool", _contained, lambda _, b: deep(b)),
    Overload("@in", "(A, map<A, B>) bool", _is_key),
)


def matches(text: str, pattern: str) -> bool:
    """Return True if a text has a match of a pattern."""
    try:
        return compiled(pattern).search(text) is not None
    except PatternError as err:
        raise EvaluationError(err.go) from err


def passes(text: str, pattern: str, *_: Any) -> int:
    """Return the units of looking for a pattern."""
    return matching(len(text), len(pattern))


_TEXT = (
    Overload("contains", "string.(string) bool", lambda a, b: b in a, traversal),
    Overload("startsWith", "string.(string) bool", str.startswith, lambda _, b: of_text(len(b))),
    Overload("endsWith", "string.(string) bool", str.endswith, lambda _, b: of_text(len(b))),
    Overload("matches", "string.(string) bool", matches, passes),
    Overload("matches", "(string, string) bool", matches, passes),
)
_SIZED = ("string", "bytes", "list<A>", "map<A, B>")


def _sizes() -> list[Overload]:
    made = [Overload("size", f"({each}) int", len) for each in _SIZED]
    return made + [Overload("size", f"{each}.() int", len) for each in _SIZED]


def _to_int(value: Any) -> int:
    if value.__class__ is float:
        if not -(2.0**63) < value < 2.0**63:
            raise EvaluationError("integer overflow")
        return int(value)
    return parse_int(value)


def _to_uint(value: Any) -> UInt:
    if value.__class__ is str:
        return UInt(parse_uint(value))
    if value.__class__ is float and not 0 <= value < 2.0**64:
        raise EvaluationError("unsigned integer overflow")
    return _uint(int(value))


def _to_double(value: Any) -> float:
    return parse_double(value) if value.__class__ is str else float(value)


_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


def _to_bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise EvaluationError("type conversion error from 'string' to 'bool'")


def _to_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as err:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from err


def type_of(value: Any) -> TypeName:
    """Return the type of a value."""
    return TypeName(full_name(name_of(value.__class__)))


def _same(value: Any) -> Any:
    return value


def _no_duration(_: int) -> Duration:
    why = "type conversion error from 'int' to 'google.protobuf.Duration'"
    raise EvaluationError(why)


_READ: dict[str, tuple[tuple[str, Callable[[Any], Any]], ...]] = {
    "int": (
        ("int", _same),
        ("uint", lambda a: _int(int(a))),
        ("double", _to_int),
        ("string", _to_int),
        ("timestamp", lambda a: a.nanos // _SECOND),
        ("duration", lambda a: a.nanos),
    ),
    "uint": (("uint", _same), ("int", _to_uint), ("double", _to_uint), ("string", _to_uint)),
    "double": (("double", _same), ("int", float), ("uint", float), ("string", _to_double)),
    "bool": (("bool", _same), ("string", _to_bool)),
    "bytes": (("bytes", _same), ("string", str.encode)),
    "string": (
        ("string", _same),
        ("bool", lambda a: "true" if a else "false"),
        ("int", str),
        ("uint", lambda a: str(int(a))),
        ("double", number_text),
        ("bytes", _to_text),
        ("timestamp", timestamp_text),
        ("duration", duration_text),
    ),
    "timestamp": (
        ("timestamp", _same),
        ("string", parse_timestamp),
        ("int", lambda a: _timestamp(a * _SECOND)),
    ),
    "duration": (("duration", _same), ("string", parse_duration), ("int", _no_duration)),
    "dyn": (("A", _same),),
    "type": (("A", type_of),),
}


def _conversions() -> list[Overload]:
    return [
        Overload(
            name, f"({have}) {name}", convert, traversal if have in ("string", "bytes") else None
        )
        for name, rows in _READ.items()
        for have, convert in rows
    ]


def _indexed(items: list[Any], at: Any) -> Any:
    if at.__class__ is float and at.is_integer():
        at = int(at)
    if at.__class__ not in (int, UInt):
        raise EvaluationError("unsupported index type 'double' in list")
    if not 0 <= at < len(items):
        raise EvaluationError(f"index out of bounds: {at}")
    return items[at]


def found(items: dict[Any, Any], key: Any) -> Any:
    """Return an entry of a map."""
    if key.__class__ not in (str, int, UInt, bool, float) or key not in items:
        shown = key if isinstance(key, str) else str(key).lower()
        raise EvaluationError(f"no such key: {shown}")
    return items[key]


_INDEXING = (
    Overload("_[_]", "(list<A>, int) A", _indexed),
    Overload("_[_]", "(list<A>, uint) A", _indexed),
    Overload("_[_]", "(list<A>, double) A", _indexed),
    Overload("_[_]", "(map<A, B>, A) B", found),
)
STANDARD = (
    *_ARITHMETIC,
    *_comparisons(),
    *_EQUALITY,
    *_TEXT,
    *_sizes(),
    *_conversions(),
    *_INDEXING,
)
