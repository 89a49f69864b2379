"""The types of a schema's values in rules, and the values that rules see.

Source: pkg/cel/common/schemas.go and pkg/cel/escaping.go of k8s.io/apiserver.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

from control.api.cel.functions.times import duration_nanos, timestamp_nanos
from control.api.cel.lex import RESERVED
from control.api.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    Field,
    Type,
    list_of,
    map_of,
    object_of,
)
from control.api.cel.values import Duration, MapList, SetList, Timestamp

Schema = Mapping[str, Any]
Convert = Callable[[Any], Any]
_TEXTS = {
    "byte": BYTES,
    "duration": DURATION,
    "date": TIMESTAMP,
    "date-time": TIMESTAMP,
}
_PLAIN = {"boolean": BOOL, "integer": INT, "number": DOUBLE}
_ESCAPED = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_SPECIAL = re.compile(r"__|[-./]")
_NAME = re.compile(r"[a-zA-Z_.\-/][a-zA-Z0-9_.\-/]*")
_WORDS = RESERVED | {"true", "false", "null", "in"}
_TEXT = {"type": "string"}


def escaped(name: str) -> str:
    """Return a name as expressions write it; empty for one that they cannot name."""
    if name in _WORDS:
        return f"__{name}__"
    if not _NAME.fullmatch(name):
        return ""
    return _SPECIAL.sub(lambda match: _ESCAPED[match[0]], name)


def is_resource(schema: Schema) -> bool:
    """Return True for a schema of embedded resources."""
    return bool(schema.get("x-kubernetes-embedded-resource"))


def with_head(schema: Schema) -> Schema:
    """Return the schema of a resource with what every one has."""
    given = schema.get("properties") or {}
    metadata = dict(given.get("metadata") or {"type": "object"})
    named = {"name": _TEXT, "generateName": _TEXT}
    metadata["properties"] = named | (metadata.get("properties") or {})
    head = {"apiVersion": _TEXT, "kind": _TEXT} | given | {"metadata": metadata}
    return dict(schema) | {"properties": head}


def type_of(schema: Schema, name: str = "selfType", *, root: bool = False) -> Type | None:
    """Return the type of a schema's values; None if rules cannot see them."""
    if schema.get("x-kubernetes-int-or-string"):
        return DYN
    if root or is_resource(schema):
        schema = with_head(schema)
    kind = schema.get("type", "")
    if kind == "array":
        items = schema.get("items")
        inner = type_of(items, f"{name}.@idx") if isinstance(items, dict) else None
        return list_of(inner) if inner else None
    if kind == "object":
        return _object(schema, name)
    if kind == "string":
        return _TEXTS.get(schema.get("format") or "", STRING)
    return _PLAIN.get(kind)


def _object(schema: Schema, name: str) -> Type | None:
    more = schema.get("additionalProperties")
    if isinstance(more, dict) and not schema.get("properties"):
        inner = type_of(more, f"{name}.@elem")
        return map_of(STRING, inner) if inner else None
    fields = {}
    for each, below in (schema.get("properties") or {}).items():
        inner, shown = type_of(below, f"{name}.{each}"), escaped(each)
        if inner is not None and shown:
            fields[shown] = Field(inner, each)
    return object_of("object", fields) if not fields else object_of(name, fields)


def converter(schema: Schema, *, root: bool = False) -> Convert | None:
    """Return what makes a value one that rules see; None if it is that already."""
    if schema.get("x-kubernetes-int-or-string"):
        return None
    if root or is_resource(schema):
        schema = with_head(schema)
    kind = schema.get("type", "")
    if kind == "number":
        return lambda value: float(value) if type(value) is int else value
    if kind == "string":
        return _FORMATS.get(schema.get("format") or "")
    if kind == "array":
        return _list_converter(schema)
    return _object_converter(schema) if kind == "object" else None


def _list_converter(schema: Schema) -> Convert | None:
    items = schema.get("items")
    inner = converter(items) if isinstance(items, dict) else None
    sort, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys")
    if inner is None and sort not in ("set", "map"):
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        made = value if inner is None else list(map(inner, value))
        if sort == "set":
            return SetList(made)
        return MapList(made, tuple(keys or ())) if sort == "map" else made

    return convert


def _object_converter(schema: Schema) -> Convert | None:
    given = (schema.get("properties") or {}).items()
    known = {name: inner for name, below in given if (inner := converter(below)) is not None}
    more = schema.get("additionalProperties")
    other = converter(more) if isinstance(more, dict) else None
    if not known and other is None:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        made = {}
        for name, item in value.items():
            change = known.get(name, other)
            made[name] = item if change is None or item is None else change(item)
        return made

    return convert


def _bytes(value: Any) -> Any:
    try:
        return b64decode(value) if isinstance(value, str) else value
    except (binascii.Error, ValueError):
        return value


def _duration(value: Any) -> Any:
    nanos = duration_nanos(value) if isinstance(value, str) else None
    return value if nanos is None else Duration(nanos)


def _moment(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    nanos = timestamp_nanos(value if "T" in value.upper() else f"{value}T00:00:00Z")
    return value if nanos is None else Timestamp(nanos)


_FORMATS: dict[str, Convert] = {
    "byte": _bytes,
    "duration": _duration,
    "date": _moment,
    "date-time": _moment,
}
