"""Compile the rules of a schema, and find what is wrong with them.

Source: ValidateCustomResourceDefinitionOpenAPISchema and pkg/apiserver/schema/cel/compilation.go of
k8s.io/apiextensions-apiserver.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from control.api import field
from control.api.cel.errors import CompileError, ProgramError
from control.api.cel.program import Environment, Program, WrongResultError, compile_source
from control.api.cel.types import BOOL, STRING, Type, optional_of
from control.api.custom.cost import Spending
from control.api.custom.place import Place
from control.api.custom.validations.costs import Total
from control.api.custom.validations.declared import MOST_BYTES, type_of
from control.api.field import FieldError

Schema = Mapping[str, Any]
_REASONS = (
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
)
_CHARACTERS = 4  # of an expression that cost as much as a check of a value
_STEP = re.compile(r"\.([^.\[\]]+)|\['((?:[^'\\]|\\.)*)'\]")
_ESCAPE = re.compile(r"\\(.)")
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule, and what is said of a value that breaks it.

    ``old`` is None, ``oldSelf`` or an optional ``oldSelf`` for a rule about changes.
    """

    program: Program
    message: Program | None
    text: str  # what is said, without a message of its own
    shown: str  # the rule in errors of its evaluation
    reason: str
    path: str
    uses_old: bool
    optional_old: bool


def compile_rule(rule: Schema, of: Type) -> Rule:
    """Compile one rule; raises CompileError."""
    optional = bool(rule.get("optionalOldSelf"))
    known = {"self": of, "oldSelf": optional_of(of) if optional else of}
    environment = Environment(known)
    program = compile_source(rule["rule"], environment, BOOL, estimates=True)
    given = rule.get("messageExpression")
    said = (rule.get("message") or "").strip()
    shown = said or rule["rule"].strip()
    return Rule(
        program,
        _message(given, environment) if given else None,
        said or f"failed rule: {shown}",
        shown,
        rule.get("reason") or "",
        _normalized(rule.get("fieldPath") or ""),
        "oldSelf" in program.names,
        optional,
    )


class MessageError(CompileError):
    """A message's expression that cannot be computed."""

    def __init__(self, why: str) -> None:
        ValueError.__init__(self, why)


def _message(source: str, environment: Environment) -> Program:
    try:
        return compile_source(source, environment, STRING, estimates=True)
    except WrongResultError as err:
        raise MessageError("messageExpression must evaluate to a string") from err
    except ProgramError as err:
        raise MessageError(f"messageExpression instantiation failed: {err}") from err
    except CompileError as err:
        raise MessageError(f"messageExpression compilation failed: {err}") from err


def _normalized(path: str) -> str:
    """Return a path below a value as errors show it."""
    steps = [match[1] or f"[{_unescaped(match[2])}]" for match in _STEP.finditer(path)]
    return "".join(each if each.startswith("[") else f".{each}" for each in steps)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: _PLAIN.get(match[1], match[1]), text)


