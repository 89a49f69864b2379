"""Masquerade, port mappings and ingress policy as nftables elements; pure.

One table has fixed rules, and its maps and sets have the data of the attachments. So a packet costs
the same with any number of containers, and an attachment is a few elements. Each element has its
owner as comment, so that DEL and GC find it without the configuration.
Source: nft(8).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from cni_plugin.plan.rules import (
    EVERYTHING,
    MULTICAST,
    IngressRule,
    MappedPort,
    WantedRules,
    claim_name,
)
from cni_plugin.spec.names import short_digest
from cni_plugin.spec.result import Cidr

TABLE = "inet podwire_cni"
_FAMILY = {4: "ip", 6: "ip6"}
_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}
_PORT_MAP = re.compile(r"(on|port|spare)_([46])_?(\w*)")
_NOWHERE = {version: network.partition("/")[0] for version, network in EVERYTHING.items()}

# port_*: the target of a host port; on_*: the same for one address of the host.
# hairpin_*: the sources and targets of mapped connections that need the host's address as source.
# masquerade_*, walled_*: the chain of an address's subnet, or of its bridge.
# inside_*: the same as masquerade_*, for packets that conntrack calls invalid. No chain of the type
# nat sees those, so they would leave with the container's address.
# The chains are flushed because an older version's table may be there, without a map of this one.
# input: route_localnet, which mapped ports need, would let other hosts use loopback addresses.
SKELETON = f"""
add table {TABLE}
add map {TABLE} masquerade_4 {{ type ipv4_addr : verdict; }}
add map {TABLE} masquerade_6 {{ type ipv6_addr : verdict; }}
add map {TABLE} inside_4 {{ type ipv4_addr : verdict; }}
add map {TABLE} inside_6 {{ type ipv6_addr : verdict; }}
add map {TABLE} walled_4 {{ type ipv4_addr : verdict; }}
add map {TABLE} walled_6 {{ type ipv6_addr : verdict; }}
add map {TABLE} port_4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
add map {TABLE} port_6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}
add map {TABLE} on_4 {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
add map {TABLE} on_6 {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }}
add set {TABLE} hairpin_4 {{ type ipv4_addr . ipv4_addr; flags interval; }}
add set {TABLE} hairpin_6 {{ type ipv6_addr . ipv6_addr; flags interval; }}
add chain {TABLE} prerouting {{ type nat hook prerouting priority dstnat; }}
add chain {TABLE} output {{ type nat hook output priority -100; }}
add chain {TABLE} postrouting {{ type nat hook postrouting priority srcnat; }}
add chain {TABLE} forward {{ type filter hook forward priority filter; }}
add chain {TABLE} input {{ type filter hook input priority filter; }}
add chain {TABLE} ports
flush chain {TABLE} prerouting
flush chain {TABLE} output
flush chain {TABLE} postrouting
flush chain {TABLE} forward
flush chain {TABLE} input
flush chain {TABLE} ports
add rule {TABLE} prerouting fib daddr type local jump ports
add rule {TABLE} output fib daddr type local jump ports
add rule {TABLE} ports dnat ip to ip daddr . meta l4proto . th dport map @on_4
add rule {TABLE} ports dnat ip to meta l4proto . th dport map @port_4
add rule {TABLE} ports dnat ip6 to ip6 daddr . meta l4proto . th dport map @on_6
add rule {TABLE} ports dnat ip6 to meta l4proto . th dport map @port_6
add rule {TABLE} postrouting ct status dnat ip saddr . ip daddr @hairpin_4 masquerade
add rule {TABLE} postrouting ct status dnat ip6 saddr . ip6 daddr @hairpin_6 masquerade
add rule {TABLE} postrouting ip saddr vmap @masquerade_4
add rule {TABLE} postrouting ip6 saddr vmap @masquerade_6
add rule {TABLE} forward ct state established,related accept
add rule {TABLE} forward ct state invalid ip saddr vmap @inside_4
add rule {TABLE} forward ct state invalid ip6 saddr vmap @inside_6
add rule {TABLE} forward ip daddr vmap @walled_4
add rule {TABLE} forward ip6 daddr vmap @walled_6
add rule {TABLE} input ct status dnat accept
add rule {TABLE} input ip daddr 127.0.0.0/8 ip saddr != 127.0.0.0/8 ct state new drop
"""


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a set, or of a map if it has a value."""

    into: str
    key: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of an element's verdict, or of a hook. Its name determines its rules."""

    name: str
    rules: tuple[str, ...]
    hook: str = ""


