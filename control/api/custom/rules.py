"""The rules of custom resources: defaults and validation by their schema. Pure.

Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource (strategy.go, validator.go).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from control.api import field
from control.api.custom.cost import Spending
from control.api.custom.place import ROOT, Place
from control.api.custom.schema import Node, has_rules
from control.api.custom.validate import Validator
from control.api.custom.values import completed
from control.api.field import FieldError
from control.api.meta import Object, ObjectMeta
from control.api.rules import Rules
from control.api.validation import text
from control.api.validation.meta import validate_meta

if TYPE_CHECKING:
    from control.api.custom.kind import CustomType
    from control.api.custom.validations.run import Rules as CelRules

Wire = dict[str, Any]
_INT32 = 2**31
# Errors of a value that no expression can look at.
_BLINDING = (
    field.NOT_SUPPORTED,
    field.REQUIRED,
    field.TOO_LONG,
    field.TOO_MANY,
    field.WRONG_TYPE,
)
_BLIND = (
    "some validation rules were not checked because the object was invalid; correct the existing"
    " errors to complete validation"
)


class _Checks:
    """The checks of one version."""

    def __init__(self, kind: "CustomType") -> None:
        self._kind = kind
        self._validator = Validator(kind.schema)
        status = (kind.schema.get("properties") or {}).get("status")
        self._status = Validator(status) if status else None
        self._rules = _rules_of(kind)

    def default(self, wire: Wire) -> Wire:
        head = {name: wire[name] for name in ("apiVersion", "kind", "metadata")}
        body = {name: item for name, item in wire.items() if name not in head}
        made = completed(self._kind.node, body, Spending())
        return wire if made is body else head | made

    def _schema(self, item: Object) -> list[FieldError]:
        wire = wire_of(item)
        found = self._validator.errors(wire, ROOT, Spending())
        found += self._scale(wire, ("spec", "status"))
        return found + list(embedded_errors(self._kind.node, wire, ROOT))

    def validate_new(self, item: Object) -> list[FieldError]:
        found = self._schema(item) + list(repeated(self._kind.node, item.model_extra or {}, ROOT))
        return found + self._broken(item, None, found)

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        """Find what is wrong now and was not before (ratcheting, KEP-4008)."""
        if found := self._schema(new):
            before = set(map(str, self._schema(old)))
            found = [error for error in found if str(error) not in before]
        found += self._broken(new, old, found)
        repeats = list(repeated(self._kind.node, new.model_extra or {}, ROOT))
        if repeats and any(repeated(self._kind.node, old.model_extra or {}, ROOT)):
            return found
        return found + repeats

    def validate_status_update(self, new: Object, old: Object) -> list[FieldError]:
        return self._broken(new, old, [])

    def _broken(self, new: Object, old: Object | None, found: list[FieldError]) -> list[FieldError]:
        """Hold an object to the rules in CEL, unless it has errors that blind them."""
        if self._rules is None:
            return []
        if any(error.type in _BLINDING for error in found):
            return [field.invalid("<nil>", None, _BLIND)]
        before = None if old is None else wire_of(old)
        return self._rules.errors(wire_of(new), before, Spending())

    def validate_status(self, item: Object) -> list[FieldError]:
        wire = wire_of(item)
        found: list[FieldError] = []
        if self._status is not None and "status" in wire:
            found = self._status.errors(wire["status"], ROOT.at("status"), Spending())
        return found + self._scale(wire, ("status",))

    def _scale(self, wire: Wire, parts: tuple[str, ...]) -> list[FieldError]:
        """Check the numbers of replicas."""
        if (paths := self._kind.scale) is None:
            return []
        found = []
        for path in (getattr(paths, part) for part in parts):
            value = at(wire, path)
            if why := _not_whole(wire, path):
                found.append(field.invalid(path, 0, f"{path} accessor error: {why}"))
            elif value is not None and not 0 <= value < _INT32:
                found.append(field.invalid(path, value, "should be a non-negative integer"))
        return found


_GO = {str: "string", bool: "bool", int: "int64", float: "float64", type(None): "<nil>"}
_GO |= {list: "[]interface {}", dict: "map[string]interface {}"}


def _not_whole(wire: Wire, path: str) -> str:
    """Return why there is no whole number at a path, in Go's words; empty if there is, or none."""
    value: Any = wire
    for name in path.removeprefix(".").split("."):
        if not isinstance(value, dict):
            return f"{_go(value)}, expected map[string]interface{{}}"
        if name not in value:
            return ""
        value = value[name]
    return "" if type(value) is int else f"{_go(value)}, expected int64"


