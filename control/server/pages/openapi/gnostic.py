"""Encode the v2 document in protobuf, the only form that kubectl before 1.29 reads. Pure.

Source: https://github.com/google/gnostic/blob/main/openapiv2/OpenAPIv2.proto. This module has the
part of it that podwire's documents use. Extensions and defaults are YAML texts there; JSON is YAML.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from control.api.base import encode

_VARINT, _BYTES = 0, 2  # https://protobuf.dev/programming-guides/encoding/#structure
Wire = Mapping[str, Any]
Field = Callable[[int, Any], bytes]  # (field number, JSON value) -> the bytes of the field
Table = dict[str, tuple[int, Field]]
Message = Callable[[Any], bytes]  # JSON value -> the bytes of a message


def document(value: Wire) -> bytes:
    """Encode a v2 document as ``openapi.v2.Document``; raises KeyError for an unknown member."""
    return _message(value, _DOCUMENT, 16)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _text(number: int, value: str) -> bytes:
    return _field(number, value.encode())


def _flag(number: int, value: bool) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _any(number: int, value: Any) -> bytes:
    return _field(number, _field(2, encode(value)))


def _each(field: Field) -> Field:
    """Make a repeated field."""
    return lambda number, values: b"".join(field(number, value) for value in values)


def _a(message: Message) -> Field:
    """Make a field that holds a message."""
    return lambda number, value: _field(number, message(value))


def _in(number: int, field: Field) -> Message:
    """Make a message with one field: a list, or one member of a oneof."""
    return lambda value: field(number, value)


def _named(value: Message) -> Field:
    """Make a map: a repeated message with a name (1) and a value (2)."""

    def entries(number: int, values: Wire) -> bytes:
        pairs = (_text(1, name) + _field(2, value(item)) for name, item in values.items())
        return b"".join(_field(number, pair) for pair in pairs)

    return entries


def _message(value: Wire, table: Table, extensions: int) -> bytes:
    """Encode a message with the fields in a table, and its extensions (``x-...``)."""
    return b"".join(_members(value, table, extensions))


def _members(value: Wire, table: Table, extensions: int) -> Iterable[bytes]:
    for name, member in value.items():
        if name.startswith("x-"):
            yield _field(extensions, _text(1, name) + _any(2, member))
        else:
            number, field = table[name]
            yield field(number, member)


def _schema(value: Wire) -> bytes:
    return _message(value, _SCHEMA, 31)


def _operation(value: Wire) -> bytes:
    return _message(value, _OPERATION, 13)


def _response(value: Wire) -> bytes:
    return _message(value, {"description": (1, _text), "schema": (2, _a(_in(1, _a(_schema))))}, 5)


def _parameter(value: Wire) -> bytes:
    """Encode ParametersItem > Parameter > BodyParameter, or NonBodyParameter > its place."""
    if value["in"] == "body":
        return _field(1, _field(1, _message(value, _BODY, 6)))
    place = {"query": 3, "path": 4}[value["in"]]
    table = _PLACED | {"type": (6 if place == 3 else 5, _text)}
    return _field(1, _field(2, _field(place, _message(value, table, 22))))


def _path(value: Wire) -> bytes:
    return _message(value, _PATH, 10)


_BODY: Table = {
    "description": (1, _text),
    "name": (2, _text),
    "in": (3, _text),
    "required": (4, _flag),
    "schema": (5, _a(_schema)),
}
_PLACED: Table = {
    "required": (1, _flag),
    "in": (2, _text),
    "description": (3, _text),
    "name": (4, _text),
}
_SCHEMA: Table = {
    "$ref": (1, _text),
    "format": (2, _text),
    "description": (4, _text),
    "default": (5, _any),
    "required": (19, _each(_text)),
    "additionalProperties": (21, _a(_in(1, _a(_schema)))),
    "type": (22, _a(_in(1, _text))),
    "items": (23, _a(_in(1, _a(_schema)))),
    "properties": (25, _a(_in(1, _named(_schema)))),
}
_OPERATION: Table = {
    "description": (3, _text),
    "operationId": (5, _text),
    "produces": (6, _each(_text)),
    "consumes": (7, _each(_text)),
    "parameters": (8, _each(_a(_parameter))),
    "responses": (9, _a(_in(1, _named(_in(1, _a(_response)))))),
}
_PATH: Table = {
    "get": (2, _a(_operation)),
    "put": (3, _a(_operation)),
    "post": (4, _a(_operation)),
    "delete": (5, _a(_operation)),
    "patch": (8, _a(_operation)),
    "parameters": (9, _each(_a(_parameter))),
}
_INFO: Table = {"title": (1, _text), "version": (2, _text)}
_DOCUMENT: Table = {
    "swagger": (1, _text),
    "info": (2, _a(lambda value: _message(value, _INFO, 7))),
    "paths": (8, _a(_in(2, _named(_path)))),
    "definitions": (9, _a(_in(1, _named(_schema)))),
}
