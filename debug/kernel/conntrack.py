"""Connection tracking of the calling thread's network namespace: its table, and its events.

Source: linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_tcp.h, nf_conntrack_common.h. pyroute2
takes a second for 10,000 entries, this a fraction.
"""

import errno
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from enum import StrEnum
from ipaddress import ip_address

from msgspec import Struct

from proxy.linux.listener import NetfilterListener
from proxy.linux.netlink import (
    NETFILTER,
    Message,
    Netlink,
    attribute,
    attributes,
    messages,
    nested,
    netfilter_header,
)
from proxy.model.values import Family, family_of

_GROUPS = (1, 2, 3)  # NFNLGRP_CONNTRACK_NEW, _UPDATE, _DESTROY
_GET, _NEW, _DELETE = 0x101, 0x100, 0x102
_CREATED = 0x400 | 0x200  # NLM_F_CREATE, NLM_F_EXCL: of an entry that is new
_ORIGINAL, _REPLY, _STATUS, _INFO, _TIMEOUT, _MARK = 1, 2, 3, 4, 7, 8  # CTA_…
_COUNTED, _COUNTED_BACK, _ID, _ZONE, _FILTER = 9, 10, 12, 18, 25
_BY_PROTOCOL = 1 << 3  # CTA_FILTER_F_CTA_PROTO_NUM
_SEEN_REPLY, _ASSURED, _SOURCE_NAT, _DESTINATION_NAT = 1 << 1, 1 << 2, 1 << 4, 1 << 5  # IPS_…
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP", 33: "DCCP", 47: "GRE"}
_NUMBERS = {name: number for number, name in _PROTOCOLS.items()}
_TCP_INFO, _TCP_FLAGS, _CLOSE_INIT = 1, (4, 5), 0x04  # IP_CT_TCP_FLAG_CLOSE_INIT
_ICMP_PARTS = {1: (4, 5, 6), 58: (7, 8, 9)}  # CTA_PROTO_ICMP_ID, _TYPE, _CODE, _ICMPV6_...
_STATES: Mapping[int, tuple[str, ...]] = {  # by the attribute of a protocol's own information
    1: (
        *("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK"),
        *("TIME_WAIT", "CLOSE", "SYN_SENT2"),
    ),
    3: (
        *("NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT"),
        *("SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT"),
    ),
}


class Direction(Struct, frozen=True, omit_defaults=True):
    """One direction of a flow. ICMP has an ID as its source port, no destination port.

    ``packets`` and ``bytes`` are None where the kernel does not count
    (net.netfilter.nf_conntrack_acct).
    """

    source: str
    destination: str
    source_port: int = 0
    destination_port: int = 0
    packets: int | None = None
    bytes: int | None = None
    kind: int = 0  # the type of ICMP


class Tracked(Struct, frozen=True, omit_defaults=True):
    """A tracked flow. ``state`` is of TCP and SCTP; it has ``timeout`` seconds left."""

    id: int
    protocol: str
    original: Direction
    reply: Direction
    state: str = ""
    timeout: int = 0
    replied: bool = False
    assured: bool = False  # it is not the first to go when the table is full
    translated: bool = False  # its destination was changed
    masqueraded: bool = False  # its source was
    mark: int = 0
    zone: int = 0
    status: int = 0  # the kernel's own bits, IPS_...
    closing: bool = False  # of TCP: one end has begun to close it in order

    @property
    def number(self) -> int:
        """The number of its protocol."""
        return _NUMBERS.get(self.protocol) or int(self.protocol)


class Happening(StrEnum):
    """What an event says of a flow."""

    NEW = "new"
    UPDATE = "update"
    END = "end"


def table(protocol: int = 0) -> Iterator[Tracked]:
    """Yield every flow, of both families, as the kernel gives them. Raises OSError.

    By a protocol's number the kernel filters (Linux 5.8).
    """
    asked = b""
    if protocol:
        number = nested(2, [attribute(1, bytes([protocol]))])
        filtered = attribute(1, _BY_PROTOCOL.to_bytes(4, sys.byteorder))
        asked = nested(_ORIGINAL, [number]) + nested(_FILTER, [filtered])
    for family in Family:
        with closing(Netlink(NETFILTER)) as netlink:
            for body in netlink.dump(_GET, netfilter_header(family) + asked):
                flow = _flow(body)
                if flow is not None:
                    yield flow


def find(netlink: Netlink, protocol: int, ends: Direction) -> Tracked | None:
    """Return the flow that has these ends in one of its directions; None if there is none.

    Raises OSError.
    """
    try:
        return _flow(netlink.get(_GET, _question(protocol, ends)))
    except OSError as err:
        if err.errno == errno.ENOENT:
            return None
        raise


