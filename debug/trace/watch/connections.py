"""The entries of conntrack that packets belong to, and the NAT of each.

They are looked up once the packets have passed. Conntrack's events would tell as much, but where
anybody listens to them the kernel writes a message about every connection of the namespace, before
it asks for whom: that costs a new connection a twentieth of its time.
"""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

from debug.kernel import conntrack
from debug.kernel.conntrack import Direction, Tracked
from debug.trace.packet import NAMES, Flow, Packet
from proxy.linux.netlink import NETFILTER, Netlink

_NUMBERS = {name: number for number, name in NAMES.items()}
_ECHOES = {  # of ICMP: the type in a connection's ends
    **{("icmp", "echo request"): 8, ("icmp", "echo reply"): 0},
    **{("icmpv6", "echo request"): 128, ("icmpv6", "echo reply"): 129},
}


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection: the flow as its first packet came, and the flow that its answers have."""

    original: Flow
    reply: Flow

    @property
    def translated(self) -> bool:
        """True if there is NAT."""
        return self.original.reverse != self.reply


def find_all(packets: Iterable[Packet]) -> list[Connection]:
    """Return the connections of packets in this thread's network namespace, each once."""
    asked = dict.fromkeys(filter(None, map(_question, packets)))
    try:
        with closing(Netlink(NETFILTER)) as netlink:
            found = [conntrack.find(netlink, *one) for one in asked]
    except OSError:
        return []  # there is no conntrack
    return list(dict.fromkeys(_connection(one) for one in found if one))


def find(flow: Flow) -> Connection | None:
    """Look up a connection by a flow with ports, in either of its directions."""
    return next(iter(find_all([Packet(flow, 0, 0, 0)])), None)


def _question(packet: Packet) -> tuple[int, Direction] | None:
    """Return what conntrack is asked about a packet; None if it has no connection of its own."""
    flow = packet.flow
    if flow.source_port is not None and flow.destination_port is not None:
        ends = Direction(flow.source, flow.destination, flow.source_port, flow.destination_port)
        return _NUMBERS[flow.protocol], ends
    kind = _ECHOES.get((flow.protocol, packet.kind))
    if kind is None or packet.identifier is None:
        return None
    identifier = packet.identifier
    return _NUMBERS[flow.protocol], Direction(flow.source, flow.destination, identifier, kind=kind)


def _connection(flow: Tracked) -> Connection:
    protocol = flow.protocol.lower()
    return Connection(_flow(protocol, flow.original), _flow(protocol, flow.reply))


def _flow(protocol: str, ends: Direction) -> Flow:
    if protocol in ("icmp", "icmpv6"):
        return Flow(protocol, ends.source, ends.destination)
    return Flow(protocol, ends.source, ends.destination, ends.source_port, ends.destination_port)
