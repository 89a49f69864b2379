"""A synchronous rtnetlink socket: pyroute2's message classes, without its event loop.

pyroute2's own IPRoute spends some hundred microseconds of event loop on each call and is bound to
the namespace that its process is in; a plain socket stays in the namespace where it was opened
and costs a tenth of that. Source: Linux Documentation/userspace-api/netlink/intro.rst.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from pyroute2.netlink import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
)

from cni_plugin import netns

_HEADER = struct.Struct("=IHHII")
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
_NLM_F_CAPPED, _NLM_F_ACK_TLVS, _NLMSGERR_ATTR_MSG = 0x100, 0x200, 1
_LONGEST_DATAGRAM = 1 << 16
_PATIENCE = 20.0  # seconds; the kernel answers at once, unless rtnl is held for long


class NetlinkError(OSError):
    """The kernel's refusal: ``errno``, and its own words where it has some."""


def message(kind: type[Any], attrs: dict[str, Any] | None = None, **fields: Any) -> Any:
    """A pyroute2 message: header fields by name, attributes by their kernel names."""
    made = kind()
    for name, value in fields.items():
        made[name] = value
    made["attrs"] = nested(attrs or {})["attrs"]
    return made


def nested(attrs: dict[str, Any]) -> dict[str, list[tuple[str, Any]]]:
    """Attributes as pyroute2 wants them; a dict inside becomes a nested attribute."""
    return {
        "attrs": [
            (name, nested(value) if isinstance(value, dict) else value)
            for name, value in attrs.items()
            if value is not None
        ]
    }


class Socket:
    """rtnetlink in the network namespace ``fd``, or in the caller's own."""

    def __init__(self, fd: int | None = None, protocol: int = socket.NETLINK_ROUTE) -> None:
        with netns.entered(fd):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.bind((0, 0))
        self._socket.settimeout(_PATIENCE)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def change(self, number: int, body: Any, flags: int = 0) -> None:
        """Send a message and wait for the kernel's word; raises NetlinkError."""
        for _ in self._exchange(number, body, flags | NLM_F_ACK):
            pass

    def get(self, number: int, body: Any) -> Any | None:
        """The one object that ``body`` names, decoded as its class; None when there is none."""
        try:
            found = list(self._exchange(number, body, 0, single=True))
        except NetlinkError as err:
            if err.errno in {errno.ENODEV, errno.ENOENT, errno.ESRCH}:
                return None
            raise
        return _decode(type(body), found[0])

    def dump(self, number: int, body: Any) -> list[Any]:
        """All objects that ``body`` selects."""
        return [_decode(type(body), raw) for raw in self._exchange(number, body, NLM_F_DUMP)]

    def _exchange(
        self, number: int, body: Any, flags: int, *, single: bool = False
    ) -> Iterator[bytes]:
        self._sequence += 1
        header = body["header"]
        header["type"], header["flags"] = number, NLM_F_REQUEST | flags
        header["sequence_number"], header["pid"] = self._sequence, 0
        body.encode()
        self._socket.send(body.data)
        while True:
            for kind, message_flags, payload in self._received():
                if kind == NLMSG_ERROR:
                    _raise(message_flags, payload)
                    return
                if kind == NLMSG_DONE:
                    return
                yield payload
                if single:
                    return

    def _received(self) -> Iterator[tuple[int, int, bytes]]:
        """The messages of one datagram: type, flags, and the message with its header."""
        data = self._socket.recv(_LONGEST_DATAGRAM)
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
            if length < _HEADER.size:
                return
            if sequence == self._sequence:
                yield kind, flags, data[at : at + length]
            at += (length + 3) & ~3


def _decode(kind: type[Any], raw: bytes) -> Any:
    made = kind(raw)
    made.decode()
    return made


def _raise(flags: int, raw: bytes) -> None:
    """Raise what an NLMSG_ERROR says, unless it says that all is well (0)."""
    (code,) = struct.unpack_from("=i", raw, _HEADER.size)
    if code == 0:
        return
    said = _words(flags, raw)
    raise NetlinkError(-code, os.strerror(-code) + (f" ({said})" if said else ""))


def _words(flags: int, raw: bytes) -> str:
    """NLMSGERR_ATTR_MSG, the kernel's own explanation."""
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    at = _HEADER.size + 4 + _HEADER.size
    if not flags & _NLM_F_CAPPED:
        (request_length,) = struct.unpack_from("=I", raw, _HEADER.size + 4)
        at += ((request_length + 3) & ~3) - _HEADER.size
    while at + 4 <= len(raw):
        length, kind = struct.unpack_from("=HH", raw, at)
        if kind == _NLMSGERR_ATTR_MSG:
            return raw[at + 4 : at + length].rstrip(b"\0").decode(errors="replace")
        at += max((length + 3) & ~3, 4)
    return ""
