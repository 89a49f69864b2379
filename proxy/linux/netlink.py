"""As much netlink as the proxy needs: requests, dumps, attributes (RFC 3549; linux/netlink.h).

pyroute2 decodes every attribute of every message, which is a second for some 10,000 conntrack
entries; the proxy looks at four attributes of each, and is in a hurry.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

ROUTE, NETFILTER = 0, 12  # netlink protocols

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
NESTED = 0x8000

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR, _DONE = 2, 3
_RECEIVE = 1 << 18


class Netlink:
    """A socket to one netlink family of the current network namespace."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _err: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """The bodies of a dump's messages; raises OSError.

        A dump during which the kernel's table changed is whole but for what changed.
        """
        self._send(kind, REQUEST | DUMP, body)
        for answer, payload in self._answers():
            if answer == _DONE:
                return
            if answer == _ERROR:
                _raise(payload)
            yield payload

    def request(self, kind: int, body: bytes) -> None:
        """Ask for one change, and wait until it is made; raises OSError."""
        self._send(kind, REQUEST | ACK, body)
        for answer, payload in self._answers():
            if answer == _ERROR:
                _raise(payload)
                return

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind, flags, self._sequence, 0) + body)

    def _answers(self) -> Iterator[tuple[int, bytes]]:
        while True:
            yield from messages(self._socket.recv(_RECEIVE), self._sequence)


def messages(data: bytes, sequence: int | None = None) -> Iterator[tuple[int, bytes]]:
    """(kind, body) of what was received: of all, or of the answers to one request."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _flags, number, _ = _HEADER.unpack_from(data, at)
        if sequence is None or number == sequence:
            yield kind, data[at + _HEADER.size : at + length]
        at += max((length + 3) & ~3, _HEADER.size)


def _raise(payload: bytes) -> None:
    code = -struct.unpack_from("=i", payload)[0]
    if code:
        raise OSError(code, os.strerror(code))


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind: int, parts: Iterable[bytes]) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(parts))


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in ``data`` by their kind."""
    return dict(_attributes(data))


def each(data: bytes) -> Iterator[bytes]:
    """The values of a list, whose attributes are all of one kind."""
    return (value for _, value in _attributes(data))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            raise OSError(errno.EBADMSG, "a netlink attribute is shorter than its header")
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
