"""The firewall rules that an attachment needs, independent of the backend; pure.

Source: the reference's portmap, firewall and ipMasq (containernetworking/plugins): which option
needs which backend is in plugins/meta/portmap/main.go, ensureBackend.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Literal, Self

from cni_plugin.spec.config import CACHED_CONFS, NetConf, PortMapping
from cni_plugin.spec.errors import InvalidConfigurationError, UnsupportedFieldError
from cni_plugin.spec.names import is_plain, short_digest
from cni_plugin.spec.result import Address, Cidr, IPConfig

BackendName = Literal["nftables", "iptables"]
NFTABLES: BackendName = "nftables"
IPTABLES: BackendName = "iptables"
BACKENDS: tuple[BackendName, ...] = (NFTABLES, IPTABLES)
PROTOCOLS = frozenset({"tcp", "udp", "sctp"})
MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}
LOOPBACK_NET = "127.0.0.0/8"
_DEFAULT_MARK_BIT = 13  # Kubernetes uses 14 and 15, Calico 20 to 31
_CHAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,27}")
# characters that would end a rule or begin another: each condition is part of one rule
_FORBIDDEN = {
    IPTABLES: re.compile(r"[\x00-\x1f\x7f\"'\\]"),
    NFTABLES: re.compile(r"[\x00-\x1f\x7f;#\\]"),
}


@dataclass(frozen=True, slots=True)
class IngressRule:
    """Drop packets from other bridges to ``address``; if ``isolated``, also from its own bridge."""

    address: Address
    bridge: str
    isolated: bool


@dataclass(frozen=True, slots=True)
class MappedPort:
    """A port of the host, or of its address ``on``, that is mapped to a container.

    ``conditions`` are further matches in the backend's own syntax.
    """

    protocol: str
    number: int
    on: Address | None
    target: Address
    target_port: int
    conditions: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """The IP version."""
        return self.target.version

    @property
    def claim(self) -> str:
        """The name of this port. Only one container of a host can have it."""
        return claim_name(self.version, self.protocol, self.number, self.on, self.condition_digest)

    @property
    def condition_digest(self) -> str:
        """A short name of the conditions; empty if there are none."""
        return short_digest("\0".join(self.conditions)) if self.conditions else ""

    def __str__(self) -> str:
        where = f"{self.on} " if self.on else ""
        return f"IPv{self.version} port {where}{self.number}/{self.protocol}"


def claim_name(
    version: int, protocol: str, number: int, on: Address | None, conditions: str
) -> str:
    """The name of a claim, at most 22 characters: it is part of a chain's name."""
    name = f"{version}-{protocol}-{number}"
    return f"{name}-{short_digest(f'{on} {conditions}')[:9]}" if on or conditions else name


def udp_ports(claims: Iterable[str]) -> frozenset[int]:
    """The UDP ports of claims."""
    parts = [name.split("-") for name in claims]
    return frozenset(int(number) for _, protocol, number, *_ in parts if protocol == "udp")


@dataclass(frozen=True, slots=True)
class Hairpin:
    """Mapped connections from ``source`` to ``target`` need the host's address as their source.

    Without it the answers would not pass the host: both ends are neighbors, or on loopback.
    """

    source: str
    target: Address


@dataclass(frozen=True, slots=True)
class MasqueradeMark:
    """The mark of packets to masquerade: a bit, or another program's chain that sets the mark."""

    bit: int = _DEFAULT_MARK_BIT
    chain: str = ""


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """The backends that the configuration names; empty means any that the host has."""

    masquerade: str = ""
    ports: str = ""
    ingress: str = ""


@dataclass(frozen=True, slots=True)
class WantedRules:
    """The firewall rules that one attachment needs.

    ``masquerade`` has the addresses to masquerade. ``spares`` are ports that another attachment of
    the container has: this attachment gets them when that one is deleted.
    """

    owner: str
    masquerade: tuple[Cidr, ...] = ()
    ingress: tuple[IngressRule, ...] = ()
    ports: tuple[MappedPort, ...] = ()
    spares: tuple[MappedPort, ...] = ()
    hairpins: tuple[Hairpin, ...] = ()
    marking: MasqueradeMark = MasqueradeMark()
    choice: BackendChoice = BackendChoice()

    def __bool__(self) -> bool:
        return bool(self.masquerade or self.ingress or self.ports or self.spares)

    def part(self, backend: BackendName, default: BackendName) -> Self:
        """The rules for one backend. ``default`` gets those that the configuration leaves open."""
        ports = (self.choice.ports or default) == backend
        return replace(
            self,
            masquerade=self.masquerade if (self.choice.masquerade or default) == backend else (),
            ingress=self.ingress if (self.choice.ingress or default) == backend else (),
            ports=self.ports if ports else (),
            hairpins=self.hairpins if ports else (),
        )


