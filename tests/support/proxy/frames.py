"""Packets for the ebpf backend's program."""

from itertools import count

from hypothesis import HealthCheck, settings
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

_ports = count(20000)


def ip(source: str, whom: str, **fields) -> Packet:
    kind = IPv6 if ":" in whom else IP
    return kind(src=source, dst=whom, **fields)


def syn(port: int = 80, flags: str = "S") -> Packet:
    return TCP(sport=next(_ports), dport=port, flags=flags)


def datagram(port: int = 80) -> Packet:
    return UDP(sport=next(_ports), dport=port) / b"?"


seldom = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
