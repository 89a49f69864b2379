"""Conntrack's events: connections that it began to track, and the NAT that it made for them."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from debug.kernel import conntrack
from debug.kernel.conntrack import Direction, Happening, Tracked
from debug.trace.filters import EVERYTHING, attach
from debug.trace.packet import NAMES, Flow
from debug.trace.watch.taps import MOST_AT_ONCE
from proxy.linux.listener import NetfilterListener
from proxy.linux.netlink import NETFILTER, Netlink

_GROUP = 1  # NFNLGRP_CONNTRACK_NEW
_NUMBERS = {name: number for number, name in NAMES.items()}
_WITHOUT_PORTS = ("icmp", "icmpv6")


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
    """Receives new connections of the network namespace where it was made. Raises OSError.

    ``program`` is a filter (classic BPF): the kernel copies no others.
    """

    def __init__(self, program: bytes = EVERYTHING) -> None:
        super().__init__()
        try:
            attach(self._socket, program)
            self.join(_GROUP)
        except OSError:
            self.close()
            raise

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
    ends = Direction(flow.source, flow.destination, flow.source_port, flow.destination_port)
    try:
        with closing(Netlink(NETFILTER)) as netlink:
            found = conntrack.find(netlink, _NUMBERS[flow.protocol], ends)
    except OSError:
        return None  # there is no conntrack
    return replace(_connection(found), heard=False) if found else None


def decode(data: bytes) -> Iterator[Connection]:
    """Yield the connections in received data; those that have no two ends are passed over."""
    for happening, flow in conntrack.happenings(data):
        if happening is not Happening.END:
            yield _connection(flow)


def _connection(flow: Tracked) -> Connection:
    protocol = flow.protocol.lower()
    return Connection(_flow(protocol, flow.original), _flow(protocol, flow.reply))


def _flow(protocol: str, ends: Direction) -> Flow:
    ports = (ends.source_port, ends.destination_port)
    if protocol in _WITHOUT_PORTS:
        return Flow(protocol, ends.source, ends.destination)
    return Flow(protocol, ends.source, ends.destination, *ports)
