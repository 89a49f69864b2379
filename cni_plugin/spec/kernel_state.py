"""The kernel's state, as far as the plugin reads it."""

from dataclasses import dataclass

from cni_plugin.spec.result import Address, Cidr, Network


@dataclass(frozen=True, slots=True)
class Link:
    """A network link. ``running`` is true when it sends.

    ``hairpin``, ``isolated``, ``locked`` and ``forwarding`` are None unless it is a bridge's port.
    """

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
class PortVlans:
    """The VLANs of a bridge's port.

    Untagged frames that the port receives belong to ``native``; 0 means that they are dropped. The
    port sends frames of ``untagged`` without a tag, and frames of ``tagged`` with their tag.
    """

    native: int = 0
    tagged: frozenset[int] = frozenset()
    untagged: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A route of the kernel. ``link`` is an interface index."""

    dst: Network
    gw: Address | None
    link: int
    table: int
    priority: int


@dataclass(frozen=True, slots=True)
class StateBeforeAdd:
    """The state that ADD's plan depends on.

    ``gateway`` is the link with the gateway's addresses: the bridge, or its link in a VLAN.
    ``peer`` is the host's end of an interface that another plugin made, empty if it has none.
    ``outside_mtu`` is the MTU of the host's uplinks and tunnels, 0 if it is not needed.
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