@dataclass(frozen=True, slots=True)
class Set:
    """A set or a map that is not in the skeleton."""

    kind: str
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class TableAdditions:
    """The sets, chains and elements that one attachment adds to the table."""

    owner: str
    sets: tuple[Set, ...] = ()
    chains: tuple[Chain, ...] = ()
    elements: tuple[Element, ...] = ()


def additions_of(wanted: WantedRules) -> TableAdditions:
    """The sets, chains and elements that an attachment adds to the table."""
    parts = [pair for address in wanted.masquerade for pair in _masquerade(address)]
    parts += map(_ingress_rule, wanted.ingress)
    groups = {
        (port.version, port.condition_digest): port
        for port in (*wanted.ports, *wanted.spares)
        if port.conditions
    }
    chains = dict.fromkeys(
        [*(chain for chain, _ in parts), *(c for port in groups.values() for c in _group(port))]
    )
    elements = (
        *(element for _, element in parts),
        *map(_port, wanted.ports),
        *map(_spare, wanted.spares),
        *(
            Element(f"hairpin_{item.target.version}", f"{item.source} . {item.target}")
            for item in wanted.hairpins
        ),
    )
    sets = [item for port in groups.values() for item in _maps(port)]
    sets += dict.fromkeys(map(_spare_set, wanted.spares))
    return TableAdditions(wanted.owner, tuple(sets), tuple(chains), elements)


def add_transaction(additions: TableAdditions) -> str:
    """The transaction that adds to the table. It fails if a key is there already."""
    lines = [
        f"add {item.kind} {TABLE} {item.name} {{ type {item.type}; }}" for item in additions.sets
    ]
    for chain in additions.chains:
        hook = f" {{ {chain.hook} }}" if chain.hook else ""
        lines += [f"add chain {TABLE} {chain.name}{hook}", f"flush chain {TABLE} {chain.name}"]
        lines += [f"add rule {TABLE} {chain.name} {rule}" for rule in chain.rules]
    lines += [_creation(item, additions.owner) for item in additions.elements]
    return "\n".join(lines)


def removal_transaction(gone: Iterable[Element], promoted: Mapping[Element, str]) -> str:
    """The transaction that removes elements, and turns spares into ports of the given owners."""
    lines = [f"delete element {TABLE} {item.into} {{ {item.key} }}" for item in (*gone, *promoted)]
    lines += [_creation(_promoted(spare), owner) for spare, owner in promoted.items()]
    return "\n".join(lines)


def _creation(item: Element, owner: str) -> str:
    value = f" : {item.value}" if item.value else ""
    key = f'{item.key} comment "{owner}"'
    return f"create element {TABLE} {item.into} {{ {key}{value} }}"


def rule_counts(additions: TableAdditions) -> Counter[str]:
    """The number of rules of each chain that an attachment needs."""
    lines = (SKELETON + add_transaction(additions)).splitlines()
    return Counter(line.split(" ")[4] for line in lines if line.startswith("add rule "))


def claim_of(element: Element) -> str:
    """The claim that an element of a port map stands for; empty for any other element."""
    into = _PORT_MAP.fullmatch(element.into)
    if into is None or into[1] == "spare":
        return ""
    *on, protocol, number = element.key.split(" . ")
    where = ip_address(on[0]) if on else None
    return claim_name(int(into[2]), protocol, int(number), where, into[3])


def spare_of(element: Element) -> str:
    """The claim that a spare element waits for; empty for any other element."""
    return claim_of(_promoted(element)) if element.into.startswith("spare_") else ""


