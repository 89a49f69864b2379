"""The probe: which packet is sent, and how it and its answers are known again on their way.

Its mark is 4 bytes that no translation of addresses changes: the first sequence number of TCP, so
that every packet of the connection tells which one it is, and the first bytes of the payload of
UDP and ICMP.
"""

import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from debug.trace.packet import Flow, Packet

DNS_PORT = 53
_RECURSION_DESIRED = 0x0100  # the flags of a query (RFC 1035)
ROOM = 16  # sequence numbers that a handshake may use


class Direction(StrEnum):
    """Of a packet: of the probe, or of what answers it."""

    FORWARD = "forward"
    REPLY = "reply"


@dataclass(frozen=True, slots=True)
class Probe:
    """What is sent from the source's namespace. ``flow`` is as the source sees it."""

    flow: Flow
    mark: int
    size: int = 0  # bytes of the whole IP packet; 0: as many as needed
    fragment: bool = False  # routers may fragment it
    hops: int = 64
    handshake: bool = False
    answer_ports: tuple[int, ...] = ()  # from which endpoints answer, if these are known

    @property
    def end(self) -> int:
        """The last number that belongs to the mark."""
        return self.mark + ROOM - 1

    @property
    def version(self) -> int:
        """The IP version."""
        return 6 if ":" in self.flow.destination else 4


@dataclass(frozen=True, slots=True)
class Identity:
    """Which packet it is, wherever it is seen: whatever was rewritten meanwhile."""

    direction: Direction
    name: str


class Recognizing(Protocol):
    """Tells which packet it is that was seen; None for one that does not matter."""

    def identify(self, packet: Packet) -> Identity | None: ...


def new_mark() -> int:
    """Return a mark that no other packet has, as far as chance allows."""
    return 0x10000000 + secrets.randbelow(0xC0000000) // ROOM * ROOM


def dns_mark() -> int:
    """Return a mark that is also the beginning of a DNS query, to which a server answers."""
    return (0x1000 + secrets.randbelow(0xC000)) << 16 | _RECURSION_DESIRED


@dataclass(slots=True)
class Recognizer:
    """Tells the probe and its answers from all other packets, and one from the other.

    Answers of UDP have no mark: they are known by the flows in which the probe was seen.
    """

    probe: Probe
    _seen: set[Flow] = field(default_factory=set)

    def identify(self, packet: Packet) -> Identity | None:
        """Return which packet of the probe this is; None if it is none of them."""
        if packet.inner is not None:
            return self.identify(packet.inner)
        if packet.quoted is not None:
            told = self.identify(packet.quoted)
            return told and Identity(Direction.REPLY, f"ICMP {packet.kind}")
        if packet.flow.protocol == "tcp":
            return self._tcp(packet)
        if int.from_bytes(packet.payload[:4], "big") == self.probe.mark and packet.payload[3:]:
            return self._marked(packet)
        if packet.flow.protocol == "udp" and packet.flow.reverse in self._seen:
            return Identity(Direction.REPLY, "UDP answer")
        return None

    def _tcp(self, packet: Packet) -> Identity | None:
        mark, end = self.probe.mark, self.probe.end
        name = f"TCP {packet.kind}" if packet.kind else "TCP"
        if packet.acknowledged is not None and mark < packet.acknowledged <= end:
            return Identity(Direction.REPLY, name)
        if packet.sequence is not None and mark <= packet.sequence <= end:
            return Identity(Direction.FORWARD, name)
        return None

    def _marked(self, packet: Packet) -> Identity:
        if packet.flow.protocol != "udp":
            answers = packet.kind == "echo reply"
            direction = Direction.REPLY if answers else Direction.FORWARD
            return Identity(direction, f"ICMP {packet.kind}")
        if packet.flow.reverse in self._seen:  # an echo server
            return Identity(Direction.REPLY, "UDP answer")
        self._seen.add(packet.flow)
        return Identity(Direction.FORWARD, "UDP")
