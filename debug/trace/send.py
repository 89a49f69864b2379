"""Building the probe with scapy, and sending it from a network namespace (raw(7))."""

import socket
from contextlib import ExitStack
from typing import Any

from debug.trace.packet import Packet
from debug.trace.probe import DNS_PORT, Probe

_IPV6_HEADER_INCLUDED = 36  # IPV6_HDRINCL: linux/in6.h
_WINDOW = 64240
_QUESTION = bytes.fromhex("0001 0000 0000 0000 00 0002 0001")  # the name servers of the root


def build(probe: Probe) -> bytes:
    """Return the first packet, from its IP header on."""
    # scapy takes longer to import than all else; who only looks at an option does not need it
    from scapy.compat import raw
    from scapy.packet import Raw

    mark = probe.mark.to_bytes(4, "big")
    if probe.flow.protocol == "udp" and probe.flow.destination_port == DNS_PORT:
        mark += _QUESTION
    protocol = probe.flow.protocol
    above = _above(probe) if protocol == "tcp" else _above(probe) / Raw(mark)
    packet = _ip(probe) / above
    missing = probe.size - len(packet)
    if missing > 0:
        packet = packet / Raw(bytes(missing))
    return bytes(raw(packet))


def answer(probe: Probe, heard: Packet, flags: str) -> bytes:
    """Return a later packet of the handshake, which answers what was heard."""
    from scapy.compat import raw
    from scapy.layers.inet import TCP

    took = (
        (heard.sequence or 0) + ("SYN" in heard.kind) + ("FIN" in heard.kind) + len(heard.payload)
    )
    header = TCP(
        sport=probe.flow.source_port,
        dport=probe.flow.destination_port,
        seq=heard.acknowledged,
        ack=took & 0xFFFFFFFF,
        flags=flags,
        window=_WINDOW,
    )
    return bytes(raw(_ip(probe) / header))


def _ip(probe: Probe) -> Any:
    flow = probe.flow
    if probe.version == 6:
        from scapy.layers.inet6 import IPv6

        return IPv6(src=flow.source, dst=flow.destination, hlim=probe.hops)
    from scapy.layers.inet import IP

    identification = probe.mark >> 4 & 0xFFFF or 1
    flags = 0 if probe.fragment else "DF"
    return IP(src=flow.source, dst=flow.destination, ttl=probe.hops, id=identification, flags=flags)


def _above(probe: Probe) -> Any:
    from scapy.layers.inet import ICMP, TCP, UDP

    flow = probe.flow
    if flow.protocol == "udp":
        return UDP(sport=flow.source_port, dport=flow.destination_port)
    if flow.protocol == "icmp":
        return ICMP(type=8, id=probe.mark & 0xFFFF, seq=1)
    if flow.protocol == "icmpv6":
        from scapy.layers.inet6 import ICMPv6EchoRequest

        return ICMPv6EchoRequest(id=probe.mark & 0xFFFF, seq=1)
    return TCP(
        sport=flow.source_port,
        dport=flow.destination_port,
        seq=probe.mark,
        flags="S",
        window=_WINDOW,
        options=[("MSS", 1460)],
    )


class Sender:
    """A raw socket of the namespace where it was made: its packets pass the output hooks."""

    def __init__(self, probe: Probe) -> None:
        """Raises OSError."""
        family = socket.AF_INET6 if probe.version == 6 else socket.AF_INET
        self._undo = ExitStack()
        with ExitStack() as undo:
            self._socket = undo.enter_context(
                socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            )
            if probe.version == 6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_HEADER_INCLUDED, 1)
            if probe.flow.protocol == "udp":  # else the kernel would refuse the answer
                receiver = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                receiver.bind((probe.flow.source, probe.flow.source_port))
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Close the sockets."""
        self._undo.close()

    def send(self, packet: bytes, destination: str) -> None:
        """Send a packet that begins with its IP header. Raises OSError, as a program would see."""
        self._socket.sendto(packet, (destination, 0))


def source_address(destination: str) -> str:
    """Return the address that this namespace uses towards a destination. Raises OSError."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.connect((destination, 9))  # sends nothing
        return str(asking.getsockname()[0])


def free_port() -> int:
    """Return a port of this namespace that no program uses now. Raises OSError."""
    with _any_socket() as asking:
        asking.bind(("", 0))
        return int(asking.getsockname()[1])


def _any_socket() -> socket.socket:
    """Return a socket of both families; of IPv4 alone where the kernel has no IPv6."""
    try:
        return socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    except OSError:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
