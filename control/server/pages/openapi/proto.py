"""Fields of protobuf messages from the members of JSON objects, by a table for each message. Pure.

Source: https://protobuf.dev/programming-guides/encoding/#structure
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from control.api.base import encode

_VARINT, _DOUBLE, _BYTES = 0, 1, 2
Wire = Mapping[str, Any]
Field = Callable[[int, Any], bytes]  # (field number, JSON value) -> the bytes of the field
Table = dict[str, tuple[int, Field]]
Message = Callable[[Any], bytes]  # JSON value -> the bytes of a message


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def bytes_field(number: int, content: bytes) -> bytes:
    """Encode text, bytes or a message."""
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def text(number: int, value: str) -> bytes:
    """Encode text."""
    return bytes_field(number, value.encode())


def flag(number: int, value: bool) -> bytes:
    """Encode a boolean."""
    return whole(number, value)


def whole(number: int, value: int) -> bytes:
    """Encode an integer of at least 0."""
    return _varint(number << 3 | _VARINT) + _varint(int(value))


def double(number: int, value: float) -> bytes:
    """Encode a number."""
    return _varint(number << 3 | _DOUBLE) + struct.pack("<d", value)


def anything(number: int, value: Any) -> bytes:
    """Encode gnostic's Any: a YAML text; JSON is YAML."""
    return bytes_field(number, bytes_field(2, encode(value)))


def each(one: Field) -> Field:
    """Make a repeated field."""
    return lambda number, values: b"".join(one(number, value) for value in values)


def a(inner: Message) -> Field:
    """Make a field that holds a message."""
    return lambda number, value: bytes_field(number, inner(value))


def within(number: int, one: Field) -> Message:
    """Make a message with one field: a list, or one member of a oneof."""
    return lambda value: one(number, value)


def named(inner: Message) -> Field:
    """Make a map: a repeated message with a name (1) and a value (2)."""

    def entries(number: int, values: Wire) -> bytes:
        pairs = (text(1, name) + bytes_field(2, inner(item)) for name, item in values.items())
        return b"".join(bytes_field(number, pair) for pair in pairs)

    return entries


def message(value: Wire, table: Table, extensions: int) -> bytes:
    """Encode a message with the fields in a table, and its extensions (``x-...``).

    Raises KeyError for a member that the table does not have.
    """
    return b"".join(_members(value, table, extensions))


def _members(value: Wire, table: Table, extensions: int) -> Iterable[bytes]:
    for name, member in value.items():
        if name.startswith("x-"):
            yield bytes_field(extensions, text(1, name) + anything(2, member))
        else:
            number, encoded = table[name]
            yield encoded(number, member)
