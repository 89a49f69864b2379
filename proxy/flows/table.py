"""The kernel's connection tracking table: its flows, and their removal (ctnetlink)."""

import errno
import struct
from collections.abc import Iterator
from contextlib import closing

from proxy.flows.stale import Flow, FlowPeer
from proxy.linux.netlink import NETFILTER, Netlink, attribute, attributes, nested, netfilter_header
from proxy.model.values import PROTOCOL_NUMBERS, Family, Protocol

_GET, _DELETE = 0x101, 0x102  # ctnetlink: subsystem 1, IPCTNL_MSG_CT_GET and _DELETE
# linux/netfilter/nfnetlink_conntrack.h
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_PROTO_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_FILTER_ORIG_FLAGS, _BY_PROTOCOL = 1, 1 << 3
_IP = {Family.V4: (1, 2), Family.V6: (3, 4)}  # source, destination


def flows(family: Family, protocol: Protocol) -> Iterator[Flow]:
    """Yield every tracked flow of one family and protocol, which the kernel filters by (Linux 5.8).

    Raises OSError.
    """
    number = attribute(_PROTO_NUMBER, bytes([PROTOCOL_NUMBERS[protocol]]))
    body = (
        netfilter_header(family)
        + nested(_TUPLE_ORIG, [nested(_TUPLE_PROTO, [number])])
        + nested(_FILTER, [attribute(_FILTER_ORIG_FLAGS, struct.pack("=I", _BY_PROTOCOL))])
    )
    with closing(Netlink(NETFILTER)) as netlink:
        for message in netlink.dump(_GET, body):
            yield _flow(family, attributes(message[4:]))


def end(family: Family, stale: list[Flow]) -> None:
    """Remove flows. A flow that has ended meanwhile is no error. Raises OSError."""
    with closing(Netlink(NETFILTER)) as netlink:
        for flow in stale:
            try:
                netlink.request(_DELETE, netfilter_header(family) + flow.handle)
            except OSError as err:
                if err.errno != errno.ENOENT:
                    raise


def _flow(family: Family, parts: dict[int, bytes]) -> Flow:
    """Make a flow of a message's attributes.

    Its ID, zone and original tuple identify it to the kernel.
    """
    called = _peer(family, parts[_TUPLE_ORIG], source=False)
    answering = _peer(family, parts[_TUPLE_REPLY], source=True)
    identifying = ((_TUPLE_ORIG, 0x8000), (_ID, 0), (_ZONE, 0))
    handle = b"".join(
        attribute(kind | flag, parts[kind]) for kind, flag in identifying if kind in parts
    )
    return Flow(called, answering, handle)


def _peer(family: Family, data: bytes, *, source: bool) -> FlowPeer:
    parts = attributes(data)
    address = attributes(parts[_TUPLE_IP])[_IP[family][0 if source else 1]]
    port = attributes(parts[_TUPLE_PROTO])[_SOURCE_PORT if source else _DESTINATION_PORT]
    return FlowPeer(address, int.from_bytes(port, "big"))
