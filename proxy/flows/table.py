"""The kernel's connection tracking table: which flows there are, and how to end one."""

import errno
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from proxy.flows.stale import Flow, FlowPeer
from proxy.linux.netlink import NETFILTER, ROUTE, Netlink, attribute, attributes, nested
from proxy.model.values import Address, Family, Protocol

NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}  # IANA protocol numbers

_AF = {Family.V4: 2, Family.V6: 10}
_GET, _DELETE = 0x101, 0x102  # ctnetlink: subsystem 1, IPCTNL_MSG_CT_GET and _DELETE
_GET_ADDRESS = 22  # RTM_GETADDR
# linux/netfilter/nfnetlink_conntrack.h
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_PROTO_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_FILTER_ORIG_FLAGS, _BY_PROTOCOL = 1, 1 << 3
_IP = {Family.V4: (1, 2), Family.V6: (3, 4)}  # source, destination


def flows(family: Family, protocol: Protocol) -> Iterator[Flow]:
    """Every tracked flow of one family and protocol; raises OSError.

    The kernel filters by protocol (Linux 5.8).
    """
    number = attribute(_PROTO_NUMBER, bytes([NUMBERS[protocol]]))
    body = (
        _message(family)
        + nested(_TUPLE_ORIG, [nested(_TUPLE_PROTO, [number])])
        + nested(_FILTER, [attribute(_FILTER_ORIG_FLAGS, struct.pack("=I", _BY_PROTOCOL))])
    )
    with Netlink(NETFILTER) as kernel:
        for answer in kernel.dump(_GET, body):
            yield _flow(family, attributes(answer[4:]))


def end(family: Family, stale: list[Flow]) -> None:
    """Remove flows; those that have ended by themselves meanwhile are no fault. Raises OSError."""
    with Netlink(NETFILTER) as kernel:
        for flow in stale:
            try:
                kernel.request(_DELETE, _message(family) + flow.handle)
            except OSError as err:
                if err.errno != errno.ENOENT:
                    raise


def local_addresses() -> frozenset[Address]:
    """Every address of this network namespace; raises OSError."""
    with Netlink(ROUTE) as kernel:
        answers = list(kernel.dump(_GET_ADDRESS, bytes(8)))  # struct ifaddrmsg
    found = (attributes(answer[8:]) for answer in answers)
    return frozenset(
        ip_address(one.get(2) or one[1]) for one in found if 1 in one
    )  # LOCAL, ADDRESS


def _message(family: Family) -> bytes:
    return struct.pack("=BBH", _AF[family], 0, 0)  # struct nfgenmsg


def _flow(family: Family, found: dict[int, bytes]) -> Flow:
    called = _peer(family, found[_TUPLE_ORIG], source=False)
    answering = _peer(family, found[_TUPLE_REPLY], source=True)
    naming = ((_TUPLE_ORIG, 0x8000), (_ID, 0), (_ZONE, 0))
    handle = b"".join(attribute(kind | flag, found[kind]) for kind, flag in naming if kind in found)
    return Flow(called, answering, handle)


def _peer(family: Family, data: bytes, *, source: bool) -> FlowPeer:
    parts = attributes(data)
    address = attributes(parts[_TUPLE_IP])[_IP[family][0 if source else 1]]
    port = attributes(parts[_TUPLE_PROTO])[_SOURCE_PORT if source else _DESTINATION_PORT]
    return FlowPeer(address, int.from_bytes(port, "big"))
