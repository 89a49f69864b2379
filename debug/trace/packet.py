"""A packet's headers, read from its bytes: IP, TCP, UDP, ICMP, and VXLAN with what is in it.

Source: RFC 791, 8200, 9293, 768, 792, 4443, 7348. Bytes are hostile: what is cut off is None.
"""

import struct
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
NAMES = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMP6: "icmpv6"}
TUNNEL_PORTS = (4789, 8472)  # of VXLAN: IANA's, and Linux's and flannel's
VXLAN_HEADERS = 8 + 8 + 14  # UDP, VXLAN, Ethernet
_ERRORS = {ICMP: (3, 4, 5, 11, 12), ICMP6: (1, 2, 3, 4)}
_ECHO = {(ICMP, 8): "echo request", (ICMP, 0): "echo reply"} | {
    (ICMP6, 128): "echo request",
    (ICMP6, 129): "echo reply",
}
_REASONS = {
    **{(ICMP, 3, 0): "network unreachable", (ICMP, 3, 1): "host unreachable"},
    **{(ICMP, 3, 3): "port unreachable", (ICMP, 3, 4): "fragmentation needed"},
    **{(ICMP, 3, 9): "network prohibited", (ICMP, 3, 10): "host prohibited"},
    **{(ICMP, 5, 0): "redirect of the network", (ICMP, 5, 1): "redirect"},
    **{(ICMP, 3, 13): "prohibited", (ICMP, 11, 0): "time to live exceeded"},
    **{(ICMP6, 1, 0): "no route", (ICMP6, 1, 1): "prohibited"},
    **{(ICMP6, 1, 3): "address unreachable", (ICMP6, 1, 4): "port unreachable"},
    **{(ICMP6, 2, 0): "packet too big", (ICMP6, 3, 0): "hop limit exceeded"},
}
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")


@dataclass(frozen=True, slots=True)
class Flow:
    """Two ends and a protocol. Ports are None where the protocol has none."""

    protocol: str
    source: str
    destination: str
    source_port: int | None = None
    destination_port: int | None = None

    @property
    def reverse(self) -> "Flow":
        """The flow of the answers."""
        ports = (self.destination_port, self.source_port)
        return Flow(self.protocol, self.destination, self.source, *ports)


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. ``payload`` is what follows the header of TCP, UDP or ICMP."""

    flow: Flow
    identification: int  # of IP; 0 for IPv6
    hops: int  # the TTL or hop limit
    length: int  # bytes, as the IP header says
    kind: str = ""  # TCP's flags such as "SYN", or what an ICMP message is
    sequence: int | None = None  # of TCP
    acknowledged: int | None = None  # of TCP
    identifier: int | None = None  # of an ICMP echo
    payload: bytes = b""
    inner: "Packet | None" = None  # in a tunnel
    quoted: "Packet | None" = None  # in an ICMP error


@dataclass(frozen=True, slots=True)
class _Ip:
    """An IP header. ``depth`` is 0 for a packet that is in no other one."""

    protocol: int
    source: str
    destination: str
    identification: int
    hops: int
    length: int
    depth: int

    def packet(self, ports: tuple[int, ...] = (), **above: Any) -> Packet:
        """Return the packet, with what is above."""
        flow = Flow(self.name, self.source, self.destination, *ports)
        return Packet(flow, self.identification, self.hops, self.length, **above)

    @property
    def name(self) -> str:
        """The protocol above."""
        return NAMES.get(self.protocol, str(self.protocol))


def parse(data: bytes, depth: int = 0) -> Packet | None:
    """Return a packet that begins with its IP header; None if these bytes are none."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        ends = (str(ip_address(data[12:16])), str(ip_address(data[16:20])))
        length, identification, fragment = struct.unpack_from("!HHH", data, 2)
        ip = _Ip(data[9], *ends, identification, data[8], length, depth)
        return _above(ip, b"" if fragment & 0x1FFF else data[(data[0] & 15) * 4 :])
    if version == 6 and len(data) >= 40:
        ends = (str(ip_address(data[8:24])), str(ip_address(data[24:40])))
        length = 40 + struct.unpack_from("!H", data, 4)[0]
        return _above(_Ip(data[6], *ends, 0, data[7], length, depth), data[40:])
    return None


def parse_parts(network: bytes, transport: bytes) -> Packet | None:
    """Return a packet of its network header and what follows, as trace events have them."""
    if network and network[0] >> 4 == 4:
        network = network[: (network[0] & 15) * 4]
    return parse(network + transport)


def _above(ip: _Ip, rest: bytes) -> Packet:
    """Read what is above IP."""
    if ip.protocol == TCP and len(rest) >= 8:
        return _tcp(ip, rest)
    if ip.protocol == UDP and len(rest) >= 8:
        return _udp(ip, rest)
    if ip.protocol in (ICMP, ICMP6) and len(rest) >= 8:
        return _icmp(ip, rest)
    return ip.packet(payload=rest)


def _tcp(ip: _Ip, rest: bytes) -> Packet:
    """Read a header of TCP, of which an ICMP error may quote only 8 bytes."""
    source, destination, sequence = struct.unpack_from("!HHI", rest)
    ports = (source, destination)
    if len(rest) < 20:
        return ip.packet(ports, sequence=sequence)
    return ip.packet(
        ports,
        kind="-".join(flag for bit, flag in enumerate(_FLAGS) if rest[13] >> bit & 1),
        sequence=sequence,
        acknowledged=struct.unpack_from("!I", rest, 8)[0],
        payload=rest[(rest[12] >> 4) * 4 :],
    )


def _udp(ip: _Ip, rest: bytes) -> Packet:
    ports = struct.unpack_from("!HH", rest)
    inner = None
    if ports[1] in TUNNEL_PORTS and not ip.depth:
        inner = parse(rest[VXLAN_HEADERS:], ip.depth + 1)
    return ip.packet(ports, kind="VXLAN" if inner else "", payload=rest[8:], inner=inner)


def _icmp(ip: _Ip, rest: bytes) -> Packet:
    sort, code = rest[0], rest[1]
    if sort not in _ERRORS[ip.protocol]:
        kind = _ECHO.get((ip.protocol, sort), f"type {sort}")
        identifier = struct.unpack_from("!H", rest, 4)[0]
        return ip.packet(kind=kind, identifier=identifier, payload=rest[8:])
    kind = _REASONS.get((ip.protocol, sort, code), f"type {sort} code {code}")
    quoted = None if ip.depth > 1 else parse(rest[8:], 2)
    return ip.packet(kind=kind, payload=rest[8:], quoted=quoted)