def _question(protocol: int, ends: Direction) -> bytes:
    first, last = ip_address(ends.source), ip_address(ends.destination)
    family = family_of(first)
    at = 1 if family is Family.V4 else 3  # CTA_IP_V4_SRC, CTA_IP_V6_SRC
    addresses = [attribute(at, first.packed), attribute(at + 1, last.packed)]
    parts = [attribute(1, bytes([protocol])), *_numbers_of(protocol, ends)]
    return netfilter_header(family) + nested(_ORIGINAL, [nested(1, addresses), nested(2, parts)])


def _numbers_of(protocol: int, ends: Direction) -> Iterator[bytes]:
    """Yield what tells flows of the same addresses apart: ports, or ICMP's identifier."""
    first = ends.source_port.to_bytes(2, "big")
    if protocol not in _ICMP_PARTS:
        yield attribute(2, first)
        yield attribute(3, ends.destination_port.to_bytes(2, "big"))
        return
    identity, kind, code = _ICMP_PARTS[protocol]
    yield attribute(identity, first)
    yield attribute(kind, bytes([ends.kind]))
    yield attribute(code, b"\0")


class FlowListener(NetfilterListener):
    """Receives the events of the network namespace where it was made. Raises OSError.

    Flows that began before anybody listened have no events, nor have those that eBPF programs
    enter.
    """

    def __init__(self) -> None:
        super().__init__(_GROUPS)

    def read(self) -> Iterator[tuple[Happening, Tracked]]:
        """Yield the events of one batch; none if nothing waits. Raises OSError."""
        for data in self.receive(1):
            yield from happenings(data)


def happenings(data: bytes) -> Iterator[tuple[Happening, Tracked]]:
    """Yield the events in received data; flows that have no two ends are passed over."""
    for message in messages(data):
        flow = _flow(message.body)
        if flow is not None and message.kind in (_NEW, _DELETE):
            yield _happening(message), flow


def _happening(message: Message) -> Happening:
    if message.kind == _DELETE:
        return Happening.END
    return Happening.NEW if message.flags & _CREATED else Happening.UPDATE


def _flow(body: bytes) -> Tracked | None:
    """Return a message's flow; None if it has no two ends."""
    parts = attributes(body[4:])
    if _ORIGINAL not in parts or _REPLY not in parts:
        return None
    protocol, original = _direction(parts[_ORIGINAL], parts.get(_COUNTED))
    _, reply = _direction(parts[_REPLY], parts.get(_COUNTED_BACK))
    if original is None or reply is None:
        return None
    status, info = _number(parts.get(_STATUS)), parts.get(_INFO, b"")
    return Tracked(
        _number(parts.get(_ID)),
        _PROTOCOLS.get(protocol, str(protocol)),
        original,
        reply,
        _state(info),
        _number(parts.get(_TIMEOUT)),
        bool(status & _SEEN_REPLY),
        bool(status & _ASSURED),
        bool(status & _DESTINATION_NAT),
        bool(status & _SOURCE_NAT),
        _number(parts.get(_MARK)),
        _number(parts.get(_ZONE)),
        status,
        _is_closing(info),
    )


def _direction(data: bytes, counted: bytes | None) -> tuple[int, Direction | None]:
    """Return a tuple's protocol and ends."""
    parts = attributes(data)
    ends, protocol = attributes(parts.get(1, b"")), attributes(parts.get(2, b""))
    source, destination = (ends.get(one) or ends.get(one + 2, b"") for one in (1, 2))
    if len(source) not in (4, 16) or len(source) != len(destination):
        return 0, None
    packets = size = None
    if counted is not None:
        counters = attributes(counted)
        packets, size = _number(counters.get(1)), _number(counters.get(2))
    number = _number(protocol.get(1))
    identity, kind, _ = _ICMP_PARTS.get(number, (2, 0, 0))
    return number, Direction(
        _address(source),
        _address(destination),
        _number(protocol.get(identity)),
        _number(protocol.get(3)),
        packets,
        size,
        _number(protocol.get(kind)),
    )


def _address(packed: bytes) -> str:
    return socket.inet_ntoa(packed) if len(packed) == 4 else str(ip_address(packed))


def _state(data: bytes) -> str:
    for kind, info in attributes(data).items():
        names = _STATES.get(kind, ())
        number = _number(attributes(info).get(1))
        if number < len(names):
            return names[number]
    return ""


def _is_closing(data: bytes) -> bool:
    """Return True if one end has sent a FIN first (struct nf_ct_tcp_flags: flags, mask)."""
    tcp = attributes(attributes(data).get(_TCP_INFO, b""))
    return any(tcp.get(kind, b"\0")[0] & _CLOSE_INIT for kind in _TCP_FLAGS)


def _number(data: bytes | None) -> int:
    return int.from_bytes(data, "big") if data else 0