def _promoted(spare: Element) -> Element:
    """The port element that a spare becomes."""
    suffix = spare.into.removeprefix("spare_")
    on, protocol, number, *target = spare.key.split(" . ")
    key, value = f"{protocol} . {number}", " . ".join(target)
    if on in _NOWHERE.values():
        return Element(f"port_{suffix}", key, value)
    return Element(f"on_{suffix}", f"{on} . {key}", value)


def _masquerade(address: Cidr) -> Iterator[tuple[Chain, Element]]:
    """Packets that leave the subnet get the host's address; multicast keeps its source.

    Invalid packets cannot get it, so they do not leave.
    """
    version, network = address.version, address.network
    subnet = f"{network.network_address.packed.hex()}_{network.prefixlen}"
    stays = (
        f"{_FAMILY[version]} daddr {network} return",
        f"{_FAMILY[version]} daddr {MULTICAST[version]} return",
    )
    for into, chain, fate in (
        ("masquerade", f"outside_{subnet}", "masquerade"),
        ("inside", f"inside_{subnet}", "drop"),
    ):
        element = Element(f"{into}_{version}", str(address.ip), f"jump {chain}")
        yield Chain(chain, (*stays, fate)), element


def _ingress_rule(rule: IngressRule) -> tuple[Chain, Element]:
    """Drop packets from other bridges; if ``isolated``, also from the own bridge."""
    policy = "isolated" if rule.isolated else "same_bridge"
    name = f"wall_{policy}_{short_digest(rule.bridge)}"
    own = () if rule.isolated else (f'iifname "{rule.bridge}" return',)
    chain = Chain(name, (*own, 'meta iifkind "bridge" drop'))
    address = rule.address
    return chain, Element(f"walled_{address.version}", str(address), f"jump {name}")


def _port(port: MappedPort) -> Element:
    suffix = f"_{port.condition_digest}" if port.conditions else ""
    key, target = f"{port.protocol} . {port.number}", f"{port.target} . {port.target_port}"
    if port.on is None:
        return Element(f"port_{port.version}{suffix}", key, target)
    return Element(f"on_{port.version}{suffix}", f"{port.on} . {key}", target)


def _spare(port: MappedPort) -> Element:
    on = port.on or _NOWHERE[port.version]
    key = f"{on} . {port.protocol} . {port.number} . {port.target} . {port.target_port}"
    return Element(_spare_set(port).name, key)


def _spare_set(port: MappedPort) -> Set:
    address = _TYPE[port.version]
    suffix = f"_{port.condition_digest}" if port.conditions else ""
    of = f"{address} . inet_proto . inet_service . {address} . inet_service"
    return Set("set", f"spare_{port.version}{suffix}", of)


def _maps(port: MappedPort) -> Iterator[Set]:
    """The maps of the ports with one set of conditions."""
    address, suffix = _TYPE[port.version], f"{port.version}_{port.condition_digest}"
    value = f"{address} . inet_service"
    yield Set("map", f"port_{suffix}", f"inet_proto . inet_service : {value}")
    yield Set("map", f"on_{suffix}", f"{address} . inet_proto . inet_service : {value}")


def _group(port: MappedPort) -> Iterator[Chain]:
    """The chains that use those maps, before the ports without conditions.

    Each has a hook of its own: a jump to it would be a rule, and each ADD would add another.
    """
    family, suffix = _FAMILY[port.version], f"{port.version}_{port.condition_digest}"
    match = f"meta nfproto ipv{port.version} {' '.join(port.conditions)} fib daddr type local"
    rules = (
        f"{match} dnat {family} to {family} daddr . meta l4proto . th dport map @on_{suffix}",
        f"{match} dnat {family} to meta l4proto . th dport map @port_{suffix}",
    )
    for hook in ("prerouting", "output"):
        name = f"{hook}_{suffix}"
        yield Chain(name, rules, f"type nat hook {hook} priority -101;")
