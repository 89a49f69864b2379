"""The rules that have nftables trace a probe, as nft's text: pure.

The tables belong to the socket that makes them (``flags owner``), so the kernel removes them when
the process ends, however it ends. They come first after reassembly, and decide nothing.
"""

from collections.abc import Iterator

from debug.trace.packet import TUNNEL_PORTS, VXLAN_HEADERS
from debug.trace.probe import Probe

_PRIORITY = -350  # after reassembly (-400), before raw (-300)
_LAST = 350  # after source NAT
_TRACE = "meta nftrace set 1"


def table_name(pid: int) -> str:
    """Return the name of the tables of a process."""
    return f"podwire-trace-{pid}"


def tables(probe: Probe, name: str, *, quiet: bool = False) -> str:
    """Return the tables; ``quiet`` keeps the source's kernel from resetting a handshake."""
    ip = "ip6" if probe.version == 6 else "ip"
    hush = f"meta l4proto tcp tcp flags rst {_in_range(4, probe)} drop" if quiet else ""
    inet = _chain("pre", "prerouting", _PRIORITY, _matches(probe, ip))
    inet += _chain("out", "output", _PRIORITY, (*_matches(probe, ip), hush))
    if probe.flow.protocol == "udp":
        inet = _answers(ip) + inet
        inet += _chain("post", "postrouting", _LAST, _remember(probe, ip))
        inet += _chain("in", "input", _LAST, _remember(probe, ip))
    bridge = _answers(ip) if probe.flow.protocol == "udp" else ""
    bridge += _chain("pre", "prerouting", _PRIORITY, _matches(probe, ip))
    return (
        f"table inet {name} {{\nflags owner;\n{inet}}}\n"
        f"table bridge {name} {{\nflags owner;\n{bridge}}}\n"
    )


def _chain(name: str, hook: str, priority: int, rules: tuple[str, ...] | Iterator[str]) -> str:
    lines = "".join(f"{rule}\n" for rule in rules if rule)
    return f"chain {name} {{ type filter hook {hook} priority {priority};\n{lines}}}\n"


def _answers(ip: str) -> str:
    kind = "ipv6_addr" if ip == "ip6" else "ipv4_addr"
    return (
        f"set answers {{ type {kind} . {kind} . inet_service . inet_service; "
        "flags dynamic; size 4096; }\n"
    )


def _matches(probe: Probe, ip: str) -> tuple[str, ...]:
    """The probe, its answers, errors that quote it, and all of them in a tunnel."""
    protocol = probe.flow.protocol
    family = f"meta protocol {ip}"
    rules = [*_own(probe, protocol, ip, family)]
    size = 40 if probe.version == 6 else 20
    at = 4 if protocol == "tcp" else 8
    error = ("icmpv6 type { 1, 2, 3, 4 }", "ipv6-icmp")
    if ip == "ip":
        error = ("icmp type { 3, 4, 5, 11, 12 }", "icmp")
    rules.append(f"{family} meta l4proto {error[1]} {error[0]} {_in_range(8 + size + at, probe)}")
    ports = ", ".join(map(str, TUNNEL_PORTS))
    for place in (4, 8) if protocol == "tcp" else (8,):
        inside = _in_range(VXLAN_HEADERS + size + place, probe)
        rules.append(f"meta l4proto udp udp dport {{ {ports} }} {inside}")
    return tuple(f"{rule} {_TRACE}" for rule in rules)


def _own(probe: Probe, protocol: str, ip: str, family: str) -> Iterator[str]:
    name = "ipv6-icmp" if protocol == "icmpv6" else protocol
    for place in (4, 8) if protocol == "tcp" else (8,):
        yield f"{family} meta l4proto {name} {_in_range(place, probe)}"
    if protocol == "udp":
        yield f"{family} meta l4proto udp {ip} saddr . {ip} daddr . udp sport . udp dport @answers"


def _remember(probe: Probe, ip: str) -> tuple[str, ...]:
    """Remember in which flow the probe leaves, or comes in: answers have no mark."""
    flow = f"{ip} daddr . {ip} saddr . udp dport . udp sport"
    marked = f"meta protocol {ip} meta l4proto udp {_in_range(8, probe)}"
    return (f"{marked} add @answers {{ {flow} }}",)


def _in_range(at: int, probe: Probe) -> str:
    """Match the word at a byte of the transport header."""
    return f"@th,{at * 8},32 {probe.mark}-{probe.end}"
