"""Make a function of a checked expression. Pure.

Each node becomes a closure that takes the variables and a meter. Nothing is looked up twice.
"""

from collections.abc import Callable, Container, Mapping
from typing import Any

from control.api.cel.errors import NO_OVERLOAD, CostExceededError, EvaluationError
from control.api.cel.functions.standard import found
from control.api.cel.functions.table import Function, Table, name_of
from control.api.cel.macros import MACROS, holds
from control.api.cel.meter import Meter
from control.api.cel.nodes import Call, Const, Entries, Ident, Items, Macro, Node, Select, qualified
from control.api.cel.values import NONE, Made, Optional, TypeName

Scope = dict[str, Any]
Step = Callable[[Scope, Meter], Any]
_LIST, _MAP, _OBJECT = 10, 30, 40  # units of making one


class Builder:
    """Makes steps; ``names`` are the JSON names of typed fields, ``constants`` known values."""

    def __init__(
        self,
        table: Table,
        names: Mapping[Node, str],
        variables: Container[str],
        constants: Mapping[Node, Any],
    ) -> None:
        self._table = table
        self._names = names
        self._variables = variables
        self._constants = constants

    def build(self, node: Node) -> Step:
        """Return the function of an expression."""
        return self._step(node, frozenset())

    def _step(self, node: Node, local: frozenset[str]) -> Step:
        if node in self._constants:
            return _always(self._constants[node])
        return _STEPS[type(node)](self, node, local)

    def _const(self, node: Const, _: frozenset[str]) -> Step:
        return _always(node.value)

    def _known(self, name: str, local: frozenset[str]) -> bool:
        return name in local or name in self._variables

    def _ident(self, node: Ident, local: frozenset[str]) -> Step:
        name = node.name
        if not self._known(name, local):
            return _always(TypeName(name))

        def step(scope: Scope, meter: Meter) -> Any:
            meter.spend(1)
            return scope[name]

        return step

    def _select(self, node: Select, local: frozenset[str]) -> Step:
        path = "" if node.test else qualified(node, _Both(local, self._variables))
        if path.startswith("google.protobuf.") or path == "optional_type":
            return _always(TypeName(path))
        operand, name = self._step(node.operand, local), self._names.get(node, node.name)
        if node.test:
            return lambda scope, meter: _has(operand(scope, meter), name, meter)
        if node.optional:
            return lambda scope, meter: _optional(operand(scope, meter), name, meter)

        def step(scope: Scope, meter: Meter) -> Any:
            value = operand(scope, meter)
            meter.spend(1)
            if value.__class__ is dict:
                if name in value:
                    return value[name]
                raise EvaluationError(f"no such key: {name}")
            return _field(value, name, meter)

        return step

    def _call(self, node: Call, local: frozenset[str]) -> Step:
        known = _Both(local, self._variables)
        name = self._table.resolve(node, known)
        target = None if name is not None else node.target
        steps = [self._step(each, local) for each in node.args]
        if target is not None:
            steps.insert(0, self._step(target, local))
        if (special := _SPECIAL.get(node.name)) is not None and target is None:
            return special(*steps)
        function = self._table.functions[name or node.name, target is not None]
        return _called(function, steps)

    def _items(self, node: Items, local: frozenset[str]) -> Step:
        steps = [
            (self._step(each, local), at in node.optional) for at, each in enumerate(node.items)
        ]

        def step(scope: Scope, meter: Meter) -> Any:
            meter.spend(_LIST)
            made = []
            for each, optional in steps:
                value = each(scope, meter)
                if not optional:
                    made.append(value)
                elif _unwrapped(value).present:
                    made.append(value.value)
            return made

        return step

    def _entries(self, node: Entries, local: frozenset[str]) -> Step:
        steps = [
            (self._step(key, local), self._step(value, local), optional)
            for key, value, optional in node.entries
        ]
        cost, name = (_OBJECT if node.name else _MAP), node.name

        def step(scope: Scope, meter: Meter) -> Any:
            meter.spend(cost)
            made: dict[Any, Any] = {}
            for key, value, optional in steps:
                at, item = key(scope, meter), value(scope, meter)
                if optional and not _unwrapped(item).present:
                    continue
                made[at] = item.value if optional else item
            return Made(name, made) if name else made

        return step

    def _macro(self, node: Macro, local: frozenset[str]) -> Step:
        target = self._step(node.target, local)
        inside = local | frozenset(node.names)
        steps = [self._step(each, inside) for each in node.args]
        return MACROS[node.name](target, node.names, *steps)


