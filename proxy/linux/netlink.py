"""Netlink, as much of it as the proxy needs: requests, dumps, attributes (RFC 3549;
linux/netlink.h).

pyroute2 decodes every attribute of every message, which takes a second for some 10,000 conntrack
entries. The proxy reads four attributes of each entry, and must be quick.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

from proxy.model.values import Family

Value = TypeVar("Value")

ROUTE, NETFILTER = 0, 12  # netlink protocols

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
NESTED = 0x8000

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR, _DONE = 2, 3
_DUMP_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR
_TRIES = 20
_CREATE = 0x400  # NLM_F_CREATE
_BATCH_BEGIN, _BATCH_END, _NFTABLES = 16, 17, 10  # linux/netfilter/nfnetlink.h
# NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWSETELEM and NFT_MSG_DELSETELEM
NEW_ELEMENTS, DELETE_ELEMENTS = _NFTABLES << 8 | 12, _NFTABLES << 8 | 14
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h
RECEIVE = 1 << 18  # bytes of the largest message
EVERY = "every"  # all families at once: for dumps only
INET = "inet"  # the family of rules for both IP families
BRIDGE = "bridge"  # the family of rules that see the frames of bridges
_NFPROTO: Mapping[Family | str, int] = {
    Family.V4: socket.AF_INET,
    Family.V6: socket.AF_INET6,
    EVERY: 0,  # NFPROTO_UNSPEC
    INET: 1,  # NFPROTO_INET
    BRIDGE: 7,  # NFPROTO_BRIDGE
}


class Message(NamedTuple):
    """A netlink message without its header."""

    kind: int
    body: bytes
    flags: int
    sequence: int


class InterruptedDumpError(OSError):
    """The kernel's table changed while it was read."""


class Netlink:
    """A socket of one netlink protocol, in the current network namespace.

    Closing one of NETFILTER waits until the kernel has freed what the last transactions of nftables
    in this namespace removed: some 15 ms on Linux 6.18. Who must be quick keeps it open.
    """

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Yield the bodies of a dump's messages. Raises OSError.

        If the kernel's table changes during the dump, entries may be missing, twice or old. The
        kernel says so where it counts changes (interfaces, addresses, nftables); then the last step
        raises InterruptedDumpError. See ``consistent``.
        """
        self._send(kind, REQUEST | DUMP, body)
        interrupted = 0
        for answer in self._answers():
            interrupted |= answer.flags & _DUMP_INTERRUPTED
            if answer.kind == _DONE:
                break
            if answer.kind == _ERROR:
                _raise(answer.body)
            yield answer.body
        if interrupted:
            raise InterruptedDumpError(errno.EAGAIN, "the kernel's table changed while it was read")

    def get(self, kind: int, body: bytes) -> bytes:
        """Ask for one object, and return its message's body. Raises OSError."""
        self._send(kind, REQUEST, body)
        answer = next(self._answers())
        if answer.kind == _ERROR:
            _raise(answer.body)
        return answer.body

    def request(self, kind: int, body: bytes) -> None:
        """Make one change, and wait until the kernel confirms it. Raises OSError."""
        self._send(kind, REQUEST | ACK, body)
        for answer in self._answers():
            if answer.kind == _ERROR:
                _raise(answer.body)
                return

    def transact(self, changes: Sequence[tuple[int, bytes]]) -> None:
        """Make changes of nftables in one transaction: all of them or none. Raises OSError.

        Each is a message's kind and body. The last message asks for the answer: kernels before 6.10
        give none to the end of a batch.
        """
        if not changes:
            return
        since = self._sequence
        mark = struct.pack("=BBH", socket.AF_UNSPEC, 0, socket.htons(_NFTABLES))
        parts = [self._message(_BATCH_BEGIN, REQUEST, mark)]
        for left, (kind, body) in zip(range(len(changes) - 1, -1, -1), changes, strict=True):
            flags = REQUEST | (_CREATE if kind == NEW_ELEMENTS else 0) | (0 if left else ACK)
            parts.append(self._message(kind, flags, body))
        data = b"".join((*parts, self._message(_BATCH_END, REQUEST, mark)))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, len(data) * 2)
        self._socket.send(data)
        answers = [one for one in self._waiting() if one.sequence > since and one.kind == _ERROR]
        if not answers:
            raise OSError(errno.ENOMSG, "the kernel did not answer a transaction")
        for one in answers:
            _raise(one.body)

    def _message(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        return pack_message(kind, flags, body, self._sequence)

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._socket.send(self._message(kind, flags, body))

    def _answers(self) -> Iterator[Message]:
        while True:
            yield from messages(self._socket.recv(RECEIVE), self._sequence)

    def _waiting(self) -> Iterator[Message]:
        """Yield what waits: the kernel has carried out a transaction when sending returns."""
        with suppress(BlockingIOError):
            while True:
                yield from messages(self._socket.recv(RECEIVE, socket.MSG_DONTWAIT))


def pack_message(kind: int, flags: int, body: bytes, sequence: int = 0) -> bytes:
    """Pack a message with its header and padding."""
    length = _HEADER.size + len(body)
    return _HEADER.pack(length, kind, flags, sequence, 0) + body + bytes(-length % 4)


def consistent(read: Callable[[], Value]) -> Value:
    """Return what ``read`` returns, which reads dumps to their end, once none was interrupted.

    Raises OSError, also if the kernel's table changed during each of many readings.
    """
    for _ in range(_TRIES):
        with suppress(InterruptedDumpError):
            return read()
    raise OSError(errno.EBUSY, f"the kernel's table changed during each of {_TRIES} readings")


def messages(data: bytes, sequence: int | None = None) -> Iterator[Message]:
    """Yield each message in received data: all, or the answers to one request."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, number, _ = _HEADER.unpack_from(data, at)
        if sequence is None or number == sequence:
            yield Message(kind, data[at + _HEADER.size : at + length], flags, number)
        at += max((length + 3) & ~3, _HEADER.size)


def _raise(payload: bytes) -> None:
    code = -struct.unpack_from("=i", payload)[0]
    if code:
        raise OSError(code, os.strerror(code))


def netfilter_header(family: Family | str) -> bytes:
    """Pack ``struct nfgenmsg``, with which every message of NETFILTER begins."""
    return struct.pack("=BBH", _NFPROTO[family], 0, 0)


def attribute(kind: int, value: bytes) -> bytes:
    """Pack one attribute, with its padding."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind: int, parts: Iterable[bytes]) -> bytes:
    """Pack an attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(parts))


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes in ``data`` by their kind. Raises OSError."""
    return dict(_attributes(data))


def list_values(data: bytes) -> Iterator[bytes]:
    """Yield the values of a list: attributes that are all of one kind. Raises OSError."""
    return (value for _, value in _attributes(data))


def text(value: bytes) -> str:
    """Decode a string attribute, which ends with a zero byte."""
    return value.rstrip(b"\0").decode(errors="replace")


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            raise OSError(errno.EBADMSG, "a netlink attribute is shorter than its header")
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
