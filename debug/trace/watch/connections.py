"""Conntrack's events: connections that it began to track, and the NAT that it made for them.

Source: linux/netfilter/nfnetlink_conntrack.h.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from ipaddress import ip_address

from debug.trace.packet import ICMP, ICMP6, NAMES, Flow
from debug.trace.watch.taps import MOST_AT_ONCE
from proxy.linux.listener import NetfilterListener
from proxy.linux.netlink import (
    NETFILTER,
    Netlink,
    attribute,
    attributes,
    messages,
    nested,
)

_GROUP = 1  # NFNLGRP_CONNTRACK_NEW
_NEW = 1 << 8  # subsystem ctnetlink, IPCTNL_MSG_CT_NEW
_GET = 1 << 8 | 1  # IPCTNL_MSG_CT_GET
_ORIGINAL, _REPLY = 1, 2  # CTA_TUPLE_*


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection: the flow as its first packet came, and the flow that its answers have."""

    original: Flow
    reply: Flow
    heard: bool = True  # its event was heard; else it was found in the table afterwards

    @property
    def translated(self) -> bool:
        """True if there is NAT."""
        return self.original.reverse != self.reply


class ConnectionListener(NetfilterListener):
    """Receives new connections of the network namespace where it was made. Raises OSError."""

    def __init__(self) -> None:
        super().__init__((_GROUP,))

    def read(self) -> list[Connection]:
        """Return connections since the last call; the others next time. Raises OSError."""
        found: list[Connection] = []
        for data in self.receive(MOST_AT_ONCE):
            found += decode(data)
        return found


def find(flow: Flow) -> Connection | None:
    """Look up a connection of this thread's network namespace by the flow of its first packet.

    An eBPF program may have made it, for which the kernel has no event. ICMP's have numbers that a
    flow does not tell.
    """
    if flow.source_port is None or flow.destination_port is None:
        return None
    try:
        with closing(Netlink(NETFILTER)) as netlink:
            found = netlink.get(_GET, _question(flow))
    except OSError:
        return None  # there is none, or no conntrack
    one = _connection(attributes(found[4:]))
    return one and replace(one, heard=False)


def _question(flow: Flow) -> bytes:
    numbers = {name: number for number, name in NAMES.items()}
    ends = [ip_address(flow.source), ip_address(flow.destination)]
    first = 1 if ends[0].version == 4 else 3
    addresses = [attribute(first + at, one.packed) for at, one in enumerate(ends)]
    ports = (flow.source_port or 0, flow.destination_port or 0)
    protocol = [attribute(1, bytes([numbers[flow.protocol]]))]
    protocol += [attribute(2 + at, struct.pack("!H", port)) for at, port in enumerate(ports)]
    family = socket.AF_INET if first == 1 else socket.AF_INET6
    header = struct.pack("=BBH", family, 0, 0)
    return header + nested(_ORIGINAL, [nested(1, addresses), nested(2, protocol)])


def decode(data: bytes) -> Iterator[Connection]:
    """Yield the connections in received data; those that have no two ends are passed over."""
    for message in messages(data):
        if message.kind == _NEW and (one := _connection(attributes(message.body[4:]))):
            yield one


def _connection(parts: dict[int, bytes]) -> Connection | None:
    if _ORIGINAL not in parts or _REPLY not in parts:
        return None
    original, reply = _flow(parts[_ORIGINAL]), _flow(parts[_REPLY])
    return Connection(original, reply) if original and reply else None


def _flow(data: bytes) -> Flow | None:
    parts = attributes(data)
    ends, protocol = attributes(parts.get(1, b"")), attributes(parts.get(2, b""))
    source, destination = (ends.get(one) or ends.get(one + 2, b"") for one in (1, 2))
    number = int.from_bytes(protocol.get(1, b""), "big")
    if len(source) not in (4, 16) or len(source) != len(destination):
        return None
    ports: tuple[int | None, ...] = tuple(
        int.from_bytes(protocol[kind], "big") if kind in protocol else None for kind in (2, 3)
    )
    if number in (ICMP, ICMP6):
        ports = (None, None)
    ends_shown = str(ip_address(source)), str(ip_address(destination))
    return Flow(NAMES.get(number, str(number)), *ends_shown, *ports)
