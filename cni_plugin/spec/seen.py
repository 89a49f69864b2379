"""What the plugin sees of the kernel, as values."""

from dataclasses import dataclass

from cni_plugin.spec.result import Address, Cidr, Network


@dataclass(frozen=True, slots=True)
class Link:
    """A link as it is: ``running`` when it sends; the last four only of a bridge's port."""

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    running: bool
    promiscuous: bool
    master: int
    peer: int
    alias: str
    hairpin: bool | None = None
    isolated: bool | None = None
    locked: bool | None = None
    forwarding: bool | None = None


@dataclass(frozen=True, slots=True)
class Vlans:
    """The VLANs of a bridge's port: ``native`` is where its untagged frames go, 0 nowhere.

    The port sends frames of ``untagged`` without a tag, those of ``tagged`` with theirs.
    """

    native: int = 0
    tagged: frozenset[int] = frozenset()
    untagged: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A route as it is; ``link`` is an interface index."""

    dst: Network
    gw: Address | None
    link: int
    table: int
    priority: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What ADD has to know before it plans.

    ``gateway`` is the link that has the gateway's addresses: the bridge, or its link in a VLAN.
    ``peer`` is the host's end of an interface that another plugin made, if it has one.
    """

    bridge: Link | None
    gateway_addresses: tuple[Cidr, ...]
    host_taken: bool
    pod_taken: bool
    outside_mtu: int
    boot_id: str
    pod_has_ipv6: bool = True
    peer: str = ""
    peer_bridge: str = ""
    peer_mtu: int = 0
    gateway: Link | None = None
    filters_vlans: bool = False
