"""The types of a schema's values in rules, and the values that rules see.

Source: pkg/cel/common/schemas.go and pkg/cel/escaping.go of k8s.io/apiserver.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import replace
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
# Characters of the longest, and bytes of the shortest values of a format as JSON.
_MOST_TEXTS = {"duration": 32, "date": 12, "date-time": 32}
_LEAST_TEXTS = {"duration": 3, "date": 12, "date-time": 21}
MOST_BYTES = 3 * 1024 * 1024  # of a request
# As upstream's estimates: a value without a size of its own has none.
_PLAIN = {
    "boolean": replace(BOOL, most=0, least=4),
    "integer": replace(INT, most=0),
    "number": replace(DOUBLE, most=0),
}
_KEY = replace(STRING, most=0)
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
        return replace(DYN, most=_most_text(schema), least=1)
    if root or is_resource(schema):
        schema = with_head(schema)
    kind = schema.get("type", "")
    if kind == "array":
        return _list(schema, name)
    if kind == "object":
        return _object(schema, name)
    if kind == "string":
        return _text(schema)
    return _PLAIN.get(kind)


def _text(schema: Schema) -> Type:
    form = schema.get("format") or ""
    least = _LEAST_TEXTS.get(form, 2)
    return replace(_TEXTS.get(form, STRING), most=_most_text(schema), least=least)


def _most_text(schema: Schema) -> int:
    """Return the most characters of a text, as upstream estimates them: four bytes for each."""
    form = schema.get("format") or ""
    most: int | None = schema.get("maxLength")
    if form in _MOST_TEXTS:
        return _MOST_TEXTS[form]
    if most is not None:
        return max(0, most) * (1 if form == "byte" else 4)
    if schema.get("enum") and not schema.get("x-kubernetes-int-or-string"):
        return max((len(it) for it in schema["enum"] if isinstance(it, str)), default=0)
    return MOST_BYTES - 2


def _list(schema: Schema, name: str) -> Type | None:
    items = schema.get("items")
    inner = type_of(items, f"{name}.@idx") if isinstance(items, dict) else None
    if inner is None:
        return None
    most = schema.get("maxItems")
    most = (MOST_BYTES - 2) // (inner.least + 1) if most is None else max(0, most)
    return replace(list_of(inner), most=most, least=2)


def _object(schema: Schema, name: str) -> Type | None:
    more = schema.get("additionalProperties")
    if isinstance(more, dict) and not schema.get("properties"):
        inner, most = type_of(more, f"{name}.@elem"), schema.get("maxProperties")
        if inner is None:
            return None
        most = (MOST_BYTES - 2) // (inner.least + 6) if most is None else max(0, most)
        return replace(map_of(_KEY, inner), most=most, least=2)
    fields, least, required = {}, 2, schema.get("required") or ()
    for each, below in (schema.get("properties") or {}).items():
        inner, shown = type_of(below, f"{name}.{each}"), escaped(each)
        if inner is None:
            continue
        if shown:
            fields[shown] = Field(inner, each)
        if each in required and below.get("default") is None:
            least += len(each) + inner.least + 4
    return replace(object_of(name if fields else "object", fields), most=0, least=least)


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
