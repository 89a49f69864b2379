"""Packets that are there, instead of a probe: which are meant, and how each is known again. Pure.

A filter is terms joined by "and": ``host X``, ``port N``, ``tcp``, ``udp``, ``icmp``. X is an
address, or a Pod, a Service or a node by name; a Service stands for its endpoints too, since its
packets have their addresses once they are translated. A packet in a tunnel is known by what the
tunnel carries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from debug.cluster import ClusterState
from debug.trace.ends import EndError, Target, find_target, parse_end
from debug.trace.filters import WHOLE, Instruction, assemble
from debug.trace.packet import TUNNEL_PORTS, UDP, VXLAN_HEADERS, Packet
from debug.trace.probe import Direction, Identity
from debug.trace.rules import Rules, hooked, table

_LOAD, _LOAD_BYTE = 0x20, 0x30  # linux/bpf_common.h
_LOAD_AT_X, _LOAD_HALF_AT_X, _LOAD_BYTE_AT_X = 0x40, 0x48, 0x50
_HEADER_TO_X, _SHIFT, _JUMP, _EQUAL, _RETURN = 0xB1, 0x74, 0x05, 0x15, 0x06
_MOST_HOSTS = 30
_LIMIT = "limit rate 200/second burst 400 packets"  # a trace event costs far more than a packet
_PROTOCOLS = ("tcp", "udp", "icmp")
_TERMS = "write host X, port N (1 to 65535), or one of tcp, udp and icmp"


@dataclass(frozen=True, slots=True)
class Match:
    """Which packets are meant: those that have one of the hosts, and one of the ports."""

    hosts: tuple[str, ...]
    ports: tuple[int, ...] = ()  # none: any
    protocol: str = ""

    def fits(self, packet: Packet) -> bool:
        """Return True if this packet is meant, or what it carries or quotes."""
        inside = packet.inner or packet.quoted
        if inside is not None:
            return self.fits(inside)
        flow = packet.flow
        if self.protocol and flow.protocol not in (self.protocol, f"{self.protocol}v6"):
            return False
        if not {flow.source, flow.destination} & set(self.hosts):
            return False
        return not self.ports or bool({flow.source_port, flow.destination_port} & set(self.ports))

    def words(self) -> tuple[int, int]:
        """Return the first and the last IPv4 address as numbers; what is between is no matter."""
        found = [int(ip_address(host)) for host in self.hosts if ":" not in host]
        return (min(found), max(found)) if found else (1, 0)


def parse_filter(text: str, namespace: str, cluster: ClusterState | None) -> Match:
    """Return what a filter means. Raises EndError."""
    hosts: list[str] = []
    ports: set[int] = set()
    protocol = ""
    for term in text.split(" and "):
        word, _, value = term.strip().partition(" ")
        if word == "host" and value:
            target = find_target(parse_end(value, namespace), cluster)
            hosts += _addresses(target, cluster)
            ports |= set(target.answer_ports) | {target.port or 0} if target.answer_ports else set()
        elif word == "port" and value.isdecimal() and len(value) < 6 and 0 < int(value) < 1 << 16:
            ports.add(int(value))
        elif word in _PROTOCOLS and not value and protocol in ("", word):
            protocol = word
        else:
            raise EndError(f"{term[:80]!r} is no term of a filter: {_TERMS}")
    hosts = list(dict.fromkeys(hosts))
    if not hosts:
        raise EndError("a filter needs a host, such as: host 10.0.0.1")
    if len(hosts) > _MOST_HOSTS:
        raise EndError(
            f"this filter is of {len(hosts)} addresses, those of a Service's endpoints among them, "
            f"and at most {_MOST_HOSTS} can be asked for: name a Pod, or the ClusterIP alone"
        )
    return Match(tuple(hosts), tuple(sorted(ports - {0})), protocol)


def _addresses(target: Target, cluster: ClusterState | None) -> list[str]:
    found = list(target.addresses)
    if target.answer_ports:  # a Service's
        wanted = set(target.pods)
        pods = (pod for pod in cluster.pods if pod.key in wanted) if cluster else ()
        found += (one.ip for pod in pods for one in pod.status.pod_ips if one.ip)
    return found


@dataclass(frozen=True, slots=True)
class LiveRecognizer:
    """Tells packets apart by what no translation of addresses changes."""

    match: Match

    def identify(self, packet: Packet) -> Identity | None:
        """Return which packet this is; None if it is not meant, before or after a translation."""
        inside = packet.inner or packet
        if inside.flow.protocol == "tcp":
            key = f"seq {inside.sequence} ack {inside.acknowledged}"
        else:
            key = f"id {inside.identification:#x} {inside.payload[:12].hex()}"
        name = f"{inside.flow.protocol.upper()} {inside.kind}".strip()
        return Identity(Direction.FORWARD, f"{name} ({key}, {inside.length} bytes)")


def live_tables(match: Match, name: str) -> Rules:
    """Return the tables that have nftables trace what is meant."""

    def text(family: str) -> str:
        versions = {"ip": ("ip",), "ip6": ("ip6",)}.get(family, ("ip", "ip6"))
        rules = [rule for ip in versions for rule in _rules(match, ip)]
        hooks = ("prerouting",) if family == "bridge" else ("prerouting", "output")
        return table(family, name, (hooked(hook, rules) for hook in hooks)) if rules else ""

    return text


def _rules(match: Match, ip: str) -> Iterator[str]:
    hosts = [host for host in match.hosts if (":" in host) is (ip == "ip6")]
    icmp = "icmp" if ip == "ip" else "ipv6-icmp"
    protocol = {"icmp": icmp, "": "{ tcp, udp }" if match.ports else ""}.get(
        match.protocol, match.protocol
    )
    above = f"meta l4proto {protocol} " if protocol else ""
    for host in ("saddr", "daddr") if hosts else ():
        for port in ("sport", "dport") if match.ports and match.protocol != "icmp" else ("",):
            side = f"th {port} {{ {', '.join(map(str, match.ports))} }} " if port else ""
            head = f"{ip} {host} {_any_of(hosts)} {above}{side}"
            yield f"{head}{_LIMIT} meta nftrace set 1"


def _any_of(values: list[str]) -> str:
    """Return what matches one of some values; a set costs more than a comparison."""
    return values[0] if len(values) == 1 else f"{{ {', '.join(values)} }}"


def live_filter(match: Match) -> bytes:
    """Return the program of the taps: packets of IPv4 with one of the hosts, and all of IPv6.

    Likewise of what a tunnel over IPv4 carries.
    """
    program = [*_when(4, [*_hosts(match, _LOAD, 0), *_in_tunnel(match)])]
    return assemble([*program, *(_when(6, [_accept()]) if _has_v6(match) else ()), _refuse()])


def _has_v6(match: Match) -> bool:
    return any(":" in host for host in match.hosts)


def _hosts(match: Match, load: int, at: int) -> Iterator[Instruction]:
    """Accept a header of IPv4 at a place with one of the hosts."""
    for place in (at + 12, at + 16):
        for host in match.hosts:
            if ":" not in host:
                yield load, 0, 0, place
                yield _EQUAL, 0, 1, int(ip_address(host))
                yield _accept()


def _in_tunnel(match: Match) -> Iterator[Instruction]:
    """Refuse what is no tunnel's packet; accept one that carries what is meant."""
    yield _LOAD_BYTE, 0, 0, 9
    yield _EQUAL, 1, 0, UDP
    yield _refuse()
    yield _HEADER_TO_X, 0, 0, 0
    yield _LOAD_HALF_AT_X, 0, 0, 2
    for left, port in enumerate(reversed(TUNNEL_PORTS)):
        yield _EQUAL, len(TUNNEL_PORTS) - left, 0, port
    yield _refuse()
    inner = list(_hosts(match, _LOAD_AT_X, VXLAN_HEADERS))
    yield from _when(4, inner, _LOAD_BYTE_AT_X, VXLAN_HEADERS)
    yield from _when(6, [_accept()] if _has_v6(match) else [], _LOAD_BYTE_AT_X, VXLAN_HEADERS)
    yield _refuse()


def _when(
    version: int, block: list[Instruction], load: int = _LOAD_BYTE, at: int = 0
) -> Iterator[Instruction]:
    """Run a block for a header of an IP version; a branch alone would reach 255 instructions."""
    yield from ((load, 0, 0, at), (_SHIFT, 0, 0, 4), (_EQUAL, 1, 0, version))
    yield _JUMP, 0, 0, len(block)
    yield from block


def _accept() -> Instruction:
    return _RETURN, 0, 0, WHOLE


def _refuse() -> Instruction:
    return _RETURN, 0, 0, 0
