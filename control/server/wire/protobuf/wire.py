"""Read the protobuf wire format; safe for any bytes. Pure.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_VARINT_MAX = 10  # bytes of a 64-bit number
_SIZES = {FIXED64: 8, FIXED32: 4}

Value = int | bytes


class ProtobufError(ValueError):
    """Bytes that are not a protobuf message of the expected kind."""


class TooManyMessagesError(ProtobufError):
    """A list in a message has more items than an object of the API can have."""


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Yield the (number, value) of each field in order; raises ProtobufError."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value: Value
            value, at = _varint(data, at)
        elif kind == BYTES:
            size, at = _varint(data, at)
            value, at = _take(data, at, size)
        elif kind in _SIZES:
            value, at = _take(data, at, _SIZES[kind])
        else:
            raise ProtobufError(f"wire type {kind} is not in use")
        yield tag >> 3, value


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise ProtobufError("a field ends after its message")
    return data[at : at + size], at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(_VARINT_MAX):
        if at + count >= len(data):
            raise ProtobufError("a number ends after its message")
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & (2**64 - 1), at + count + 1
    raise ProtobufError("a number of more than 64 bits")


def signed(value: int) -> int:
    """Return a number as int64 (two's complement)."""
    return value - 2**64 if value >= 2**63 else value
