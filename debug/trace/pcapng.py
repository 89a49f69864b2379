"""Writes packets with comments as pcapng, of which Wireshark shows each: pure.

An interface is a link of a namespace. Times are in nanoseconds, which scapy's writer does not have.
Source: draft-ietf-opsawg-pcapng.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_MAGIC = 0x1A2B3C4D
_RAW_IP = 101  # LINKTYPE_RAW: packets begin with their IP header
_COMMENT, _NAME, _RESOLUTION = 1, 2, 9  # options
_NANOSECONDS = bytes([9])
_LONGEST = 0xFFFF  # bytes of an option


@dataclass(frozen=True, slots=True)
class Frame:
    """A packet on a link. ``time`` is in nanoseconds since 1970."""

    time: int
    interface: str
    data: bytes
    comment: str = ""


class Writer:
    """Encodes packets one after the other, each with its interface before it if that is new."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def head(self) -> bytes:
        """Return the file's beginning."""
        return _block(_SECTION, struct.pack("=IHHq", _MAGIC, 1, 0, -1))

    def add(self, frame: Frame) -> bytes:
        """Return a packet."""
        known = len(self._numbers)
        number = self._numbers.setdefault(frame.interface, known)
        new = _interface(frame.interface) if number == known else b""
        return new + _packet(frame, number)


def encode(frames: Iterable[Frame]) -> bytes:
    """Return the file of some packets, in the order of time."""
    writer = Writer()
    ordered = sorted(frames, key=lambda frame: frame.time)
    return writer.head() + b"".join(map(writer.add, ordered))


def _interface(name: str) -> bytes:
    options = _options([(_NAME, name.encode()), (_RESOLUTION, _NANOSECONDS)])
    return _block(_INTERFACE, struct.pack("=HHI", _RAW_IP, 0, 0) + options)


def _packet(frame: Frame, interface: int) -> bytes:
    size = len(frame.data)
    times = frame.time >> 32, frame.time & 0xFFFFFFFF
    head = struct.pack("=IIIII", interface, *times, size, size)
    comment = frame.comment.encode()[:_LONGEST]
    options = _options([(_COMMENT, comment)] if comment else [])
    return _block(_PACKET, head + _padded(frame.data) + options)


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    def packed() -> Iterator[bytes]:
        for kind, value in options:
            yield struct.pack("=HH", kind, len(value)) + _padded(value)

    found = b"".join(packed())
    return found + bytes(4) if found else b""


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + length + body + length


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
