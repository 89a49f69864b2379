"""Write upstream's types as JSON schemas, with Kubernetes' extensions. Pure.

Source: https://github.com/kubernetes/kube-openapi, and the tables of ``control.api.definitions``.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from msgspec import Struct

from control.api.definitions.descriptions import TypeDescription
from control.api.definitions.table import (
    SCALARS,
    FieldDefinition,
    TypeDefinition,
    definition,
    full_name,
)

Schema = dict[str, Any]
META = "meta.v1"
PATCH = f"{META}.Patch"
# The types of the letters that have no schema of their own.
_PLAIN: Mapping[str, Schema] = {
    "s": {"type": "string"},
    "x": {"type": "string", "format": "byte"},
    "i": {"type": "integer", "format": "int32"},
    "l": {"type": "integer", "format": "int64"},
    "b": {"type": "boolean"},
    "d": {"type": "number", "format": "double"},
}
_TIME = {"type": "string", "format": "date-time"}
_LIST_TEXTS = {
    "apiVersion": "The version of the list's schema.",
    "kind": "The kind of the list.",
    "metadata": "The version of the list, and the token of its next page.",
}


class Dialect(Struct, frozen=True):
    """The differences between OpenAPI v2 and v3."""

    definitions: str  # the prefix of references
    scalars: dict[str, Schema]  # the schemas of the other letters
    wraps: bool  # a $ref allows no siblings: wrap it in allOf

    def refer(self, name: str) -> Schema:
        """Return a reference to a schema, by the short name of its type or by a letter."""
        whole = name.removeprefix("=")  # the mark of custom types
        return {"$ref": self.definitions + (whole if whole != name else full_name(name))}

    def beside(self, schema: Schema, more: Schema) -> Schema:
        """Return a schema with more members."""
        if self.wraps and more and "$ref" in schema:
            return {"allOf": [schema], **more}
        return schema | more


def _scalars(int_or_string: Schema, quantity: Schema) -> dict[str, Schema]:
    return {
        "I": int_or_string
        | {
            "format": "int-or-string",
            "description": "A number or text, such as a port or a percentage.",
        },
        "Q": quantity | {"description": "An amount with a unit: 500m, 1.5, 128Mi."},
        "T": _TIME | {"description": "A time (RFC 3339, UTC) in seconds."},
        "U": _TIME | {"description": "A time (RFC 3339, UTC) in microseconds."},
    }


V2 = Dialect("#/definitions/", _scalars({"type": "string"}, {"type": "string"}), False)
V3 = Dialect(
    "#/components/schemas/",
    _scalars(
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        {"oneOf": [{"type": "string"}, {"type": "number"}]},
    ),
    True,
)


def below(roots: Iterable[str]) -> Iterator[str]:
    """Yield the types and all types that their fields use, each once; no scalars."""
    seen = set(SCALARS)
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            yield name
            waiting += used_by(name)


@cache
def used_by(name: str) -> tuple[str, ...]:
    """Return the types of a type's fields."""
    return tuple({field.type for field in definition(name).fields.values()})


def schema_of(name: str, said: TypeDescription, dialect: Dialect) -> Schema:
    """Return the schema of one type, with references to the types in it."""
    known = definition(name)
    found: Schema = {"description": said.text} if said.text else {}
    if not known.any:
        found["type"] = "object"
    if known.fields:
        found["properties"] = {
            field: _field(known.fields[field], said.fields[field], dialect)
            for field in sorted(known.fields)
        }
    if required := sorted(field for field, of in known.fields.items() if of.required):
        found["required"] = required
    return found | _type_extensions(known)


def _type_extensions(known: TypeDefinition) -> Schema:
    found: Schema = {}
    if known.kind:
        found["x-kubernetes-group-version-kind"] = [group_version_kind(*known.kind)]
    if known.atomic:
        found["x-kubernetes-map-type"] = "atomic"
    if known.unions:
        found["x-kubernetes-unions"] = [
            ({"discriminator": discriminator} if discriminator else {})
            | {"fields-to-discriminateBy": dict(fields)}
            for discriminator, fields in known.unions
        ]
    return found


def list_schema(item: str, dialect: Dialect) -> Schema:
    """Return the schema of the list of a kind whose type's short name is ``item``."""
    group, version, kind = definition(item).kind or ("", "", "")
    items = {"type": "array", "items": dialect.refer(item), "description": f"Each {kind}."}
    texts = {name: {"description": text} for name, text in _LIST_TEXTS.items()}
    return {
        "description": f"A list of {kind} objects: all of them, or one page.",
        "type": "object",
        "properties": {
            "apiVersion": _PLAIN["s"] | texts["apiVersion"],
            "items": items,
            "kind": _PLAIN["s"] | texts["kind"],
            "metadata": dialect.beside(dialect.refer(f"{META}.ListMeta"), texts["metadata"]),
        },
        "required": ["items"],
        "x-kubernetes-group-version-kind": [group_version_kind(group, version, f"{kind}List")],
    }


def group_version_kind(group: str, version: str, kind: str) -> dict[str, str]:
    """Return the extension that connects a schema or an operation with a kind."""
    return {"group": group, "version": version, "kind": kind}


def _field(field: FieldDefinition, text: str, dialect: Dialect) -> Schema:
    more: Schema = {"description": text} if text else {}
    if field.default:
        more["default"] = field.default
    return dialect.beside(_value(field, field.many, dialect), more | _extensions(field))


def _value(field: FieldDefinition, many: str, dialect: Dialect) -> Schema:
    if many.startswith("["):
        return {"type": "array", "items": _value(field, many[1:], dialect)}
    if many:
        return {"type": "object", "additionalProperties": _value(field, many[1:], dialect)}
    return _PLAIN.get(field.type) or dialect.refer(field.type)


def _extensions(field: FieldDefinition) -> Schema:
    """Return the extensions that say how a field merges in patches and server-side apply."""
    found: Schema = {}
    if field.marked:
        is_map = field.many.startswith("{") or (not field.many and "." in field.type)
        sort = "map" if is_map else "list"  # bytes are a list in Go
        found[f"x-kubernetes-{sort}-type"] = field.structure
    if field.keys:
        found["x-kubernetes-list-map-keys"] = list(field.keys)
    if field.strategies:
        found["x-kubernetes-patch-strategy"] = ",".join(field.strategies)
    if field.merge_key:
        found["x-kubernetes-patch-merge-key"] = field.merge_key
    return found
