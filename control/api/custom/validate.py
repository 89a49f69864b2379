"""Check a value against a schema, with the texts of upstream's validator. Pure.

Each value is looked at once for each schema that applies to it, and ``cost.py`` bounds the sum. A
pattern costs by its length and that of the text.

Source: k8s.io/kube-openapi/pkg/validation/{validate,errors} and kubeOpenAPIResultToFieldErrors of
k8s.io/apiextensions-apiserver/pkg/apiserver/validation.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from control.api import field
from control.api.custom import formats
from control.api.custom.cost import Spending
from control.api.custom.patterns import PatternError, compiled
from control.api.custom.place import Place
from control.api.field import FieldError

Schema = Mapping[str, Any]
# Bytes of text times instructions of a pattern that cost as much as a check.
_PATTERN = 200
# Errors that are collected; a Status names a hundred.
_MOST_ERRORS = 100
_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object"}
_NAMES |= {list: "array", type(None): "null"}
_RANGES = {"int32": 2**31, "int64": 2**63}


class Validator:
    """Checks values against one schema; those of its parts are made at their first use."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.types = _types(schema)
        self._ready = False

    def _prepare(self) -> None:
        """Make the validators of the parts of the schema; their own parts follow at their use."""
        schema = self._schema
        items, more = schema.get("items"), schema.get("additionalProperties")
        self._properties = {
            name: Validator(each) for name, each in (schema.get("properties") or {}).items()
        }
        self._additional = Validator(more) if isinstance(more, dict) else more
        self._items = Validator(items) if isinstance(items, dict) else None
        self._junctors = {
            name: [Validator(each) for each in schema[name]]
            for name in ("anyOf", "oneOf", "allOf")
            if schema.get(name)
        }
        if schema.get("not") is not None:
            self._junctors["not"] = [Validator(schema["not"])]
        of_text = self.types in ((), ("string",))
        self._format = formats.known(schema.get("format", "")) if of_text else ""
        allowed = schema.get("enum")
        self._allowed = None if allowed is None else frozenset(map(_encoded, allowed))
        self._ready = True

    def check(self, value: Any, path: Place, found: list[FieldError], cost: Spending) -> None:
        """Add the errors of a value to ``found``; raises TooCostlyError."""
        cost.spend()
        if len(found) >= _MOST_ERRORS:
            return
        if not self._ready:
            self._prepare()
        self._type(value, path, found)
        if value is not None:
            if self._junctors:
                self._combined(value, path, found, cost)
            if plain := _CHECKS.get(value.__class__):
                plain(self, value, path, found, cost)
        if self._allowed is not None and _encoded(value) not in self._allowed:
            found.append(_not_allowed(path, value, self._schema["enum"]))
        if value.__class__ is dict:
            self._object(value, path, found, cost)

    def errors(self, value: Any, path: Place, cost: Spending) -> list[FieldError]:
        """Return the errors of a value; raises TooCostlyError."""
        found: list[FieldError] = []
        self.check(value, path, found, cost)
        return found

    def _type(self, value: Any, path: Place, found: list[FieldError]) -> None:
        if not self.types:
            return
        name = _NAMES[value.__class__]
        if name in self.types or (value is None and self._schema.get("nullable")):
            return
        if name == "integer" and "number" in self.types:
            return
        if name == "number" and "integer" in self.types and value.is_integer():
            return
        wanted = ",".join(self.types)
        found.append(_error(field.WRONG_TYPE, path, name, f'must be of type {wanted}: "{name}"'))

    def _combined(self, value: Any, path: Place, found: list[FieldError], cost: Spending) -> None:
        for name, validators in self._junctors.items():
            results = []
            for each in validators:
                before = cost.left
                errors = each.errors(value, path, cost)
                results.append((before - cost.left, errors))
                if name == "anyOf" and not errors:
                    break
            found += _judged(name, path, results)

    def _text(self, value: str, path: Place, found: list[FieldError], cost: Spending) -> None:
        schema = self._schema
        most, least = schema.get("maxLength"), schema.get("minLength")
        if most is not None and len(value) > most:
            found.append(field.too_long(str(path), most))
        elif least is not None and len(value) < least:
            found.append(_invalid(path, value, f"should be at least {least} chars long"))
        elif schema.get("pattern") and not self._matches(value, cost):
            found.append(_invalid(path, value, f"should match '{schema['pattern']}'"))
        if self._format and not formats.fits(self._format, value):
            why = f"must be of type {schema['format']}: {field.show(value)}"
            found.append(_error(field.WRONG_TYPE, path, value, why))

    def _matches(self, value: str, cost: Spending) -> bool:
        try:
            pattern = compiled(self._schema["pattern"])
        except PatternError:
            return False  # a definition of an older server, which nothing has checked
        cost.spend(len(value) * pattern.programsize // _PATTERN)
        return pattern.search(value) is not None

    def _number(self, value: float, path: Place, found: list[FieldError], _: Spending) -> None:
        schema = self._schema
        most, least = schema.get("maximum"), schema.get("minimum")
        if most is not None:
            if schema.get("exclusiveMaximum"):
                if value >= most:
                    found.append(_invalid(path, value, f"should be less than {most}"))
            elif value > most:
                found.append(_invalid(path, value, f"should be less than or equal to {most}"))
        if least is not None:
            if schema.get("exclusiveMinimum"):
                if value <= least:
                    found.append(_invalid(path, value, f"should be greater than {least}"))
            elif value < least:
                found.append(_invalid(path, value, f"should be greater than or equal to {least}"))
        self._steps(value, path, found)

    def _steps(self, value: float, path: Place, found: list[FieldError]) -> None:
        """Check multipleOf, and the range of an integer's format."""
        factor, kind = self._schema.get("multipleOf"), self._schema.get("format", "")
        if factor and not _is_multiple(value, factor):
            found.append(_invalid(path, value, f"should be a multiple of {factor}"))
        limit = _RANGES.get(kind) if self.types == ("integer",) else None
        if limit is not None and not -limit <= value < limit:
            why = f"Checked value must be of type integer with format {kind} in {path}"
            found.append(_whole(why))

    def _list(self, value: list[Any], path: Place, found: list[FieldError], cost: Spending) -> None:
        if items := self._items:
            for at, item in enumerate(value):
                items.check(item, path.item(at), found, cost)
        most, least = self._schema.get("maxItems"), self._schema.get("minItems")
        if least is not None and len(value) < least:
            found.append(_invalid(path, len(value), f"should have at least {least} items"))
        if most is not None and len(value) > most:
            found.append(field.too_many(str(path), len(value), most))

    def _object(
        self, value: dict[str, Any], path: Place, found: list[FieldError], cost: Spending
    ) -> None:
        self._sizes(value, path, found)
        properties, additional = self._properties, self._additional
        for name, item in value.items():
            known = properties.get(name)
            if known is None and isinstance(additional, Validator):
                known = additional
            if known is not None:
                known.check(item, path.at(name), found, cost)
            elif additional is False:
                why = f"{path.at(name)} in body is a forbidden property"
                found.append(FieldError(field.INVALID, str(path), why, ""))
        for name in self._schema.get("required") or ():
            if name not in value:
                found.append(field.required(str(path.at(name))))

    def _sizes(self, value: dict[str, Any], path: Place, found: list[FieldError]) -> None:
        most, least = self._schema.get("maxProperties"), self._schema.get("minProperties")
        if least is not None and len(value) < least:
            found.append(_invalid(path, len(value), f"should have at least {least} properties"))
        if most is not None and len(value) > most:
            found.append(field.too_many(str(path), len(value), most))


_Check = Callable[[Validator, Any, Place, list[FieldError], Spending], None]
_CHECKS: dict[type, _Check] = {
    str: Validator._text,
    int: Validator._number,
    float: Validator._number,
    list: Validator._list,
}


def _types(schema: Schema) -> tuple[str, ...]:
    if schema.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    return (schema["type"],) if schema.get("type") else ()


def _encoded(value: Any) -> bytes:
    if value.__class__ is float and value.is_integer():
        value = int(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _is_multiple(value: float, factor: float) -> bool:
    if isinstance(value, int) and float(factor).is_integer():
        return value % int(factor) == 0
    quotient = 1 / factor * value if factor < 1 else value / factor
    return abs(quotient - round(quotient)) < 1e-9


def _error(kind: str, path: Place, value: Any, why: str) -> FieldError:
    return FieldError(kind, str(path) or "<nil>", f"{path} in body {why}", value)


def _invalid(path: Place, value: Any, why: str) -> FieldError:
    return _error(field.INVALID, path, value, why)


def _not_allowed(path: Place, value: Any, known: list[Any]) -> FieldError:
    texts = (each if isinstance(each, str) else orjson.dumps(each).decode() for each in known)
    listed = ", ".join(field.show(each) for each in texts)
    return FieldError(field.NOT_SUPPORTED, str(path), f"supported values: {listed}", value)


def _judged(
    name: str, path: Place, results: list[tuple[int, list[FieldError]]]
) -> list[FieldError]:
    """Return the errors of a combination; of the alternatives, those that got furthest."""
    good = sum(1 for _, errors in results if not errors)
    shown = field.show(str(path))
    if name == "allOf":
        if good == len(results):
            return []
        every = [error for _, errors in results for error in errors]
        tail = "" if good else ". None validated"
        return [*every, _whole(f"{shown} must validate all the schemas (allOf){tail}")]
    if name == "not":
        return [_whole(f"{shown} must not validate the schema (not)")] if good else []
    if (name == "anyOf" and good) or good == 1:
        return []
    best = [] if good else max(results, key=lambda result: result[0])[1]
    if name == "anyOf":
        return [_whole(f"{shown} must validate at least one schema (anyOf)"), *best]
    why = f"Found {good} valid alternatives" if good else "Found none valid"
    return [_whole(f"{shown} must validate one and only one schema (oneOf). {why}"), *best]


def _whole(why: str) -> FieldError:
    return FieldError(field.INVALID, "<nil>", why, "")
