"""Notices when another program changes what the node network has set up.

The kernel tells of each change of links, addresses, routes, neighbors and nftables. Only changes of
our own objects count, so that a node whose Pods come and go does not look at everything each time.
Source: rtnetlink(7); include/uapi/linux of Linux 6.18: rtnetlink.h, neighbour.h, netconf.h,
netfilter/nfnetlink.h, netfilter/nf_tables.h.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

from control.node_network.plan import DEVICE, PROTOCOL
from control.node_network.render import TABLE

_SETTLE_SECONDS = 0.2  # one look for changes that come together
_NETLINK_NETFILTER = 12
# RTMGRP_LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE of the old bit mask
_ROUTE_GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400
_NETCONF_GROUPS = (24, 25)  # RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF
_NFTABLES_GROUP = 7  # NFNLGRP_NFTABLES
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
_LONGEST = 1 << 18

_NEWLINK, _DELLINK, _NEWADDR, _DELADDR, _NEWROUTE, _DELROUTE = 16, 17, 20, 21, 24, 25
_DELNEIGH, _NEWNETCONF = 29, 80
_REPLACED = 0x100  # NLM_F_REPLACE: the route that was there is gone
_IFLA_IFNAME, _NETCONFA_IFINDEX, _ALL_INTERFACES = 3, 1, -1
_INDEX_AT = 4  # in ifinfomsg, ifaddrmsg and ndmsg alike
_PROTOCOL_AT, _TYPE_AT = 5, 7  # in rtmsg
_KERNEL, _UNICAST = 2, 1  # RTPROT_KERNEL, RTN_UNICAST
_SIZES = {_NEWLINK: 16, _DELLINK: 16, _NEWNETCONF: 4}
_NFT_TABLE_NAME = 1  # the first attribute of a table's, a chain's and a rule's message


class DriftListener:
    """Calls ``changed`` in the running event loop soon after somebody changed our objects.

    It hears the network namespace of the thread that makes it. Our own changes count too: the look
    that follows finds nothing to do.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._index = 0
        self._pending: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._sockets = [_listen(0, _ROUTE_GROUPS, _NETCONF_GROUPS)]
        with suppress(OSError):  # a kernel without nf_tables; the sync says what it lacks
            self._sockets.append(_listen(_NETLINK_NETFILTER, 0, (_NFTABLES_GROUP,)))
        for number, heard in enumerate(self._sockets):
            self._loop.add_reader(heard, self._hear, heard, number == 0)

    def close(self) -> None:
        """Stop."""
        for heard in self._sockets:
            self._loop.remove_reader(heard)
            heard.close()
        if self._pending:
            self._pending.cancel()

    def _hear(self, heard: socket.socket, is_route: bool) -> None:
        try:
            data = heard.recv(_LONGEST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as err:
            if err.errno != errno.ENOBUFS:  # with it messages are lost: any may have been ours
                raise
            self._wake()
            return
        for kind, flags, body in messages(data):
            ours = self._is_route_drift(kind, flags, body) if is_route else is_table_drift(body)
            if ours:
                self._wake()

    def _is_route_drift(self, kind: int, flags: int, body: bytes) -> bool:
        if kind in {_NEWLINK, _DELLINK} and is_device(kind, body):
            (self._index,) = struct.unpack_from("=i", body, _INDEX_AT)
        return is_route_drift(kind, flags, body, self._index)

    def _wake(self) -> None:
        if self._pending is None:
            self._pending = self._loop.call_later(_SETTLE_SECONDS, self._tell)

    def _tell(self) -> None:
        self._pending = None
        self._changed()


def is_device(kind: int, body: bytes) -> bool:
    """Return true if a link's message is about the tunnel device."""
    name = _attributes(body, _SIZES[kind]).get(_IFLA_IFNAME, b"")
    return name.rstrip(b"\0") == DEVICE.encode()


def is_route_drift(kind: int, flags: int, body: bytes, device: int) -> bool:
    """Return true if an rtnetlink message may be about our objects; ``device`` is an index."""
    if kind in {_NEWLINK, _DELLINK}:
        return is_device(kind, body)
    if kind == _DELROUTE:
        return body[_PROTOCOL_AT] == PROTOCOL
    if kind == _NEWROUTE:
        replaced = bool(flags & _REPLACED)
        return replaced or body[_PROTOCOL_AT] == PROTOCOL or _is_link_back(body)
    if kind in {_NEWADDR, _DELADDR, _DELNEIGH}:
        return device != 0 and struct.unpack_from("=i", body, _INDEX_AT) == (device,)
    if kind == _NEWNETCONF:  # forwarding, of all interfaces
        index = _attributes(body, _SIZES[kind]).get(_NETCONFA_IFINDEX, b"\0\0\0\0")
        return struct.unpack("=i", index) == (_ALL_INTERFACES,)
    return False


def _is_link_back(body: bytes) -> bool:
    """Return true for the route of a link's own IPv4 network.

    The kernel enters it when a link comes up. What it deleted when the link went down, our routes
    over it among them, it told nobody (IPv6 has notices).
    """
    family, protocol, kind = body[0], body[_PROTOCOL_AT], body[_TYPE_AT]
    return (family, protocol, kind) == (socket.AF_INET, _KERNEL, _UNICAST)


def is_table_drift(body: bytes) -> bool:
    """Return true if an nftables message is about our table."""
    name = _attributes(body, 4).get(_NFT_TABLE_NAME, b"")
    return name.rstrip(b"\0") == TABLE.encode()


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The type, flags and body of each netlink message."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, flags, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _attributes(data: bytes, at: int) -> dict[int, bytes]:
    found = {}
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def _listen(protocol: int, groups: int, more: tuple[int, ...]) -> socket.socket:
    heard = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    try:
        heard.bind((0, groups))
        for group in more:
            heard.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    except OSError:
        heard.close()
        raise
    return heard
