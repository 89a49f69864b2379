"""Decode the API's protobuf messages into JSON objects. Pure.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding. Go writes
fields with zero values; this module drops those that the API's JSON leaves out.
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from control.api.types.table import INLINE, Field, message_name, messages
from control.api.types.unions import UNIONS, json_form
from control.server.wire.protobuf.wire import (
    ProtobufError,
    TooManyMessagesError,
    Value,
    fields,
    signed,
)

_MAGIC = b"k8s\0"
_MAX_DEPTH = 40
MAX_ITEMS = 100_000  # of one list
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Wire = dict[str, Any]


def to_json(body: bytes) -> Wire:
    """Decode the object in a body; raises ProtobufError."""
    if not body.startswith(_MAGIC):
        raise ProtobufError("the body does not begin as Kubernetes' protobuf does")
    envelope = dict(fields(body[len(_MAGIC) :]))
    kind = {number: _text(value) for number, value in fields(_bytes(envelope.get(1, b"")))}
    version, name = kind.get(1, ""), kind.get(2, "")
    wire = _message(_bytes(envelope.get(2, b"")), _message_name(version, name), 0)
    return {"apiVersion": version, "kind": name} | wire


def _message_name(version: str, kind: str) -> str:
    group, _, number = version.rpartition("/")
    options = kind == "DeleteOptions"  # in whichever group, it is the same message
    name = message_name("meta", kind) if options else message_name(group, kind, number)
    if name not in messages():
        raise ProtobufError(f"kind {kind!r} of {version!r} is not known in protobuf; send JSON")
    return name


def _message(data: bytes, name: str, depth: int) -> Wire:
    if depth > _MAX_DEPTH:
        raise ProtobufError("messages are nested too deeply")
    known = messages()[name]
    wire: Wire = {}
    for number, value in fields(data):
        field = known.get(number)
        if field is not None:
            _put(wire, field, value, depth)
    return wire


def _put(wire: Wire, field: Field, value: Value, depth: int) -> None:
    if field.many == "{":
        key, item = _entry(field, _bytes(value), depth)
        wire.setdefault(field.name, {})[key] = item
    elif field.many == "[":
        items = wire.setdefault(field.name, [])
        if len(items) >= MAX_ITEMS:
            raise TooManyMessagesError(f"limit is {MAX_ITEMS} items of {field.name}")
        items.append(_value(field.type, value, depth))
    else:
        item = _value(field.type, value, depth)
        if field.name == INLINE:
            wire.update(item)
        elif item or (field.pointer and field.type not in "TU"):
            wire[field.name] = item


def _entry(field: Field, data: bytes, depth: int) -> tuple[str, Any]:
    found = dict(fields(data))
    value = found.get(2, b"" if field.type not in "il" else 0)
    return _text(found.get(1, b"")), _value(field.type, value, depth)


def _value(kind: str, value: Value, depth: int) -> Any:
    read = _SCALARS.get(kind)
    if read:
        return read(value)
    made = _message(_bytes(value), kind, depth + 1)
    if kind in UNIONS:
        return json_form(kind, made)
    return made.get(INLINE, made)  # a message that is a list in JSON


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ProtobufError("a number where bytes are expected")
    return value


def _text(value: Value) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as err:
        raise ProtobufError("text that is not UTF-8") from err


def _number(value: Value) -> int:
    if not isinstance(value, int):
        raise ProtobufError("bytes where a number is expected")
    return signed(value)


def _time(value: Value, unit: str = "seconds") -> str:
    """Return a time in RFC 3339; the zero time is empty."""
    found = {number: _number(item) for number, item in fields(_bytes(value))}
    if not found:
        return ""
    try:
        moment = _EPOCH + timedelta(seconds=found.get(1, 0), microseconds=found.get(2, 0) // 1000)
    except OverflowError as err:
        raise ProtobufError("a time out of range") from err
    return moment.isoformat(timespec=unit).replace("+00:00", "Z")


def _quantity(value: Value) -> str:
    return _text(dict(fields(_bytes(value))).get(1, b""))


def _number_or_text(value: Value) -> int | str:
    found = dict(fields(_bytes(value)))
    return _text(found.get(3, b"")) if _number(found.get(1, 0)) else _number(found.get(2, 0))


def _raw(value: Value) -> Any:
    """Return the JSON value inside a protobuf message."""
    data = _bytes(dict(fields(_bytes(value))).get(1, b""))
    try:
        return orjson.loads(data) if data else None
    except orjson.JSONDecodeError as err:
        raise ProtobufError(f"raw JSON: {err}") from err


_SCALARS: dict[str, Callable[[Value], Any]] = {
    "s": _text,
    "i": _number,
    "l": _number,
    "b": lambda value: bool(_number(value)),
    "x": lambda value: base64.b64encode(_bytes(value)).decode(),
    "T": _time,
    "U": lambda value: _time(value, "microseconds"),
    "Q": _quantity,
    "I": _number_or_text,
    "R": _raw,
}
