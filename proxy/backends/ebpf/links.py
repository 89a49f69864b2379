"""The links of this network namespace, and the kernel's word that one came or went."""

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from proxy.linux.netlink import ROUTE, Netlink, attributes

# linux/rtnetlink.h and linux/if_link.h
_GET_LINK, _LINK_EVENTS = 18, 1  # RTM_GETLINK, RTMGRP_LINK
_NAME, _MASTER, _INFO, _SLAVE_KIND = 3, 10, 18, 4
_HEADER = struct.Struct("=BxHiII")  # struct ifinfomsg
_ETHERNET = 1  # ARPHRD_ETHER
_LOOPBACK = 0x8  # IFF_LOOPBACK
_RECEIVE = 1 << 16


class IngressLink(NamedTuple):
    """A link. For a packet that comes in by a port of a bridge, rules see the bridge's name."""

    number: int
    seen_as: str
    is_bridged: bool
    is_ethernet: bool


class _Found(NamedTuple):
    number: int
    kind: int
    flags: int
    name: str
    bridge: int  # 0: it is no port of one


def inlets() -> list[IngressLink]:
    """Every link by which packets can come from elsewhere; raises OSError."""
    with Netlink(ROUTE) as kernel:
        found = [_read(one) for one in kernel.dump(_GET_LINK, bytes(_HEADER.size))]
    names = {one.number: one.name for one in found}
    return [
        IngressLink(
            one.number, names.get(one.bridge, one.name), bool(one.bridge), one.kind == _ETHERNET
        )
        for one in found
        if not one.flags & _LOOPBACK
    ]


def _read(message: bytes) -> _Found:
    _family, kind, number, flags, _change = _HEADER.unpack_from(message)
    parts = attributes(message[_HEADER.size :])
    slave = attributes(parts.get(_INFO, b"")).get(_SLAVE_KIND, b"")
    bridge = int.from_bytes(parts.get(_MASTER, b""), sys.byteorder) if slave == b"bridge\0" else 0
    return _Found(number, kind, flags, parts[_NAME].rstrip(b"\0").decode(errors="replace"), bridge)


class LinkListener:
    """Hears of links in the network namespace where it was made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, _LINK_EVENTS))

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def heard(self) -> bool:
        """Whether anything happened since the last call."""
        return any([True for _ in self._drain()])

    def _drain(self) -> Iterator[None]:
        while True:
            try:
                self._socket.recv(_RECEIVE)
            except BlockingIOError:
                return
            except OSError as err:
                if err.errno != errno.ENOBUFS:  # more than there was room for
                    raise
            yield None
