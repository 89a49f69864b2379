"""The interfaces of this network namespace, and the kernel's events about them (rtnetlink)."""

import errno
import socket
import struct
import sys
from contextlib import closing
from typing import NamedTuple

from proxy.linux.netlink import ROUTE, Netlink, attribute, attributes, consistent, nested, text

# linux/rtnetlink.h, linux/if_link.h and linux/if_arp.h
_NEW_LINK, _GET_LINK = 16, 18
_LINK_EVENTS, _ADDRESS_EVENTS = 0x1, 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, ..V6..
_ADDRESS, _NAME, _MASTER, _INFO = 1, 3, 10, 18
_INFO_KIND, _INFO_DATA, _SLAVE_KIND = 1, 2, 4
_CALL_IPTABLES, _CALL_IP6TABLES = 36, 37  # IFLA_BR_NF_CALL_…
_HEADER = struct.Struct("=BxHiII")  # struct ifinfomsg
_ETHERNET = 1  # ARPHRD_ETHER
_LOOPBACK = 0x8  # IFF_LOOPBACK
_RECEIVE = 1 << 16
_BRIDGE = "bridge"


class Link(NamedTuple):
    """An interface.

    ``bridge`` is the index of the bridge whose port it is, 0 if of none. ``is_filtered`` tells of a
    bridge whether it passes its frames to the rules of netfilter, IPv4's and IPv6's; it is empty of
    all other interfaces, and where the kernel's bridges cannot.
    """

    number: int
    name: str
    mac: bytes
    bridge: int
    is_bridge: bool
    is_ethernet: bool
    is_loopback: bool
    is_filtered: tuple[bool, ...]


def all_links() -> list[Link]:
    """Return every interface of this network namespace. Raises OSError."""
    with closing(Netlink(ROUTE)) as netlink:
        messages = consistent(lambda: list(netlink.dump(_GET_LINK, bytes(_HEADER.size))))
    return [_read(message) for message in messages]


def filter_bridge(bridge: Link, filtered: bool) -> None:
    """Have a bridge pass its frames to netfilter's rules, or not, for both families.

    This is the bridge's own setting, beside the one of its network namespace (the sysctls
    ``net.bridge.bridge-nf-call-…``): either suffices. Raises OSError.
    """
    calls = (attribute(kind, bytes([filtered])) for kind in (_CALL_IPTABLES, _CALL_IP6TABLES))
    kind = attribute(_INFO_KIND, _BRIDGE.encode())
    body = _HEADER.pack(0, 0, bridge.number, 0, 0) + nested(
        _INFO, (kind, nested(_INFO_DATA, calls))
    )
    with closing(Netlink(ROUTE)) as netlink:
        netlink.request(_NEW_LINK, body)


def _read(message: bytes) -> Link:
    _family, kind, number, flags, _change = _HEADER.unpack_from(message)
    parts = attributes(message[_HEADER.size :])
    info = attributes(parts.get(_INFO, b""))
    is_port = text(info.get(_SLAVE_KIND, b"")) == _BRIDGE
    is_bridge = text(info.get(_INFO_KIND, b"")) == _BRIDGE
    return Link(
        number,
        text(parts[_NAME]),
        parts.get(_ADDRESS, b""),
        int.from_bytes(parts.get(_MASTER, b""), sys.byteorder) if is_port else 0,
        is_bridge,
        kind == _ETHERNET,
        bool(flags & _LOOPBACK),
        _calls(info.get(_INFO_DATA, b"")) if is_bridge else (),
    )


def _calls(data: bytes) -> tuple[bool, ...]:
    settings = attributes(data)
    return tuple(
        settings[one] != b"\0" for one in (_CALL_IPTABLES, _CALL_IP6TABLES) if one in settings
    )


class LinkListener:
    """Receives events about interfaces, or also about their addresses, in the network namespace
    where it was made.
    """

    def __init__(self, *, addresses: bool = False) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, _LINK_EVENTS | (_ADDRESS_EVENTS if addresses else 0)))

    def fileno(self) -> int:
        """Return the socket's descriptor, for selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def has_events(self) -> bool:
        """Return True if events came since the last call. Raises OSError."""
        found = False
        while True:
            try:
                self._socket.recv(_RECEIVE)
            except BlockingIOError:
                return found
            except OSError as err:
                if err.errno != errno.ENOBUFS:  # events were lost, so some came
                    raise
            found = True
