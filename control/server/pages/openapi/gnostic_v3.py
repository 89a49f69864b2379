"""Encode v3 documents in protobuf. Pure.

Source: https://github.com/google/gnostic/blob/main/openapiv3/OpenAPIv3.proto. This module has the
part of it that podwire's documents and the schemas of custom resources use.
"""

from typing import Any

from control.server.pages.openapi.proto import (
    Table,
    Wire,
    a,
    anything,
    bytes_field,
    double,
    each,
    flag,
    message,
    named,
    text,
    whole,
    within,
)


def document(value: Wire) -> bytes:
    """Encode a v3 document as ``openapi.v3.Document``; raises KeyError for an unknown member."""
    return message(value, _DOCUMENT, 9)


def _schema(value: Wire) -> bytes:
    """Encode a SchemaOrReference."""
    if isinstance(value.get("$ref"), str):
        return bytes_field(2, text(1, value["$ref"]))
    return bytes_field(1, message(value, _SCHEMA, 36))


def _bare(value: Wire) -> bytes:
    """Encode a schema where no reference may stand."""
    return message(value, _SCHEMA, 36)


def _items(value: Wire | list[Wire]) -> bytes:
    return each(a(_schema))(1, value if isinstance(value, list) else [value])


def _more(value: Wire | bool) -> bytes:
    """Encode an AdditionalPropertiesItem."""
    return flag(2, value) if isinstance(value, bool) else bytes_field(1, _schema(value))


def _default(number: int, value: Any) -> bytes:
    """Encode a DefaultType, which is a number, a boolean or text; other defaults have no place."""
    if isinstance(value, bool):
        return bytes_field(number, flag(2, value))
    if isinstance(value, int | float):
        return bytes_field(number, double(1, value))
    return bytes_field(number, text(3, value)) if isinstance(value, str) else b""


def _left_out(_number: int, _value: Any) -> bytes:
    return b""


def _media_types(value: Wire) -> bytes:
    return named(lambda one: message(one, {"schema": (1, a(_schema))}, 5))(1, value)


def _response(value: Wire) -> bytes:
    """Encode a ResponseOrReference."""
    return bytes_field(1, message(value, _RESPONSE, 5))


def _responses(value: Wire) -> bytes:
    """Encode Responses, where ``default`` stands beside the codes."""
    codes = {code: one for code, one in value.items() if code != "default"}
    other = [bytes_field(1, _response(value["default"]))] if "default" in value else []
    return b"".join([*other, named(_response)(2, codes)])


def _parameter(value: Wire) -> bytes:
    return bytes_field(1, message(value, _PARAMETER, 14))


def _body(value: Wire) -> bytes:
    return bytes_field(1, message(value, _BODY, 4))


def _operation(value: Wire) -> bytes:
    return message(value, _OPERATION, 13)


def _path(value: Wire) -> bytes:
    return message(value, _PATH, 14)


_SCHEMA: Table = {
    "$schema": (0, _left_out),
    "id": (0, _left_out),
    "nullable": (1, flag),
    "externalDocs": (6, a(lambda v: message(v, {"description": (1, text), "url": (2, text)}, 3))),
    "example": (7, anything),
    "title": (9, text),
    "multipleOf": (10, double),
    "maximum": (11, double),
    "exclusiveMaximum": (12, flag),
    "minimum": (13, double),
    "exclusiveMinimum": (14, flag),
    "maxLength": (15, whole),
    "minLength": (16, whole),
    "pattern": (17, text),
    "maxItems": (18, whole),
    "minItems": (19, whole),
    "uniqueItems": (20, flag),
    "maxProperties": (21, whole),
    "minProperties": (22, whole),
    "required": (23, each(text)),
    "enum": (24, each(anything)),
    "type": (25, text),
    "allOf": (26, each(a(_schema))),
    "oneOf": (27, each(a(_schema))),
    "anyOf": (28, each(a(_schema))),
    "not": (29, a(_bare)),
    "items": (30, a(_items)),
    "properties": (31, a(within(1, named(_schema)))),
    "additionalProperties": (32, a(_more)),
    "default": (33, _default),
    "description": (34, text),
    "format": (35, text),
}
_RESPONSE: Table = {"description": (1, text), "content": (3, a(_media_types))}
_PARAMETER: Table = {
    "name": (1, text),
    "in": (2, text),
    "description": (3, text),
    "required": (4, flag),
    "schema": (10, a(_schema)),
}
_BODY: Table = {"content": (2, a(_media_types)), "required": (3, flag)}
_OPERATION: Table = {
    "description": (3, text),
    "operationId": (5, text),
    "parameters": (6, each(a(_parameter))),
    "requestBody": (7, a(_body)),
    "responses": (8, a(_responses)),
}
_PATH: Table = {
    "get": (4, a(_operation)),
    "put": (5, a(_operation)),
    "post": (6, a(_operation)),
    "delete": (7, a(_operation)),
    "patch": (10, a(_operation)),
    "parameters": (13, each(a(_parameter))),
}
_INFO: Table = {"title": (1, text), "version": (6, text)}
_DOCUMENT: Table = {
    "openapi": (1, text),
    "info": (2, a(lambda value: message(value, _INFO, 7))),
    "paths": (4, a(within(1, named(_path)))),
    "components": (5, a(lambda v: message(v, {"schemas": (1, a(within(1, named(_schema))))}, 10))),
}
