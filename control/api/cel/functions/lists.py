"""Functions of lists and sets: Kubernetes' own, and CEL's extensions lists (version 3) and sets.

Source: pkg/cel/library/lists.go of k8s.io/apiserver, ext/{lists,sets}.go of cel-go.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from control.api.cel.errors import EvaluationError
from control.api.cel.functions.standard import deep
from control.api.cel.functions.table import Overload
from control.api.cel.macros import order
from control.api.cel.meter import Meter
from control.api.cel.values import NONE, Duration, Optional, UInt, equal, fits_int, hashed

_SORTED = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_SUMMED = {"int": 0, "uint": UInt(0), "double": 0.0, "duration": Duration(0)}
_ADDED = (int, UInt, float, Duration)
_MOST_UINT = 2**64
_MOST = 1_000_000


def _pairwise(items: list[Any]) -> None:
    if any(one.__class__ is not other.__class__ for one, other in pairwise(items)):
        raise EvaluationError("no such overload")


def _is_sorted(items: list[Any]) -> bool:
    _pairwise(items)
    return all(one <= other for one, other in pairwise(items))


def _sum(items: list[Any]) -> Any:
    if any(each.__class__ not in _ADDED for each in items):
        raise EvaluationError("no such overload: sum(list)")
    _pairwise(items)
    sort = items[0].__class__
    if sort is Duration:
        return Duration(_fitting(sum(each.nanos for each in items)))
    total = sum(items)
    if sort is UInt:
        if total >= _MOST_UINT:
            raise EvaluationError("unsigned integer overflow")
        return UInt(total)
    return _fitting(total) if sort is int else total


def _fitting(total: int) -> int:
    if not fits_int(total):
        raise EvaluationError("integer overflow")
    return total


def _typed_sum(zero: Any) -> Callable[[list[Any]], Any]:
    return lambda items: _sum(items) if items else zero


def _extreme(choose: Callable[[list[Any]], Any], name: str) -> Callable[[list[Any]], Any]:
    def chosen(items: list[Any]) -> Any:
        if not items:
            raise EvaluationError(f"{name} called on empty list")
        _pairwise(items)
        return choose(items)

    return chosen


def _index(items: list[Any], wanted: Any) -> int:
    return next((at for at, each in enumerate(items) if equal(each, wanted)), -1)


def _last_index(items: list[Any], wanted: Any) -> int:
    at = _index(items[::-1], wanted)
    return -1 if at < 0 else len(items) - 1 - at


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        why = "negative indexes not supported"
    elif start > end:
        why = "start index must be less than or equal to end index"
    elif end > len(items):
        why = "list is length " + str(len(items))
    else:
        return items[start:end]
    raise EvaluationError(f"cannot slice({start}, {end}), {why}")


def _flat(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    made: list[Any] = []
    for each in items:
        if isinstance(each, list) and depth > 0:
            made += _flat(each, min(depth, 100) - 1)
        else:
            made.append(each)
    return made


def _first_seen(items: list[Any]) -> list[Any]:
    found: dict[Any, Any] = {}
    for each in items:
        found.setdefault(hashed(each), each)
    return list(found.values())


def _range(count: int) -> list[int]:
    return list(range(max(0, min(count, _MOST))))


def _sorted(items: list[Any]) -> list[Any]:
    free = Meter(_MOST * 100)  # paid before
    return sorted(items, key=lambda each: order(each, free))


def _sorting(items: list[Any]) -> int:
    return deep(items) * max(1, len(items).bit_length())


def _found(one: list[Any], other: list[Any]) -> Iterator[bool]:
    """Yield for each item of the other list whether the one has it."""
    known = {hashed(each) for each in one}
    return (hashed(each) in known for each in other)


def _contains(one: list[Any], other: list[Any]) -> bool:
    return all(_found(one, other))


def _equivalent(one: list[Any], other: list[Any]) -> bool:
    return _contains(one, other) and _contains(other, one)


def _intersects(one: list[Any], other: list[Any]) -> bool:
    return any(_found(one, other))


def _each(items: list[Any], *_: Any) -> int:
    return len(items)


def _through(items: list[Any], *_: Any) -> int:
    return deep(items)


def _both(one: list[Any], other: list[Any]) -> int:
    return deep(one) + deep(other)


def _typed() -> list[Overload]:
    found = []
    for name in _SORTED:
        of = f"list<{name}>"
        found += [
            Overload("isSorted", f"{of}.() bool", _is_sorted, _through),
            Overload("max", f"{of}.() {name}", _extreme(max, "max"), _through),
            Overload("min", f"{of}.() {name}", _extreme(min, "min"), _through),
            Overload("sort", f"{of}.() {of}", _sorted, _sorting),
        ]
    for name, zero in _SUMMED.items():
        found.append(Overload("sum", f"list<{name}>.() {name}", _typed_sum(zero), _each))
    return found


LISTS = (
    *_typed(),
    Overload("indexOf", "list<A>.(A) int", _index, _through),
    Overload("lastIndexOf", "list<A>.(A) int", _last_index, _through),
    Overload("slice", "list<A>.(int, int) list<A>", _slice, _each),
    Overload("flatten", "list<list<A>>.() list<A>", _flat, _through),
    Overload("flatten", "list<dyn>.(int) list<dyn>", _flat, _through),
    Overload("distinct", "list<A>.() list<A>", _first_seen, _through),
    Overload("reverse", "list<A>.() list<A>", lambda items: items[::-1], _each),
    Overload("first", "list<A>.() optional<A>", lambda a: Optional(a[0]) if a else NONE),
    Overload("last", "list<A>.() optional<A>", lambda a: Optional(a[-1]) if a else NONE),
    Overload("lists.range", "(int) list<int>", _range, lambda count: max(1, count)),
    Overload("sets.contains", "(list<A>, list<A>) bool", _contains, _both),
    Overload("sets.equivalent", "(list<A>, list<A>) bool", _equivalent, _both),
    Overload("sets.intersects", "(list<A>, list<A>) bool", _intersects, _both),
)