def _always(value: Any) -> Step:
    return lambda *_: value


_STEPS: dict[type, Callable[..., Step]] = {
    Const: Builder._const,
    Ident: Builder._ident,
    Select: Builder._select,
    Call: Builder._call,
    Items: Builder._items,
    Entries: Builder._entries,
    Macro: Builder._macro,
}


class _Both:
    """The names of local and of declared variables."""

    def __init__(self, local: frozenset[str], declared: Container[str]) -> None:
        self._local, self._declared = local, declared

    def __contains__(self, name: object) -> bool:
        return name in self._local or name in self._declared


def _called(function: Function, steps: list[Step]) -> Step:
    call = function.call
    if len(steps) == 2:
        one, other = steps
        return lambda scope, meter: call(meter, one(scope, meter), other(scope, meter))
    if len(steps) == 1:
        only = steps[0]
        return lambda scope, meter: call(meter, only(scope, meter))
    return lambda scope, meter: call(meter, *[step(scope, meter) for step in steps])


def _and(*steps: Step) -> Step:
    return _logic(steps, decisive=False)


def _or(*steps: Step) -> Step:
    return _logic(steps, decisive=True)


def _logic(steps: tuple[Step, ...], *, decisive: bool) -> Step:
    """Return the first decisive operand; an error counts only if there is none.

    ``all`` and ``exists`` decide likewise (macros.py); apart, this one takes half the time.
    """

    def step(scope: Scope, meter: Meter) -> bool:
        error: EvaluationError | None = None
        for each in steps:
            try:
                value = each(scope, meter)
            except CostExceededError:
                raise
            except EvaluationError as err:
                error = error or err
                continue
            if value.__class__ is not bool:
                error = error or EvaluationError(NO_OVERLOAD)
            elif value is decisive:
                return decisive
        if error is not None:
            raise error
        return not decisive

    return step


def _conditional(condition: Step, yes: Step, no: Step) -> Step:
    def step(scope: Scope, meter: Meter) -> Any:
        return (yes if holds(condition, scope, meter) else no)(scope, meter)

    return step


def _optional_index(operand: Step, index: Step) -> Step:
    def step(scope: Scope, meter: Meter) -> Any:
        value, at = operand(scope, meter), index(scope, meter)
        meter.spend(1)
        if value.__class__ is Optional:
            if not value.present:
                return NONE
            value = value.value
        if isinstance(value, list):
            whole = isinstance(at, int | float) and at.__class__ is not bool and at == int(at)
            return Optional(value[int(at)]) if whole and 0 <= at < len(value) else NONE
        return _optional(value, at, meter)

    return step


_SPECIAL: dict[str, Callable[..., Step]] = {
    "_&&_": _and,
    "_||_": _or,
    "_?_:_": _conditional,
    "_[?_]": _optional_index,
}


def _unwrapped(value: Any) -> Optional:
    if value.__class__ is not Optional:
        raise EvaluationError(f"cannot initialize optional entry from non-optional value {value}")
    return value


def _has(value: Any, name: str, meter: Meter) -> bool:
    if value.__class__ is Optional:
        return value.present and _has(value.value, name, meter)
    if isinstance(value, dict):
        return name in value
    if hasattr(value, "field"):
        return bool(value.has(name))
    raise EvaluationError(NO_OVERLOAD)


def _optional(value: Any, name: Any, meter: Meter) -> Optional:
    meter.spend(1)
    if value.__class__ is Optional:
        return _optional(value.value, name, meter) if value.present else NONE
    if value.__class__ is dict:
        return Optional(value[name]) if name in value else NONE
    if value is None:
        return NONE
    raise EvaluationError(NO_OVERLOAD)


def _field(value: Any, name: str, meter: Meter) -> Any:
    if value.__class__ is Optional:
        return _optional(value, name, meter)
    if hasattr(value, "field"):
        return value.field(name, meter)
    if isinstance(value, dict):
        return found(value, name)
    raise EvaluationError(NO_OVERLOAD if name_of(value.__class__) else "no such field")