def rule_errors(schema: Schema, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the rules of a valid schema; raises TooCostlyError."""
    total = Total()
    path = Place(None, where)
    yield from _errors(schema, path, Spending(), _Above(1), total, root=True)
    yield from total.errors(path)


class _Above(NamedTuple):
    """Where a schema is: how many such values an object has (None: nobody knows).

    ``apart`` is the list whose old items cannot be told, if there is one above.
    """

    times: int | None
    apart: Place | None = None

    def below(self, schema: Schema, most: str, apart: Place | None = None) -> "_Above":
        """Return the same for the items, or the members, of a list or a map."""
        given = schema.get(most)
        times = None if given is None or self.times is None else self.times * max(0, given)
        return _Above(times, self.apart or apart)


def _errors(
    schema: Schema,
    path: Place,
    cost: Spending,
    above: _Above,
    total: Total,
    *,
    root: bool = False,
) -> Iterator[FieldError]:
    cost.spend()
    if rules := schema.get("x-kubernetes-validations"):
        of = type_of(schema, root=root)
        if of is None:
            yield field.internal(str(path.at("x-kubernetes-validations")), _UNTYPED)
        for number, rule in enumerate(rules):
            cost.spend(sum(len(rule.get(name) or "") for name in _TEXTS) // _CHARACTERS)
            here = path.at("x-kubernetes-validations").item(number)
            yield from _rule_errors(rule, of, here, above, total)
    for name, below in (schema.get("properties") or {}).items():
        yield from _errors(below, path.at("properties").key(name), cost, above, total)
    more, items = schema.get("additionalProperties"), schema.get("items")
    if isinstance(more, dict):
        inside = above.below(schema, "maxProperties")
        yield from _errors(more, path.at("additionalProperties"), cost, inside, total)
    if isinstance(items, dict):
        known = schema.get("x-kubernetes-list-type") == "map"
        inside = above.below(schema, "maxItems", None if known else path)
        yield from _errors(items, path.at("items"), cost, inside, total)
    for number, each in enumerate(schema.get("allOf") or ()):
        yield from _errors(each, path.at("allOf").item(number), cost, above, total)


_TEXTS = ("rule", "messageExpression")
_UNTYPED = (
    "internal error: failed to construct type information for x-kubernetes-validations rules:"
    " unable to convert structural schema to CEL declarations"
)


def _rule_errors(
    rule: Schema, of: Type | None, path: Place, above: _Above, total: Total
) -> Iterator[FieldError]:
    if of is None:
        return
    made, wrong = _made(rule, of, path)
    if made is None:
        yield from wrong
        return
    yield from total.add(made.program.most * _count(above, of), f"{path}.rule", "rule cost")
    if made.message is not None:
        most, where = made.message.most, f"{path}.messageExpression"
        yield from total.add(most, where, "messageExpression cost")
    if made.uses_old and (apart := above.apart) is not None:
        why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {apart}"
        yield field.invalid(f"{path}.rule", rule["rule"], why)
    if not made.uses_old:
        yield from _unused_old(rule, path)


def _made(rule: Schema, of: Type, path: Place) -> tuple[Rule | None, list[FieldError]]:
    """Return a compiled rule, or what is wrong with it."""
    try:
        return compile_rule(rule, of), []
    except MessageError as err:
        return None, [field.invalid(f"{path}.messageExpression", _shown(rule), str(err))]
    except ProgramError as err:
        why = f"program instantiation failed: {err}"
        return None, [field.invalid(f"{path}.rule", _shown(rule), why)]
    except WrongResultError:
        why = "cel expression must evaluate to a bool"
    except CompileError as err:
        why = f"compilation failed: {err}"
    return None, [field.invalid(f"{path}.rule", _shown(rule), why), *_unused_old(rule, path)]


def _unused_old(rule: Schema, path: Place) -> Iterator[FieldError]:
    if rule.get("optionalOldSelf") is not None:
        why = "may not be set if oldSelf is not used in rule"
        yield field.invalid(f"{path}.optionalOldSelf", rule["optionalOldSelf"], why)


def _shown(rule: Schema) -> dict[str, Any]:
    """Return a rule as Go shows it: with the names of its own type."""
    texts = ("rule", "message", "messageExpression", "reason", "fieldPath", "optionalOldSelf")
    empty = {"reason": None, "optionalOldSelf": None}
    return {name[0].upper() + name[1:]: rule.get(name, empty.get(name, "")) for name in texts}


def _count(above: _Above, of: Type) -> int:
    """Return how many such values an object may have, at most as many as fit into a request."""
    return MOST_BYTES // (of.least + 1) if above.times is None else above.times


def form_errors(rules: Sequence[Schema], schema: Schema, path: Place) -> Iterator[FieldError]:
    """Yield what is wrong with rules besides their expressions."""
    for number, rule in enumerate(rules):
        yield from _form_errors(rule, schema, path.at("x-kubernetes-validations").item(number))


def _form_errors(rule: Schema, schema: Schema, path: Place) -> Iterator[FieldError]:
    text, said = rule.get("rule") or "", rule.get("message") or ""
    if not text.strip():
        yield field.required(f"{path}.rule", "rule is not specified")
    elif said and not said.strip():
        yield field.invalid(f"{path}.message", said, "must be non-empty if specified")
    elif _has_lines(said.strip()):
        yield field.invalid(f"{path}.message", said, "must not contain line breaks")
    elif _has_lines(text.strip()) and not said.strip():
        why = "message must be specified if rule contains line breaks"
        yield field.required(f"{path}.message", why)
    expression = rule.get("messageExpression") or ""
    if expression and not expression.strip():
        why = "messageExpression must be non-empty if specified"
        yield field.required(f"{path}.messageExpression", why)
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        yield field.not_supported(f"{path}.reason", reason, _REASONS)
    yield from _path_errors(rule.get("fieldPath") or "", schema, path)


def _path_errors(given: str, schema: Schema, path: Place) -> Iterator[FieldError]:
    where = f"{path}.fieldPath"
    if given and not given.strip():
        yield field.invalid(where, given, "must be non-empty if specified")
    if _has_lines(given):
        yield field.invalid(where, given, "must not contain line breaks")
    if given and not _is_path(given, schema):
        yield field.invalid(where, given, "must be a valid path")


def _has_lines(text: str) -> bool:
    return "\n" in text or "\r" in text


def _is_path(given: str, schema: Schema) -> bool:
    """Return True if a path leads to a field of a schema."""
    at = 0
    while at < len(given):
        match = _STEP.match(given, at)
        if match is None:
            return False
        at, name = match.end(), match[1] or _unescaped(match[2])
        below = (schema.get("properties") or {}).get(name)
        more = schema.get("additionalProperties")
        if below is None and isinstance(more, dict) and not schema.get("properties"):
            below = more
        if below is None:
            return False
        schema = below
    return True
