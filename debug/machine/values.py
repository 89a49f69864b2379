"""What was read of a node, as values that a JSON file can hold."""

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from msgspec import Struct, field

from debug.machine.programs import Entries, SavedClient, SavedFrontend


class ProxyFacts(Struct, frozen=True, omit_defaults=True):
    """A proxy, as its own pages tell: /proxyMode and /configz, which kube-proxy has too.

    ``foreign``: it is not podwire's, whose page of policies it has not.
    """

    mode: str
    config: dict[str, Any] = field(default_factory=dict)  # parts of a KubeProxyConfiguration
    foreign: bool = False


class TrackedFlow(Struct, frozen=True, omit_defaults=True):
    """A UDP flow that conntrack knows: what its first packet called, and who answers it."""

    called: str  # ADDRESS:PORT, [ADDRESS]:PORT
    answering: str
    protocol: str = "UDP"


class Reservation(Struct, frozen=True, omit_defaults=True):
    """An address that IPAM has given to a container."""

    network: str
    address: str
    container: str
    ifname: str = ""


class Attachment(Struct, frozen=True, omit_defaults=True):
    """A container in a network, as libcni's cache has it; ``exists``: its namespace is there."""

    network: str
    container: str
    ifname: str
    netns: str = ""
    exists: bool = False
    pod: str = ""  # NAMESPACE/NAME
    host_links: tuple[str, ...] = ()  # the node's ends, by name
    addresses: tuple[str, ...] = ()


class BaseChain(Struct, frozen=True):
    """A chain that the kernel calls, with its rules as nft's JSON has them."""

    family: str
    table: str
    name: str
    hook: str
    kind: str
    policy: str
    rules: tuple[Any, ...] = ()

    @property
    def title(self) -> str:
        """The chain in nft's words."""
        return f"nft chain {self.family} {self.table} {self.name}"


class PodFacts(Struct, frozen=True, omit_defaults=True):
    """What a Pod's network has of its own: rules, and the ports where somebody listens."""

    pod: str  # NAMESPACE/NAME
    chains: tuple[BaseChain, ...] = ()
    listening: tuple[str, ...] = ()  # "TCP 8080"


class CniNetwork(Struct, frozen=True, omit_defaults=True):
    """The network that a runtime gives to Pods: the first file of /etc/cni/net.d.

    Of the plugin that makes the interface only what decides here: its file may have passwords.
    """

    path: str
    name: str = ""
    mtu: int = 0
    subnets: tuple[str, ...] = ()  # that IPAM gives addresses of


class MachineState(Struct, frozen=True, omit_defaults=True, dict=True):
    """All that was read of one node beside its namespace."""

    node: str
    kernel: str = ""  # uname -r
    proxy: ProxyFacts | None = None
    nft: str | None = None  # nft -j list ruleset
    iptables: dict[str, str] = field(default_factory=dict)  # "legacy 4": iptables-save's text
    flows: tuple[TrackedFlow, ...] = ()
    statistics: dict[str, int] = field(default_factory=dict)  # "nf_conntrack/insert_failed": 0
    filtered: dict[str, bool] = field(default_factory=dict)  # a bridge passes frames to rules
    reservations: tuple[Reservation, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    cni: CniNetwork | None = None
    pods: tuple[PodFacts, ...] = ()
    pinned: tuple[str, ...] = ()  # below /sys/fs/bpf/podwire-proxy
    programs: tuple[SavedFrontend, ...] | None = None  # None: podwire's eBPF is not in use
    clients: tuple[SavedClient, ...] = ()  # that podwire's eBPF programs remember
    maps: dict[str, Entries] = field(default_factory=dict)  # of podwire's eBPF programs
    unread: dict[str, str] = field(default_factory=dict)  # what could not be read, and why

    @cached_property
    def objects(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        """The ruleset: (sort, object), sort being table, chain, rule, set, map and so on."""
        return objects_of(self.nft) if self.nft else ()

    @cached_property
    def base_chains(self) -> tuple[BaseChain, ...]:
        """The chains that the kernel calls."""
        return tuple(base_chains(self.objects))

    def parse(self) -> None:
        """Parse the ruleset, which is kept; raises what another text or another shape causes."""
        _ = self.base_chains, self.tables()

    def tables(self) -> set[tuple[str, str]]:
        """The (family, name) of each nft table."""
        return {(one["family"], one["name"]) for sort, one in self.objects if sort == "table"}


def objects_of(text: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """What ``nft -j list ruleset`` printed: (sort, object)."""
    return tuple((sort, one) for item in json.loads(text)["nftables"] for sort, one in item.items())


def base_chains(objects: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[BaseChain]:
    """Yield the chains that the kernel calls, each with its rules."""
    items = tuple(objects)
    rules: dict[tuple[str, str, str], list[Any]] = {}
    for sort, one in items:
        if sort == "rule":
            rules.setdefault((one["family"], one["table"], one["chain"]), []).append(one)
    for sort, one in items:
        if sort == "chain" and "hook" in one:
            place = one["family"], one["table"], one["name"]
            found = tuple(rules.get(place, ()))
            yield BaseChain(*place, one["hook"], one["type"], one.get("policy", ""), found)
