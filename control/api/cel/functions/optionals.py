"""Optional values. Source: cel.OptionalTypes of github.com/google/cel-go."""

from typing import Any

from control.api.cel.errors import EvaluationError
from control.api.cel.functions.table import Overload
from control.api.cel.values import NONE, Duration, Optional, Timestamp


def _value(given: Optional) -> Any:
    if not given.present:
        raise EvaluationError("optional.none() dereference")
    return given.value


def _if_not_zero(value: Any) -> Optional:
    zero = value is None or value in (False, 0, "", b"", [], {}) or value in _ZEROS
    return NONE if zero else Optional(value)


_ZEROS = (Duration(0), Timestamp(0), NONE)


def _indexed(given: Optional, at: Any) -> Optional:
    if not given.present:
        return NONE
    if isinstance(given.value, list):
        inside = at.__class__ is int and 0 <= at < len(given.value)
        return Optional(given.value[at]) if inside else NONE
    return Optional(given.value[at]) if at in given.value else NONE


def _special(*_: Any) -> Any:
    raise EvaluationError("it is computed elsewhere")


OPTIONALS = (
    Overload("optional.of", "(A) optional<A>", Optional),
    Overload("optional.none", "() optional<A>", lambda: NONE),
    Overload("optional.ofNonZeroValue", "(A) optional<A>", _if_not_zero),
    Overload("hasValue", "optional<A>.() bool", lambda a: a.present),
    Overload("value", "optional<A>.() A", _value),
    Overload("or", "optional<A>.(optional<A>) optional<A>", lambda a, b: a if a.present else b),
    Overload("orValue", "optional<A>.(A) A", lambda a, b: a.value if a.present else b),
    Overload("optional.unwrap", "(list<optional<A>>) list<A>", lambda a: _present(a)),
    Overload("unwrapOpt", "list<optional<A>>.() list<A>", lambda a: _present(a)),
    Overload("_[_]", "(optional<list<A>>, int) optional<A>", _indexed),
    Overload("_[_]", "(optional<map<A, B>>, A) optional<B>", _indexed),
    # Their types; ``build.py`` computes them.
    Overload("_[?_]", "(list<A>, int) optional<A>", _special),
    Overload("_[?_]", "(map<A, B>, A) optional<B>", _special),
    Overload("_[?_]", "(optional<list<A>>, int) optional<A>", _special),
    Overload("_[?_]", "(optional<map<A, B>>, A) optional<B>", _special),
    Overload("_?_:_", "(bool, A, A) A", _special),
)


def _present(items: list[Optional]) -> list[Any]:
    return [each.value for each in items if each.present]
