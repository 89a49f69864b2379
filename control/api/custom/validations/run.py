"""Hold an object to the rules of its schema.

A rule about a change is held to only where the old value is known: of the items of a list, that is
only so for a list of type ``map``. What has not changed may break other rules (KEP-4008).
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from control.api import field
from control.api.cel.errors import CompileError, CostExceededError, EvaluationError
from control.api.cel.meter import PER_CALL, PER_OBJECT, Meter
from control.api.cel.types import DYN
from control.api.cel.values import NONE, Optional, hashed
from control.api.custom.cost import LIMIT, Spending
from control.api.custom.place import ROOT, Place
from control.api.custom.validations.compiled import Rule, compile_rule
from control.api.custom.validations.declared import converter, type_of
from control.api.field import FieldError

Schema = Mapping[str, Any]
_UNITS = 20  # of an expression that cost as much as a check of a value
_LONGEST = 5 * 1024  # bytes of a message
_SPENT = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)
_STOP = "no further validation rules will be run due to call cost exceeds limit for rule"
_MISFIT = "call arguments did not match a supported operator, function or macro signature for rule"


class _SpentError(Exception):
    """There is nothing left to spend: no further rule is computed."""


class Budget:
    """What the rules of one object may cost yet; beyond ``cost``, another process computes."""

    def __init__(self, cost: Spending) -> None:
        self.left = PER_OBJECT
        self._cost = cost
        self._hurries = LIMIT.get() is not None

    def meter(self) -> Meter:
        """Return the meter of one expression."""
        patience = self._cost.left * _UNITS if self._hurries else None
        return Meter(PER_CALL, patience)

    def spent(self, meter: Meter) -> None:
        """Count what one expression has cost, by its meter."""
        self.left -= PER_CALL - meter.left
        if self._hurries:
            self._cost.spend((self._cost.left * _UNITS - meter.patience) // _UNITS)


class Rules:
    """The rules of a schema, and of the parts that have any."""

    def __init__(self, schema: Schema, *, root: bool = False) -> None:
        self._schema = schema
        self._type = schema.get("type", "")
        self._rules, self._broken = _compiled(schema, root=root)
        self._convert = converter(schema, root=root) if self._rules else None
        given = (schema.get("properties") or {}).items()
        self._properties = {name: made for name, each in given if (made := rules_of(each))}
        more, items = schema.get("additionalProperties"), schema.get("items")
        self._additional = rules_of(more) if isinstance(more, dict) else None
        self._items = rules_of(items) if isinstance(items, dict) else None
        self._all = [made for each in schema.get("allOf") or () if (made := rules_of(each))]
        is_map = schema.get("x-kubernetes-list-type") == "map"
        self._keys = tuple(schema.get("x-kubernetes-list-map-keys") or ()) if is_map else ()

    @property
    def empty(self) -> bool:
        """True if there is no rule here or below."""
        below = self._properties, self._additional, self._items, self._all
        return not (self._rules or self._broken or any(below))

    def errors(self, value: Any, old: Any, cost: Spending) -> list[FieldError]:
        """Return the errors of an object; ``old`` is None for a new one.

        Raises TooCostlyError.
        """
        found: list[FieldError] = []
        with suppress(_SpentError):  # ``found`` says so
            self._hold(value, old, ROOT, found, Budget(cost))
        return found

    def _hold(
        self,
        value: Any,
        old: Any,
        path: Place,
        found: list[FieldError],
        budget: Budget,
        within: bool = False,
    ) -> None:
        """Hold a value to the rules; ``within`` an unchanged one if its own old one is unknown."""
        if value is None:
            return
        if self._rules or self._broken:
            same = within if old is None else old == value
            self._hold_here(value, old, path, found, budget, same)
        for each in self._all:
            each._hold(value, old, path, found, budget, within)
        if value.__class__ is list and self._items is not None:
            known = self._by_keys(old)
            within = within if old is None else old == value
            for number, item in enumerate(value):
                before = known.get(self._named(item)) if known else None
                self._items._hold(item, before, path.item(number), found, budget, within)
        elif value.__class__ is dict:
            within = within and old is None
            for name, item, rules, here in self._members(value, path):
                before = old.get(name) if isinstance(old, dict) else None
                rules._hold(item, before, here, found, budget, within)

    def _members(
        self, value: dict[str, Any], path: Place
    ) -> Iterator[tuple[str, Any, "Rules", Place]]:
        for name, item in value.items():
            if (rules := self._properties.get(name)) is not None:
                yield name, item, rules, path.at(name)
            elif self._additional is not None and name not in self._properties:
                yield name, item, self._additional, path.key(name)

    def _by_keys(self, old: Any) -> dict[Any, Any]:
        if not self._keys or not isinstance(old, list):
            return {}
        return {self._named(each): each for each in old}

    def _named(self, item: Any) -> Any:
        if not isinstance(item, dict):
            return None
        return tuple(hashed(item.get(key)) for key in self._keys)

    def _hold_here(
        self,
        value: Any,
        old: Any,
        path: Place,
        found: list[FieldError],
        budget: Budget,
        unchanged: bool,
    ) -> None:
        if budget.left <= 0:
            found.append(field.invalid(_shown(path), self._type, _SPENT))
            raise _SpentError
        for why in self._broken:
            found.append(field.invalid(_shown(path), self._type, f"rule compile error: {why}"))
        convert = self._convert or (lambda it: it)
        this = convert(value)
        before = None if old is None else convert(old)
        for rule in self._rules:
            if rule.uses_old and old is None and not rule.optional_old:
                continue
            if unchanged and not rule.uses_old:
                continue
            known = {"self": this, "oldSelf": before}
            if rule.optional_old:
                known["oldSelf"] = NONE if old is None else Optional(before)
            self._apply(rule, value, known, path, found, budget)

    def _apply(
        self,
        rule: Rule,
        value: Any,
        known: dict[str, Any],
        path: Place,
        found: list[FieldError],
        budget: Budget,
    ) -> None:
        meter = budget.meter()
        why = ""
        try:
            if rule.program.compute(known, meter) is True:
                budget.spent(meter)
                return
        except CostExceededError as err:
            why = f"'{err}': {_STOP}: {rule.shown}"
            found.append(field.invalid(_shown(path), self._type, why))
            raise _SpentError from err
        except EvaluationError as err:
            why = f"{err} evaluating rule: {rule.shown}"
            if str(err).startswith("no such overload"):
                why = f"'{err}': {_MISFIT}: {rule.shown}"
        budget.spent(meter)
        if budget.left < 0:
            found.append(field.invalid(_shown(path), self._type, _SPENT))
            raise _SpentError
        if why:
            found.append(field.invalid(_shown(path), self._type, why))
        else:
            found.append(self._broken_rule(rule, value, known, path, budget))

    def _broken_rule(
        self, rule: Rule, value: Any, known: dict[str, Any], path: Place, budget: Budget
    ) -> FieldError:
        text = _message(rule, known, budget) or rule.text
        where = _shown(path, rule.path)
        omitted = self._type in ("object", "array")
        shown = field.OMITTED if omitted else value
        if rule.reason == field.FORBIDDEN:
            return field.forbidden(where, text)
        if rule.reason == field.REQUIRED:
            return field.required(where, text)
        if rule.reason == field.DUPLICATE:
            return field.duplicate(where, shown)
        return field.invalid(where, shown, text)


def _shown(path: Place, below: str = "") -> str:
    return f"{path}{below}".removeprefix(".") or "<nil>"


def _message(rule: Rule, known: dict[str, Any], budget: Budget) -> str:
    """Return the message that a rule computes; empty without a good one."""
    if rule.message is None:
        return ""
    meter = budget.meter()
    try:
        text = rule.message.compute(known, meter)
    except EvaluationError:
        text = ""
    budget.spent(meter)
    text = text.strip() if isinstance(text, str) else ""
    return text if len(text.encode()) <= _LONGEST and "\n" not in text else ""


def _compiled(schema: Schema, *, root: bool) -> tuple[list[Rule], list[str]]:
    """Return the rules of a schema, and why others cannot be computed."""
    given = schema.get("x-kubernetes-validations") or ()
    if not given:
        return [], []
    of = type_of(schema, root=root) or DYN
    rules, broken = [], []
    for each in given:
        try:
            rules.append(compile_rule(each, of))
        except CompileError as err:
            broken.append(str(err))
    return rules, broken


def rules_of(schema: Schema, *, root: bool = False) -> Rules | None:
    """Return the rules of a schema; None if it has none."""
    made = Rules(schema, root=root)
    return None if made.empty else made
