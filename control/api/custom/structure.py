"""Check that schemas are structural. Pure, and linear in the schema.

Source: pkg/apiserver/schema/{validation,complete}.go and
ValidateCustomResourceDefinitionOpenAPISchema of k8s.io/apiextensions-apiserver.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from control.api import field
from control.api.custom.defaults import broken_defaults, default_errors
from control.api.custom.paths import Path, PathError
from control.api.custom.patterns import PatternError, compiled
from control.api.custom.place import Place
from control.api.custom.schema import has_rules
from control.api.field import FieldError

Schema = Mapping[str, Any]
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_JUNCTORS = ("anyOf", "allOf", "oneOf")
_REFUSED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
# What a schema in a combination may not have, and what its errors say.
_FORBIDDEN = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
# The root of a schema whose status is written apart: its parts must not speak of each other.
_ROOT_WITH_STATUS = (
    *("Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum"),
    *("ExclusiveMinimum", "MaxLength", "MinLength", "Pattern", "MaxItems", "MinItems"),
    *("UniqueItems", "MultipleOf", "Required", "Items", "Properties", "ExternalDocs", "Example"),
    *("XPreserveUnknownFields", "XValidations"),
)
_ROOT_NAMES = {name[0].lower() + name[1:] for name in _ROOT_WITH_STATUS[:-2]}
_ROOT_NAMES |= {"x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations"}
_MOST_SELECTABLE = 8
_MOST_ERRORS = 100
_EMPTY_TYPE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}


def schema_errors(schema: Schema, where: str, *, has_status: bool) -> list[FieldError]:
    """Return the errors of the schema of a version, at most a hundred."""
    path = Place(None, where)
    found = list(_root(schema, path)) if has_status else []
    if schema.get("nullable"):
        found.append(field.forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    found += sorted(islice(_structural(schema, path, "root"), _MOST_ERRORS), key=str)
    if not found:
        found += islice(default_errors(schema, path), _MOST_ERRORS)
    if not found and has_rules(schema):
        from control.api.custom.validations.compiled import rule_errors  # if there are any

        found += islice(rule_errors(schema, where), _MOST_ERRORS)
        if not found:
            found += islice(broken_defaults(schema, path), _MOST_ERRORS)
    return found


def _root(schema: Schema, path: Place) -> Iterator[FieldError]:
    if schema.get("type") != "object":
        why = (
            'only "object" is allowed as the type at the root of the schema if the status'
            " subresource is enabled"
        )
        yield field.invalid(f"{path}.type", schema.get("type", ""), why)
    elif strange := [name for name in schema if name not in _ROOT_NAMES]:
        listed = " ".join(_ROOT_WITH_STATUS)
        why = (
            f"only [{listed}] fields are allowed at the root of the schema if the status"
            " subresource is enabled"
        )
        yield field.invalid(str(path), strange[0], why)


def _structural(schema: Schema, path: Place, level: str) -> Iterator[FieldError]:
    """Yield the errors of a schema that says what there is, and of those below it."""
    yield from _plain(schema, path)
    yield from _typed(schema, path, level)
    yield from _lists(schema, path)
    yield from _combinations(schema, path)
    if level == "root":
        yield from _incomplete(schema, schema, path, path)
    yield from _metadata(schema, path, level)
    for name, below in (schema.get("properties") or {}).items():
        yield from _structural(below, path.at("properties").key(name), "field")
    items, more = schema.get("items"), schema.get("additionalProperties")
    if isinstance(items, dict):
        yield from _structural(items, path.at("items"), "item")
    if isinstance(more, dict):
        yield from _structural(more, path.at("additionalProperties"), "field")
    if more is not None and level == "root":
        yield field.forbidden(f"{path}.additionalProperties", "must not be used at the root")


def _plain(schema: Schema, path: Place) -> Iterator[FieldError]:
    """Yield the errors of what no schema may have."""
    for name in _REFUSED:
        if schema.get(name) is not None:
            yield field.forbidden(f"{path}.{name}", f"{name} is not supported")
    kind = schema.get("type", "")
    if kind and kind not in _TYPES:
        yield field.not_supported(f"{path}.type", kind, _TYPES)
    if kind == "null":
        why = "type cannot be set to null, use nullable as an alternative"
        yield field.forbidden(f"{path}.type", why)
    if isinstance(schema.get("items"), list):
        why = "items must be a schema object and not an array"
        yield field.forbidden(f"{path}.items", why)
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield field.forbidden(f"{path}.uniqueItems", why)
    more = schema.get("additionalProperties")
    if schema.get("properties") and more is not None and more is not True:
        why = "additionalProperties and properties are mutual exclusive"
        yield field.forbidden(f"{path}.additionalProperties", why)
    yield from _pattern(schema, path)
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        where = f"{path}.x-kubernetes-preserve-unknown-fields"
        yield field.invalid(where, False, "must be true or undefined")
    if rules := schema.get("x-kubernetes-validations"):
        from control.api.custom.validations.compiled import form_errors  # if there are any

        yield from form_errors(rules, schema, path)


def _pattern(schema: Schema, path: Place) -> Iterator[FieldError]:
    try:
        compiled(schema.get("pattern", ""))
    except PatternError as err:
        why = f"must be a valid regular expression, but isn't: {err}"
        yield field.invalid(f"{path}.pattern", schema["pattern"], why)


def _typed(schema: Schema, path: Place, level: str) -> Iterator[FieldError]:
    kind, embedded = schema.get("type", ""), schema.get("x-kubernetes-embedded-resource")
    preserves = schema.get("x-kubernetes-preserve-unknown-fields")
    either = schema.get("x-kubernetes-int-or-string")
    if kind == "array" and schema.get("items") is None:
        yield field.required(f"{path}.items", "must be specified")
    if embedded and kind != "object":
        yield _must_be(path, kind, "object", "if x-kubernetes-embedded-resource is true")
    elif not kind and not either and not preserves:
        yield field.required(f"{path}.type", _EMPTY_TYPE[level])
    if level == "root" and kind and kind != "object":
        yield field.invalid(f"{path}.type", kind, "must be object at the root")
    if either and preserves:
        where = f"{path}.x-kubernetes-preserve-unknown-fields"
        yield field.invalid(where, True, "must be false if x-kubernetes-int-or-string is true")
    if either and embedded:
        where = f"{path}.x-kubernetes-embedded-resource"
        yield field.invalid(where, True, "must be false if x-kubernetes-int-or-string is true")
    if embedded and not preserves and not schema.get("properties"):
        why = "must not be empty if x-kubernetes-embedded-resource is true without"
        why += " x-kubernetes-preserve-unknown-fields"
        yield field.required(f"{path}.properties", why)
    if embedded and schema.get("additionalProperties") is not None:
        why = "must not be used if x-kubernetes-embedded-resource is set"
        yield field.forbidden(f"{path}.additionalProperties", why)


def _must_be(path: Place, kind: str, wanted: str, why: str) -> FieldError:
    if not kind:
        return field.required(f"{path}.type", f"must be {wanted} {why}")
    return field.invalid(f"{path}.type", kind, f"must be {wanted} {why}")


def _lists(schema: Schema, path: Place) -> Iterator[FieldError]:
    """Yield the errors of what a schema says about merging."""
    kind = schema.get("type", "")
    sort, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys")
    merge = schema.get("x-kubernetes-map-type")
    if merge is not None and kind != "object":
        yield _must_be(path, kind, "object", "if x-kubernetes-map-type is specified")
    if merge not in (None, "atomic", "granular"):
        yield field.not_supported(f"{path}.x-kubernetes-map-type", merge, ("atomic", "granular"))
    if sort is not None and kind != "array":
        yield _must_be(path, kind, "array", "if x-kubernetes-list-type is specified")
    where = path.at("x-kubernetes-list-type")
    if sort not in (None, "atomic", "set", "map"):
        yield field.not_supported(str(where), sort, ("atomic", "set", "map"))
    if keys and sort != "map":
        why = "must be map if x-kubernetes-list-map-keys is non-empty"
        yield field.invalid(str(where), sort, why) if sort else field.required(str(where), why)
    items = schema.get("items")
    if sort in ("map", "set") and isinstance(items, dict):
        yield from _list_items(items, sort, path.at("items"))
        if sort == "map":
            yield from _map_keys(items, keys or (), path)
    elif sort == "map":
        why = "must have a schema if x-kubernetes-list-type is map"
        yield field.required(f"{path}.items", why)


def _list_items(items: Schema, sort: str, path: Place) -> Iterator[FieldError]:
    if items.get("nullable"):
        why = f"cannot be nullable when x-kubernetes-list-type is {sort}"
        yield field.forbidden(f"{path}.nullable", why)
    if sort != "set":
        return
    why = "must be atomic as item of a list with x-kubernetes-list-type=set"
    kind, merge = items.get("type"), items.get("x-kubernetes-map-type")
    if kind == "array" and items.get("x-kubernetes-list-type") not in (None, "atomic"):
        where = f"{path}.x-kubernetes-list-type"
        yield field.invalid(where, items["x-kubernetes-list-type"], why)
    if kind == "object" and merge != "atomic":
        yield field.invalid(f"{path}.x-kubernetes-map-type", merge, why)


def _map_keys(items: Schema, keys: Sequence[str], path: Place) -> Iterator[FieldError]:
    where = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        yield field.required(where, "must not be empty if x-kubernetes-list-type is map")
    if items.get("type") != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        yield field.invalid(f"{path}.items.type", items.get("type", ""), why)
        return
    if len(set(keys)) < len(keys):
        yield field.invalid(where, list(keys), "must not contain duplicate entries")
    properties, required = items.get("properties") or {}, items.get("required") or ()
    for key in dict.fromkeys(keys):
        here = f"{path}.items.properties[{key}]"
        if (known := properties.get(key)) is None:
            why = "entries must all be names of item properties"
            yield field.invalid(where, list(keys), why)
            continue
        if known.get("type") in ("array", "object"):
            why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield field.invalid(f"{here}.type", items["type"], why)
        listed = "this property is in x-kubernetes-list-map-keys, so it"
        if key not in required and known.get("default") is None:
            why = f"{listed} must have a default or be a required property"
            yield field.required(f"{here}.default", why)
        if known.get("nullable"):
            yield field.forbidden(f"{here}.nullable", f"{listed} cannot be nullable")


def _metadata(schema: Schema, path: Place, level: str) -> Iterator[FieldError]:
    """Yield the errors of what a resource, the root or an embedded one, says of its head."""
    if level != "root" and not schema.get("x-kubernetes-embedded-resource"):
        return
    properties = schema.get("properties") or {}
    for name in ("kind", "apiVersion"):
        if name in properties and properties[name].get("type") != "string":
            where = f"{path}.properties[{name}].type"
            yield field.invalid(where, properties[name].get("type", ""), "must be string")
    if (metadata := properties.get("metadata")) is None:
        return
    where = f"{path}.properties[metadata]"
    if metadata.get("type") != "object":
        yield field.invalid(f"{where}.type", metadata.get("type", ""), "must be object")
    if level != "root":
        return
    named = set(metadata.get("properties") or ()) - {"name", "generateName"}
    if named or metadata.keys() - {"type", "properties", "description", "default"}:
        why = (
            "must not specify anything other than name and generateName, but metadata is"
            " implicitly specified"
        )
        yield field.forbidden(where, why)


def _combinations(part: Schema, where: Place) -> Iterator[FieldError]:
    """Yield the errors of the alternatives of the schema at ``where``."""
    for each, here in _alternatives(part, where):
        yield from _nested(each, here)


def _alternatives(part: Schema, where: Place) -> Iterator[tuple[Schema, Place]]:
    """Yield the schemas that a schema combines, without what says "integer or string"."""
    for name in _JUNCTORS:
        given = part.get(name) or ()
        if name == "anyOf" and given == _INT_OR_STRING:
            continue
        for at, each in enumerate(given):
            both = name == "allOf" and not at and each.get("anyOf") == _INT_OR_STRING
            inner = {key: value for key, value in each.items() if not (both and key == "anyOf")}
            yield inner, where.at(name).item(at)
    if part.get("not") is not None:
        yield part["not"], where.at("not")


def _nested(part: Schema, where: Place) -> Iterator[FieldError]:
    for name, why in _FORBIDDEN.items():
        if part.get(name) not in (None, "", False, [], ()):
            yield field.forbidden(f"{where}.{name}", why)
    yield from _plain(part, where)
    yield from _combinations(part, where)
    if isinstance(part.get("items"), dict):
        yield from _nested(part["items"], where.at("items"))
    for name, each in (part.get("properties") or {}).items():
        here = where.at("properties").key(name)
        if name == "metadata":
            yield field.forbidden(str(here), "must not be specified in a nested context")
        yield from _nested(each, here)


def _incomplete(part: Schema, structure: Schema, path: Place, where: Place) -> Iterator[FieldError]:
    """Yield what alternatives name and ``structure``, at ``path``, does not have.

    Upstream looks at those of the root alone.
    """
    for each, here in _alternatives(part, where):
        yield from _unknown(each, structure, path, here)


def _unknown(
    part: Schema, structure: Schema | None, path: Place, where: Place
) -> Iterator[FieldError]:
    if not isinstance(structure, dict):
        yield field.required(str(path), f"because it is defined in {where}")
        return
    yield from _incomplete(part, structure, path, where)
    if isinstance(part.get("items"), dict):
        below = structure.get("items")
        yield from _unknown(part["items"], below, path.at("items"), where.at("items"))
    properties = structure.get("properties") or {}
    for name, each in (part.get("properties") or {}).items():
        here, there = where.at("properties").key(name), path.at("properties").key(name)
        yield from _unknown(each, properties.get(name), there, here)


def selectable_errors(
    fields: Sequence[Mapping[str, str]], schema: Schema, path: str
) -> list[FieldError]:
    """Return the errors of the fields that selectors may name."""
    found, seen = [], set()
    for at, each in enumerate(fields):
        where, given = f"{path}[{at}].jsonPath", each["jsonPath"]
        if not given:
            found.append(field.required(where))
            continue
        try:
            known = _field_at(schema, given)
        except (PathError, KeyError) as err:
            found.append(field.invalid(where, given, f"is an invalid path: {err.args[0]}"))
            continue
        if given.startswith(".metadata"):
            found.append(field.invalid(where, given, "must not point to fields in metadata"))
        if known.get("type") not in ("string", "boolean", "integer"):
            why = (
                "must point to a field of type string, boolean or integer. Enum string fields and"
                " strings with formats are allowed."
            )
            found.append(field.invalid(where, given, why))
        if given in seen:
            found.append(field.duplicate(where, given))
        seen.add(given)
    if len(seen) > _MOST_SELECTABLE:
        found.append(field.too_many(path, len(seen), _MOST_SELECTABLE))
    return found


def _field_at(schema: Schema, path: str) -> Schema:
    """Return the schema of a field; raises PathError, KeyError."""
    Path(path)
    if not path.startswith("."):
        raise PathError("it must begin with a dot")
    for name in path[1:].split("."):
        properties = schema.get("properties") or {}
        if name not in properties:
            raise KeyError(f'does not refer to a valid field: "{name}"')
        schema = properties[name]
    return schema
