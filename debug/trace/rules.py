"""The rules that have nftables trace a probe, as nft's text: pure.

The tables belong to the socket that makes them (``flags owner``), so the kernel removes them when
the process ends, however it ends. They come first after reassembly, and decide nothing.

Every packet of the namespace meets them. So each rule begins with the comparison that most packets
fail, of the kind that nft_do_chain evaluates in place (bits of a header that have one value).
"""

from collections.abc import Callable, Iterable, Iterator

from debug.trace.packet import TUNNEL_PORTS, VXLAN_HEADERS
from debug.trace.probe import ROOM, Probe

_PRIORITY = -350  # after reassembly (-400), before raw (-300)
_LAST = 350  # after source NAT
_TRACE = "meta nftrace set 1"
_BITS = 32 - (ROOM - 1).bit_length()  # the numbers of a probe differ in the others

_PROTOCOL = {"ip": "@nh,72,8", "ip6": "@nh,48,8"}  # compared in place, as meta l4proto is not

Rules = Callable[[str], str]  # the text for a family of tables: ip, ip6 or bridge; "" for none


def table_name(pid: int) -> str:
    """Return the name of the tables of a process."""
    return f"podwire-trace-{pid}"


def tables(probe: Probe, name: str, *, quiet: bool = False) -> Rules:
    """Return the tables; ``quiet`` keeps the source's kernel from resetting a handshake."""

    def text(family: str) -> str:
        if family == "bridge":
            return table(family, name, _bridge(probe))
        own = family == _family(probe)
        return table(family, name, _routed(probe, quiet) if own else _tunneled(probe))

    return text


def table(family: str, name: str, parts: Iterable[str]) -> str:
    """Return a table that ends with its process."""
    return f"table {family} {name} {{\nflags owner;\n{''.join(parts)}}}\n"


def hooked(hook: str, rules: Iterable[str], priority: int = _PRIORITY) -> str:
    """Return a base chain, which has the name of its hook."""
    head = f"type filter hook {hook} priority {priority};\n"
    return f"chain {hook} {{ {head}{_lines(rules)}}}\n"


def _routed(probe: Probe, quiet: bool) -> Iterator[str]:
    yield from _answers(probe)
    yield _others(probe)
    rules = [*_matches(probe)]
    hush = [f"{_word(4, probe)} meta l4proto tcp tcp flags rst drop"] if quiet else []
    yield hooked("prerouting", rules)
    yield hooked("output", [*rules, *hush])
    if probe.flow.protocol == "udp":
        yield hooked("postrouting", _remember(probe), _LAST)
        yield hooked("input", _remember(probe), _LAST)


def _tunneled(probe: Probe) -> Iterator[str]:
    """What a tunnel carries over the other version of IP."""
    for hook in ("prerouting", "output"):
        yield hooked(hook, _in_tunnel(probe))


def _bridge(probe: Probe) -> Iterator[str]:
    yield from _answers(probe)
    yield _others(probe)
    yield hooked("prerouting", _matches(probe))


def _lines(rules: Iterable[str]) -> str:
    return "".join(f"{rule}\n" for rule in rules)


def _family(probe: Probe) -> str:
    return "ip6" if probe.version == 6 else "ip"


def _matches(probe: Probe) -> Iterator[str]:
    """The probe and its answers by TCP; all else about it is rarer, in a chain of its own."""
    if probe.flow.protocol == "tcp":
        yield f"{_word(4, probe)} {_TRACE}"
        yield f"{_word(8, probe)} {_TRACE}"
    yield f"{_PROTOCOL[_family(probe)]} != 6 jump others"


def _others(probe: Probe) -> str:
    """The probe by UDP or ICMP, errors that quote it, and what a tunnel carries."""
    ip, at = _family(probe), 4 if probe.flow.protocol == "tcp" else 8
    size = _inner(probe)
    kinds = "icmpv6 type { 1, 2, 3, 4 }" if ip == "ip6" else "icmp type { 3, 4, 5, 11, 12 }"
    rules = [f"{_word(8, probe)} {_TRACE}"]
    if probe.flow.protocol == "udp":
        flow = f"{ip} saddr . {ip} daddr . udp sport . udp dport"
        rules.append(f"meta l4proto udp {flow} @answers {_TRACE}")
    rules.append(f"{_word(8 + size + at, probe)} {kinds} {_TRACE}")
    return f"chain others {{\n{_lines([*rules, *_in_tunnel(probe)])}}}\n"


def _in_tunnel(probe: Probe) -> Iterator[str]:
    ports = ", ".join(map(str, TUNNEL_PORTS))
    for place in (4, 8) if probe.flow.protocol == "tcp" else (8,):
        inside = _word(VXLAN_HEADERS + _inner(probe) + place, probe)
        yield f"{inside} meta l4proto udp udp dport {{ {ports} }} {_TRACE}"


def _inner(probe: Probe) -> int:
    """Return the bytes of an IP header of the probe's version."""
    return 40 if probe.version == 6 else 20


def _answers(probe: Probe) -> Iterator[str]:
    kind = "ipv6_addr" if probe.version == 6 else "ipv4_addr"
    if probe.flow.protocol == "udp":
        yield (
            f"set answers {{ type {kind} . {kind} . inet_service . inet_service; "
            "flags dynamic; size 4096; }\n"
        )


def _remember(probe: Probe) -> Iterator[str]:
    """Remember in which flow the probe leaves, or comes in: answers have no mark."""
    ip = _family(probe)
    flow = f"{ip} daddr . {ip} saddr . udp dport . udp sport"
    yield f"{_word(8, probe)} meta l4proto udp add @answers {{ {flow} }}"


def _word(at: int, probe: Probe) -> str:
    """Match the word at a byte of the transport header, which is one of the probe's numbers."""
    return f"@th,{at * 8},{_BITS} {probe.mark // ROOM}"
