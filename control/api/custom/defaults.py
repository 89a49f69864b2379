"""Check the defaults of a schema: they must be valid, and have known fields alone. Pure.

Source: pkg/apiserver/schema/defaulting/validation.go of k8s.io/apiextensions-apiserver.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from control.api import field
from control.api.custom import values
from control.api.custom.cost import Spending, TooCostlyError
from control.api.custom.place import ROOT, Place
from control.api.custom.rules import embedded_errors
from control.api.custom.schema import META_FIELDS, has_rules, node_of
from control.api.custom.validate import Validator
from control.api.field import FieldError

Schema = Mapping[str, Any]


def default_errors(schema: Schema, path: Place) -> Iterator[FieldError]:
    """Yield what is wrong with the defaults of a schema by the schema itself."""
    cost = Spending()
    try:
        for each, where in _with_defaults(schema, path, cost):
            yield from _errors(each, where, cost)
    except TooCostlyError as err:
        yield field.invalid(str(path), "", str(err))


def broken_defaults(schema: Schema, path: Place) -> Iterator[FieldError]:
    """Yield which rules the defaults break; the schema's rules must be valid."""
    from control.api.custom.validations.run import rules_of  # nothing of it without a rule

    cost = Spending()
    try:
        for each, where in _with_defaults(schema, path, cost):
            if has_rules(each) and (rules := rules_of(each)) is not None:
                made = values.completed(node_of(each), each["default"], cost)
                found = rules.errors(made, None, cost)
                yield from (_below(error, f"{where}.default") for error in found)
    except TooCostlyError as err:
        yield field.invalid(str(path), "", str(err))


def _with_defaults(schema: Schema, path: Place, cost: Spending) -> Iterator[tuple[Schema, Place]]:
    """Yield the parts of a schema that have a default."""
    if node_of(schema, root=True).completes:
        for name, below in (schema.get("properties") or {}).items():
            if name not in META_FIELDS:
                yield from _parts(below, path.at("properties").key(name), cost)


def _parts(schema: Schema, path: Place, cost: Spending) -> Iterator[tuple[Schema, Place]]:
    cost.spend()
    if schema.get("default") is not None:
        yield schema, path
    for name, below in (schema.get("properties") or {}).items():
        yield from _parts(below, path.at("properties").key(name), cost)
    for name in ("items", "additionalProperties"):
        if isinstance(below := schema.get(name), dict):
            yield from _parts(below, path.at(name), cost)


def _errors(schema: Schema, path: Place, cost: Spending) -> Iterator[FieldError]:
    node, given, unknown = node_of(schema), schema["default"], list[str]()
    values.pruned(node, given, path, unknown)
    if unknown:
        yield field.invalid(f"{path}.default", given, "must not have unknown fields")
        return
    made = values.embedded(node, values.completed(node, given, cost), path, unknown)
    wrong = list(embedded_errors(node, made, path.at("default")))
    found = [] if wrong else Validator(schema).errors(made, ROOT, cost)
    yield from wrong
    yield from (_below(each, f"{path}.default") for each in found)


def _below(error: FieldError, path: str) -> FieldError:
    """Return an error of a value as one of a whole that has this value at a path."""
    if error.path == "<nil>":
        return replace(error, path=path)
    return replace(error, path=path + ("" if error.path[0] == "[" else ".") + error.path)
