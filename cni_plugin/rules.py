"""Masquerade, port mappings and ingress policy as nftables elements; pure.

All of it is one table of fixed rules, whose maps and sets hold what differs: a packet costs the
same however many containers there are, and an attachment is a few elements, each with its owner
as comment, so that DEL and GC find them without knowing what they were.
Source: nft(8); the reference's portmap, firewall and ipMasq (containernetworking/plugins).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from cni_plugin.config import NetConf, PortMapping
from cni_plugin.errors import InvalidConfiguration, UnsupportedField
from cni_plugin.names import is_plain, short_digest
from cni_plugin.result import Cidr, IPConfig

TABLE = "inet podwire_cni"
PROTOCOLS = frozenset({"tcp", "udp", "sctp"})
_FAMILY = {4: "ip", 6: "ip6"}
_MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
_LOOPBACK_NET, _EVERYTHING = "127.0.0.0/8", {4: "0.0.0.0/0", 6: "::/0"}

# port_*: where a port of the host leads; on_*: the same for one of the host's addresses.
# hairpin_*: from whom to whom a mapped connection needs the host as its source.
# masquerade_*, walled_*: the chain of an address's subnet, or of its bridge.
# input: loopback addresses are the host's own, whatever route_localnet lets in for mapped ports.
SKELETON = f"""
add table {TABLE}
add map {TABLE} masquerade_4 {{ type ipv4_addr : verdict; }}
add map {TABLE} masquerade_6 {{ type ipv6_addr : verdict; }}
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
add rule {TABLE} forward ip daddr vmap @walled_4
add rule {TABLE} forward ip6 daddr vmap @walled_6
add rule {TABLE} input ct status dnat accept
add rule {TABLE} input ip daddr 127.0.0.0/8 ip saddr != 127.0.0.0/8 ct state new drop
"""


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a set; of a map, when it has a value."""

    into: str
    key: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that elements lead to; the same rules each time, whoever writes them."""

    name: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """What one attachment adds to the table."""

    owner: str
    chains: tuple[Chain, ...] = ()
    elements: tuple[Element, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.elements)


def rules_of(owner: str, conf: NetConf, ips: tuple[IPConfig, ...], bridge: str) -> Rules:
    """The rules of an attachment with the addresses ``ips``, behind ``bridge`` if there is one."""
    _check_backend(conf)
    parts = [
        *(_masquerade(item.address) for item in ips if conf.ip_masq),
        *(_wall(item.address, conf.ingress_policy, bridge) for item in ips),
    ]
    chains = dict.fromkeys(chain for chain, _ in parts if chain is not None)
    elements = [element for _, element in parts if element is not None]
    return Rules(owner, tuple(chains), (*elements, *_ports(conf, ips)))


def script(rules: Rules) -> str:
    """The transaction that adds rules; it fails when a key is taken."""
    lines = []
    for chain in rules.chains:
        lines += [f"add chain {TABLE} {chain.name}", f"flush chain {TABLE} {chain.name}"]
        lines += [f"add rule {TABLE} {chain.name} {rule}" for rule in chain.rules]
    for item in rules.elements:
        value = f" : {item.value}" if item.value else ""
        key = f'{item.key} comment "{rules.owner}"'
        lines.append(f"create element {TABLE} {item.into} {{ {key}{value} }}")
    return "\n".join(lines)


def _check_backend(conf: NetConf) -> None:
    for name, backend in (("ipMasqBackend", conf.ip_masq_backend), ("backend", conf.backend)):
        if backend not in {"", "nftables"}:
            raise UnsupportedField(f"{name} {backend!r} is not supported", "supported: nftables")
    if conf.conditions_v4 or conf.conditions_v6 or conf.external_set_mark_chain:
        raise UnsupportedField("conditionsV4, conditionsV6 and externalSetMarkChain need iptables")


def _masquerade(address: Cidr) -> tuple[Chain, Element]:
    """What leaves its subnet gets the host's address; multicast does not leave."""
    version, network = address.version, address.network
    name = f"outside_{network.network_address.packed.hex()}_{network.prefixlen}"
    rules = (
        f"{_FAMILY[version]} daddr {network} return",
        f"{_FAMILY[version]} daddr {_MULTICAST[version]} return",
        "masquerade",
    )
    return Chain(name, rules), Element(f"masquerade_{version}", str(address.ip), f"jump {name}")


def _wall(address: Cidr, policy: str, bridge: str) -> tuple[Chain | None, Element | None]:
    """Keep out what comes from other bridges; ``isolated``, what comes from this one too."""
    if policy == "open":
        return None, None
    if not bridge or not is_plain(bridge):
        raise UnsupportedField(f"ingressPolicy {policy} needs a bridge, not {bridge!r}")
    name = f"wall_{policy.replace('-', '_')}_{short_digest(bridge)}"
    own = () if policy == "isolated" else (f'iifname "{bridge}" return',)
    chain = Chain(name, (*own, 'meta iifkind "bridge" drop'))
    return chain, Element(f"walled_{address.version}", str(address.ip), f"jump {name}")


def _ports(conf: NetConf, ips: tuple[IPConfig, ...]) -> Iterator[Element]:
    mappings = conf.runtime_config.port_mappings
    for item in ips:
        version, mapped = item.address.version, False
        for mapping in mappings:
            element = _port(mapping, item.address)
            if element is not None:
                mapped = True
                yield element
        if mapped and conf.snat:
            for source in _hairpin_sources(conf, item.address):
                yield Element(f"hairpin_{version}", f"{source} . {item.address.ip}")


def _port(mapping: PortMapping, address: Cidr) -> Element | None:
    """The element of a mapping; None when it is for the other IP version."""
    version, protocol = address.version, mapping.protocol.lower()
    if protocol not in PROTOCOLS:
        raise InvalidConfiguration(f"portMappings: protocol {mapping.protocol!r} is not known")
    target = f"{address.ip} . {mapping.container_port}"
    try:
        on = ip_address(mapping.host_ip) if mapping.host_ip else None
    except ValueError as err:
        raise InvalidConfiguration(f"portMappings: hostIP {mapping.host_ip!r}") from err
    if on is not None and on.version != version:
        return None
    if on is None or on.is_unspecified:
        return Element(f"port_{version}", f"{protocol} . {mapping.host_port}", target)
    return Element(f"on_{version}", f"{on} . {protocol} . {mapping.host_port}", target)


def _hairpin_sources(conf: NetConf, address: Cidr) -> Iterator[str]:
    """Whose answers would not come back through the host: neighbours, and the host's loopback."""
    if conf.masq_all:
        yield _EVERYTHING[address.version]
        return
    yield str(address.network)
    if address.version == 4:
        yield _LOOPBACK_NET
