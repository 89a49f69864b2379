"""The interfaces of this network namespace, and the kernel's events about them (rtnetlink)."""

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

from proxy.linux.netlink import ROUTE, Netlink, attributes, consistent, text

# linux/rtnetlink.h and linux/if_link.h
_GET_LINK, _LINK_EVENTS = 18, 1  # RTM_GETLINK, RTMGRP_LINK
_NAME, _MASTER, _INFO, _SLAVE_KIND = 3, 10, 18, 4
_HEADER = struct.Struct("=BxHiII")  # struct ifinfomsg
_ETHERNET = 1  # ARPHRD_ETHER
_LOOPBACK = 0x8  # IFF_LOOPBACK
_RECEIVE = 1 << 16


class IngressLink(NamedTuple):
    """An interface by which packets come in.

    ``seen_as`` is the name that firewall rules see: of a bridge port, the bridge's name.
    """

    number: int
    seen_as: str
    is_bridged: bool
    is_ethernet: bool


class _LinkMessage(NamedTuple):
    """The parts of an RTM_NEWLINK message that matter here."""

    number: int
    kind: int
    flags: int
    name: str
    bridge: int  # its interface index; 0 if this is no bridge port


def ingress_links() -> list[IngressLink]:
    """Return every interface by which packets can come in from elsewhere. Raises OSError."""
    with closing(Netlink(ROUTE)) as netlink:
        messages = consistent(lambda: list(netlink.dump(_GET_LINK, bytes(_HEADER.size))))
    links = [_read(message) for message in messages]
    names = {link.number: link.name for link in links}
    return [
        IngressLink(
            link.number,
            names.get(link.bridge, link.name),
            bool(link.bridge),
            link.kind == _ETHERNET,
        )
        for link in links
        if not link.flags & _LOOPBACK
    ]


def _read(message: bytes) -> _LinkMessage:
    _family, kind, number, flags, _change = _HEADER.unpack_from(message)
    parts = attributes(message[_HEADER.size :])
    slave = attributes(parts.get(_INFO, b"")).get(_SLAVE_KIND, b"")
    bridge = int.from_bytes(parts.get(_MASTER, b""), sys.byteorder) if slave == b"bridge\0" else 0
    return _LinkMessage(number, kind, flags, text(parts[_NAME]), bridge)


class LinkListener:
    """Receives events about interfaces in the network namespace where it was made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, _LINK_EVENTS))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def has_events(self) -> bool:
        """Return True if events came since the last call. Raises OSError."""
        return any([True for _ in self._drain()])  # a list: read them all

    def _drain(self) -> Iterator[None]:
        while True:
            try:
                self._socket.recv(_RECEIVE)
            except BlockingIOError:
                return
            except OSError as err:
                if err.errno != errno.ENOBUFS:  # events were lost, so some came
                    raise
            yield None