def _go(value: Any) -> str:
    if value is None:
        shown = "<nil>"
    elif isinstance(value, float) and value.is_integer():
        shown = str(int(value))
    else:
        shown = value if isinstance(value, str) else field.show(value)
    return f"{shown} is of the type {_GO[value.__class__]}"


def _rules_of(kind: "CustomType") -> "CelRules | None":
    if not has_rules(kind.schema):
        return None
    from control.api.custom.validations.run import rules_of  # nothing of it without a rule

    return rules_of(kind.schema, root=True)


def rules_of_type(kind: "CustomType") -> Rules:
    """Return the rules of a version's objects."""
    checks = _Checks(kind)
    return Rules(
        checks.default,
        validate_new=checks.validate_new,
        validate_update=checks.validate_update,
        validate_status=checks.validate_status,
        validate_status_update=checks.validate_status_update,
        generation=True,
    )


def wire_of(item: Object) -> Wire:
    """Return an object as its schema sees it."""
    head = {"apiVersion": item.api_version, "kind": item.kind}
    named = {"name": item.metadata.name, "generateName": item.metadata.generate_name}
    metadata = {name: value for name, value in named.items() if value}
    return head | {"metadata": metadata} | (item.model_extra or {})


def at(wire: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path such as ``.spec.replicas``; None if there is none."""
    value: Any = wire
    for name in path.removeprefix(".").split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def repeated(node: Node | None, value: Any, path: Place) -> Iterator[FieldError]:
    """Yield an error for each item that a set or a map of a list has twice."""
    if node is None:
        return
    if isinstance(value, dict):
        for name, item in value.items():
            below = path.at(name) if name in node.properties else path.key(name)
            yield from repeated(node.member(name), item, below)
    elif isinstance(value, list):
        yield from _repeated_items(node, value, path)
        for number, item in enumerate(value):
            yield from repeated(node.items, item, path.item(number))


def _repeated_items(node: Node, items: list[Any], path: Place) -> Iterator[FieldError]:
    if node.list_type not in ("map", "set"):
        return
    times: dict[bytes, int] = {}
    for number, item in enumerate(items):
        if node.list_type == "map":
            if item is not None and not isinstance(item, dict):
                why = "must be an object for an array of list-type map"
                yield field.invalid(str(path.item(number)), item, why)
                return
            item = {key: item[key] for key in node.list_keys if key in item} if item else {}
        name = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
        times[name] = times.get(name, 0) + 1
        if times[name] == 2:
            yield field.duplicate(str(path.item(number)), item)


def _head_errors(value: Wire, path: Place) -> Iterator[FieldError]:
    for name in ("apiVersion", "kind"):
        where, given = str(path.at(name)), value.get(name)
        if name not in value:
            yield field.required(where)
        elif not isinstance(given, str):
            yield field.invalid(where, given, "must be a string")
        elif not given:
            yield field.invalid(where, given, "must not be empty")
        elif name == "apiVersion" and given.count("/") > 1:
            yield field.invalid(where, given, f"unexpected GroupVersion string: {given}")
        elif name == "kind" and (wrong := text.dns_1035_label(given.lower())):
            why = "may have mixed case, but should otherwise match: " + ",".join(wrong)
            yield field.invalid(where, given, why)
    if isinstance(metadata := value.get("metadata"), dict):
        meta = ObjectMeta.model_validate({"name": "fakename"} | metadata)
        where = str(path)
        for error in validate_meta(meta, text.path_segment, namespaced=bool(meta.namespace)):
            yield replace(error, path=f"{where}.{error.path}" if where else error.path)


def embedded_errors(node: Node | None, value: Any, path: Place) -> Iterator[FieldError]:
    """Yield the errors of embedded resources: of their apiVersion, kind and metadata."""
    if node is None or not node.embeds:
        return
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from embedded_errors(node.items, item, path.item(number))
    elif isinstance(value, dict):
        if node.embedded:
            yield from _head_errors(value, path)
        for name, item in value.items():
            yield from embedded_errors(node.member(name), item, path.at(name))
