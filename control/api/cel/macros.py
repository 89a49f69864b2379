"""The comprehensions: what a macro does with each item of a list, or each entry of a map.

Each step of one costs, so that none goes on for long. An error in ``all`` and ``exists``
counts only if no item decides.
"""

from collections.abc import Callable, Iterator
from functools import cmp_to_key
from typing import Any

from control.api.cel.errors import NO_OVERLOAD, CostExceededError, EvaluationError
from control.api.cel.meter import Meter
from control.api.cel.values import NONE, Optional

Scope = dict[str, Any]
Step = Callable[[Scope, Meter], Any]
Scopes = Callable[[Scope, Meter], Iterator[Scope]]
Names = tuple[str, ...]
_STEP = 2  # units of an iteration, besides its parts


def scopes(value: Any, names: Names, scope: Scope, meter: Meter) -> Iterator[Scope]:
    """Yield the variables for each item; the same map each time."""
    inside = dict(scope)
    for key, item in _pairs(value):
        meter.spend(_STEP)
        if len(names) == 2:
            inside[names[0]], inside[names[1]] = key, item
        else:
            inside[names[0]] = item if isinstance(value, list) else key
        yield inside


def _pairs(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, list):
        return iter(enumerate(value))
    if value.__class__ is dict:
        return iter(value.items())
    raise EvaluationError(NO_OVERLOAD)


def holds(step: Step, scope: Scope, meter: Meter) -> bool:
    """Return what a condition is; raises EvaluationError if it is neither."""
    value = step(scope, meter)
    if value.__class__ is not bool:
        raise EvaluationError(NO_OVERLOAD)
    return bool(value)


def _any(target: Step, names: Names, condition: Step, *, wanted: bool) -> Step:
    def step(scope: Scope, meter: Meter) -> bool:
        error: EvaluationError | None = None
        for inside in scopes(target(scope, meter), names, scope, meter):
            try:
                if holds(condition, inside, meter) is wanted:
                    return wanted
            except CostExceededError:
                raise
            except EvaluationError as err:
                error = error or err
        if error is not None:
            raise error
        return not wanted

    return step


def _all(target: Step, names: Names, condition: Step) -> Step:
    return _any(target, names, condition, wanted=False)


def _exists(target: Step, names: Names, condition: Step) -> Step:
    return _any(target, names, condition, wanted=True)


def _one(target: Step, names: Names, condition: Step) -> Step:
    def step(scope: Scope, meter: Meter) -> bool:
        every = scopes(target(scope, meter), names, scope, meter)
        return sum(holds(condition, inside, meter) for inside in every) == 1

    return step


def _chosen(target: Step, names: Names, steps: tuple[Step, ...]) -> Scopes:
    """Return what yields the variables for each item; of two steps, the first is a condition."""
    condition = steps[0] if len(steps) == 2 else None

    def chosen(scope: Scope, meter: Meter) -> Iterator[Scope]:
        every = scopes(target(scope, meter), names, scope, meter)
        if condition is None:
            return every
        return (inside for inside in every if holds(condition, inside, meter))

    return chosen


def _map(target: Step, names: Names, *steps: Step) -> Step:
    """``map`` and ``transformList``."""
    made, chosen = steps[-1], _chosen(target, names, steps)
    return lambda scope, meter: [made(inside, meter) for inside in chosen(scope, meter)]


def _filter(target: Step, names: Names, condition: Step) -> Step:
    def step(scope: Scope, meter: Meter) -> list[Any]:
        return [
            inside[names[0]]
            for inside in scopes(target(scope, meter), names, scope, meter)
            if holds(condition, inside, meter)
        ]

    return step


def _transform_map(target: Step, names: Names, *steps: Step) -> Step:
    made, chosen = steps[-1], _chosen(target, names, steps)

    def step(scope: Scope, meter: Meter) -> dict[Any, Any]:
        return {inside[names[0]]: made(inside, meter) for inside in chosen(scope, meter)}

    return step


def _transform_entry(target: Step, names: Names, *steps: Step) -> Step:
    made, chosen = steps[-1], _chosen(target, names, steps)

    def step(scope: Scope, meter: Meter) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for inside in chosen(scope, meter):
            entry = made(inside, meter)
            if entry.__class__ is not dict:
                raise EvaluationError(NO_OVERLOAD)
            for key, value in entry.items():
                if key in found:
                    raise EvaluationError(f"insert failed: key {key} already exists")
                found[key] = value
        return found

    return step


def _sort_by(target: Step, names: Names, key: Step) -> Step:
    def step(scope: Scope, meter: Meter) -> list[Any]:
        items = target(scope, meter)
        keyed = [
            (key(inside, meter), inside[names[0]]) for inside in scopes(items, names, scope, meter)
        ]
        return [item for _, item in sorted(keyed, key=lambda pair: order(pair[0], meter))]

    return step


def order(value: Any, meter: Meter) -> Any:
    """Return a key that sorts values of one type; raises EvaluationError for others."""

    def compare(one: Any, other: Any) -> int:
        meter.spend(1)
        same = one.__class__ is other.__class__
        if not same or one.__class__ in (list, dict, type(None)):
            raise EvaluationError("list elements must have the same type")
        return int(one > other) - int(one < other)

    return cmp_to_key(compare)(value)


def _opt_map(target: Step, names: Names, made: Step) -> Step:
    def wrapped(scope: Scope, meter: Meter) -> Optional:
        return Optional(made(scope, meter))

    return _opt_flat_map(target, names, wrapped)


def _opt_flat_map(target: Step, names: Names, made: Step) -> Step:
    def step(scope: Scope, meter: Meter) -> Any:
        value = target(scope, meter)
        if value.__class__ is not Optional:
            raise EvaluationError(NO_OVERLOAD)
        return made(scope | {names[0]: value.value}, meter) if value.present else NONE

    return step


MACROS: dict[str, Callable[..., Step]] = {
    "all": _all,
    "exists": _exists,
    "exists_one": _one,
    "existsOne": _one,
    "filter": _filter,
    "map": _map,
    "optMap": _opt_map,
    "optFlatMap": _opt_flat_map,
    "sortBy": _sort_by,
    "transformList": _map,
    "transformMap": _transform_map,
    "transformMapEntry": _transform_entry,
}
