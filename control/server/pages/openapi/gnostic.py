"""Encode the v2 document in protobuf, the only form that kubectl before 1.29 reads. Pure.

Source: https://github.com/google/gnostic/blob/main/openapiv2/OpenAPIv2.proto. This module has the
part of it that podwire's documents use. Extensions and defaults are YAML texts there; JSON is YAML.
"""

from control.server.pages.openapi.proto import (
    Table,
    Wire,
    a,
    anything,
    bytes_field,
    each,
    flag,
    message,
    named,
    text,
    within,
)


def document(value: Wire) -> bytes:
    """Encode a v2 document as ``openapi.v2.Document``; raises KeyError for an unknown member."""
    return message(value, _DOCUMENT, 16)


def _schema(value: Wire) -> bytes:
    return message(value, _SCHEMA, 31)


def _operation(value: Wire) -> bytes:
    return message(value, _OPERATION, 13)


def _response(value: Wire) -> bytes:
    return message(value, {"description": (1, text), "schema": (2, a(within(1, a(_schema))))}, 5)


def _parameter(value: Wire) -> bytes:
    """Encode ParametersItem > Parameter > BodyParameter, or NonBodyParameter > its place."""
    if value["in"] == "body":
        return bytes_field(1, bytes_field(1, message(value, _BODY, 6)))
    place = {"query": 3, "path": 4}[value["in"]]
    table = _PLACED | {"type": (6 if place == 3 else 5, text)}
    return bytes_field(1, bytes_field(2, bytes_field(place, message(value, table, 22))))


def _path(value: Wire) -> bytes:
    return message(value, _PATH, 10)


_BODY: Table = {
    "description": (1, text),
    "name": (2, text),
    "in": (3, text),
    "required": (4, flag),
    "schema": (5, a(_schema)),
}
_PLACED: Table = {
    "required": (1, flag),
    "in": (2, text),
    "description": (3, text),
    "name": (4, text),
}
_SCHEMA: Table = {
    "$ref": (1, text),
    "format": (2, text),
    "description": (4, text),
    "default": (5, anything),
    "required": (19, each(text)),
    "additionalProperties": (21, a(within(1, a(_schema)))),
    "type": (22, a(within(1, text))),
    "items": (23, a(within(1, a(_schema)))),
    "properties": (25, a(within(1, named(_schema)))),
}
_OPERATION: Table = {
    "description": (3, text),
    "operationId": (5, text),
    "produces": (6, each(text)),
    "consumes": (7, each(text)),
    "parameters": (8, each(a(_parameter))),
    "responses": (9, a(within(1, named(within(1, a(_response)))))),
}
_PATH: Table = {
    "get": (2, a(_operation)),
    "put": (3, a(_operation)),
    "post": (4, a(_operation)),
    "delete": (5, a(_operation)),
    "patch": (8, a(_operation)),
    "parameters": (9, each(a(_parameter))),
}
_INFO: Table = {"title": (1, text), "version": (2, text)}
_DOCUMENT: Table = {
    "swagger": (1, text),
    "info": (2, a(lambda value: message(value, _INFO, 7))),
    "paths": (8, a(within(2, named(_path)))),
    "definitions": (9, a(within(1, named(_schema)))),
}
