"""Asks the kernel's connection tracking for single entries.

An object belongs to the network namespace that its thread was in when it was made.
"""

from ipaddress import ip_address

from debug.kernel.conntrack import Direction, Tracked, find
from debug.ruleset.packet import ICMP, ICMP6, Entry, Packet, Tuple
from debug.ruleset.registers import UnknownError
from proxy.linux.netlink import NETFILTER, Netlink

_ANSWERS = {(ICMP, 8): 0, (ICMP, 0): 8, (ICMP6, 128): 129, (ICMP6, 129): 128}


class KernelConnections:
    """The connections that one network namespace tracks. Implements packet.Connections."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETFILTER)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def find(self, packet: Packet, wanted: Tuple, *, answer: bool = False) -> Entry | None:
        """Return the entry that has these ends; of the packet's protocol, or of its answer's.

        Raises UnknownError.
        """
        kind = kind_asked(packet, answer=answer)
        ends = Direction(*_addresses(wanted), wanted.source_port, wanted.destination_port)
        if packet.protocol in (ICMP, ICMP6):
            ends = Direction(*_addresses(wanted), wanted.source_port, kind=kind)
        try:
            found = find(self._netlink, packet.protocol, ends)
        except OSError as err:
            raise UnknownError(f"conntrack's table cannot be read: {err.strerror}") from err
        return entry_of(found) if found else None


def kind_asked(packet: Packet, *, answer: bool) -> int:
    """Return the type of an ICMP packet, or of its answer; 0 of other packets."""
    if packet.protocol not in (ICMP, ICMP6):
        return 0
    kind = packet.transport[0]
    return _ANSWERS.get((packet.protocol, kind), kind) if answer else kind


def _addresses(ends: Tuple) -> tuple[str, str]:
    return str(ip_address(ends.source)), str(ip_address(ends.destination))


def entry_of(flow: Tracked) -> Entry:
    """Return a flow in the form in which rules ask for it."""
    original, reply = (_tuple(flow, one) for one in (flow.original, flow.reply))
    return Entry(original, reply, flow.status, flow.mark, flow.state, flow.closing, flow.timeout)


def _tuple(flow: Tracked, ends: Direction) -> Tuple:
    last = ends.source_port if flow.number in (ICMP, ICMP6) else ends.destination_port
    addresses = ip_address(ends.source).packed, ip_address(ends.destination).packed
    return Tuple(*addresses, ends.source_port, last)