def wanted_rules(owner: str, conf: NetConf, ips: tuple[IPConfig, ...], bridge: str) -> WantedRules:
    """The rules that an attachment with the addresses ``ips`` needs.

    ``bridge`` is its bridge; empty if there is none.
    Raises InvalidConfigurationError or UnsupportedFieldError.
    """
    choice = _choice(conf)
    # like the reference plugin, map ports to the first address of each IP version
    first = {item.address.version: item.address for item in reversed(ips)}
    ports = {
        port.claim: port
        for mapping in reversed(conf.runtime_config.port_mappings)
        for address in first.values()
        if (port := _port(mapping, address.ip, _conditions(conf, choice, address.version)))
    }
    mapped = {port.version for port in ports.values()}
    return WantedRules(
        owner=owner,
        masquerade=tuple(item.address for item in ips if conf.ip_masq),
        ingress=tuple(
            _ingress_rule(item.address.ip, conf, bridge) for item in ips if _restricts_ingress(conf)
        ),
        ports=tuple(reversed(ports.values())),
        hairpins=tuple(
            Hairpin(source, address.ip)
            for version, address in first.items()
            if version in mapped and conf.snat
            for source in _hairpin_sources(conf, address)
        ),
        marking=_masquerade_mark(conf),
        choice=choice,
    )


@lru_cache(CACHED_CONFS)
def _choice(conf: NetConf) -> BackendChoice:
    for name, asked in (("ipMasqBackend", conf.ip_masq_backend), ("backend", conf.backend)):
        if asked not in {"", *BACKENDS}:
            raise UnsupportedFieldError(
                f"{name} {asked!r} is not supported", f"supported: {', '.join(BACKENDS)}"
            )
    return BackendChoice(conf.ip_masq_backend, _ports_backend(conf), conf.backend)


def _ports_backend(conf: NetConf) -> str:
    """The backend that is named, or the one whose syntax the other options use."""
    implied = {name: backend for name, backend in _implied(conf) if backend}
    backends = {*implied.values(), *([conf.backend] if conf.backend else [])}
    if len(backends) > 1:
        uses = ", ".join(f"{name} is for {backend}" for name, backend in implied.items())
        asked = f"backend {conf.backend} was asked for, " if conf.backend else ""
        raise InvalidConfigurationError(f"portmap: {asked}{uses}")
    return next(iter(backends), "")


def _implied(conf: NetConf) -> Iterator[tuple[str, str]]:
    yield "externalSetMarkChain", IPTABLES if conf.external_set_mark_chain else ""
    for name, conditions in (
        ("conditionsV4", conf.conditions_v4),
        ("conditionsV6", conf.conditions_v6),
    ):
        first = conditions[0] if conditions else ""
        # a condition for iptables begins with an option or "!", one for nftables never does
        yield name, "" if not first else IPTABLES if first[0] in "-!" else NFTABLES


def _conditions(conf: NetConf, choice: BackendChoice, version: int) -> tuple[str, ...]:
    found = tuple(filter(None, conf.conditions_v4 if version == 4 else conf.conditions_v6))
    forbidden = _FORBIDDEN[NFTABLES if choice.ports == NFTABLES else IPTABLES]
    for text in found:
        if forbidden.search(text):
            raise InvalidConfigurationError(
                f"conditionsV{version}: {text!r} cannot stand in a rule"
            )
    return found


@lru_cache(CACHED_CONFS)
def _masquerade_mark(conf: NetConf) -> MasqueradeMark:
    chain, bit = conf.external_set_mark_chain, conf.mark_masq_bit
    if chain and bit is not None:
        raise InvalidConfigurationError("externalSetMarkChain and markMasqBit exclude each other")
    if chain and not _CHAIN.fullmatch(chain):
        raise InvalidConfigurationError(f"externalSetMarkChain: {chain!r} is no chain's name")
    return MasqueradeMark(_DEFAULT_MARK_BIT if bit is None else bit, chain)


def _restricts_ingress(conf: NetConf) -> bool:
    return conf.ingress_policy != "open"


def _ingress_rule(address: Address, conf: NetConf, bridge: str) -> IngressRule:
    if not bridge or not is_plain(bridge):
        raise UnsupportedFieldError(
            f"ingressPolicy {conf.ingress_policy} needs a bridge, not {bridge!r}"
        )
    return IngressRule(address, bridge, isolated=conf.ingress_policy == "isolated")


def _port(mapping: PortMapping, target: Address, conditions: tuple[str, ...]) -> MappedPort | None:
    """A mapping; None if it is for the other IP version."""
    protocol, on = mapping.protocol.lower(), _host_address(mapping)
    if protocol not in PROTOCOLS:
        raise InvalidConfigurationError(f"portMappings: protocol {mapping.protocol!r} is not known")
    if on is not None and on.version != target.version:
        return None
    specific = None if on is None or on.is_unspecified else on
    return MappedPort(
        protocol, mapping.host_port, specific, target, mapping.container_port, conditions
    )


def _host_address(mapping: PortMapping) -> Address | None:
    if not mapping.host_ip:
        return None
    try:
        address = ip_address(mapping.host_ip)
    except ValueError as err:
        raise InvalidConfigurationError(
            f"portMappings: hostIP {mapping.host_ip!r} is no IP address"
        ) from err
    if isinstance(address, IPv6Address) and address.scope_id:
        raise InvalidConfigurationError(f"portMappings: hostIP {mapping.host_ip!r} has a zone")
    return address


def _hairpin_sources(conf: NetConf, address: Cidr) -> Iterator[str]:
    if conf.masq_all:
        yield EVERYTHING[address.version]
        return
    yield str(address.network)
    if address.version == 4:
        yield LOOPBACK_NET
