"""The operations of a plan; each is one message to the kernel."""

from dataclasses import dataclass
from enum import Enum

from cni_plugin.plan.rules import WantedRules
from cni_plugin.spec.kernel_state import PortVlans
from cni_plugin.spec.result import Address, Cidr, Route


class Side(Enum):
    """The namespace that an operation works in."""

    HOST = "host"
    POD = "pod"


@dataclass(frozen=True, slots=True)
class CreateBridge:
    """Create a bridge with a pinned MAC address, up, unless it exists.

    Without a pinned address a bridge takes the lowest address of its ports, and changes with them.
    """

    name: str
    mac: str
    mtu: int


@dataclass(frozen=True, slots=True)
class CreateVeth:
    """Create a veth pair: ``host`` up, and in ``bridge`` unless that is empty; ``pod`` down."""

    host: str
    host_mac: str
    pod: str
    pod_mac: str
    mtu: int
    bridge: str = ""


@dataclass(frozen=True, slots=True)
class CreateIfb:
    """Create an IFB: a device that received packets pass, so that a qdisc can limit them."""

    name: str
    mtu: int


@dataclass(frozen=True, slots=True)
class SetPort:
    """Configure a bridge's port. ``alias`` names the attachment for people and for GC.

    A ``locked`` port accepts frames of known senders only (bridge(8); Linux 5.18).
    """

    name: str
    hairpin: bool
    isolated: bool
    locked: bool
    alias: str


@dataclass(frozen=True, slots=True)
class FilterVlans:
    """Switch a bridge's VLAN filtering on."""

    name: str


@dataclass(frozen=True, slots=True)
class LeaveVlans:
    """Take a bridge's port out of all VLANs."""

    name: str


@dataclass(frozen=True, slots=True)
class JoinVlans:
    """Put a bridge's port into VLANs; with ``own`` the bridge itself."""

    name: str
    vlans: PortVlans
    own: bool = False


@dataclass(frozen=True, slots=True)
class CreateVlan:
    """Create the host's link in a VLAN of a bridge, up, unless it exists."""

    name: str
    bridge: str
    vlan: int


@dataclass(frozen=True, slots=True)
class KnowSender:
    """Add the sender behind a port to the bridge's forwarding database, permanently."""

    name: str
    mac: str


@dataclass(frozen=True, slots=True)
class SetUp:
    """Bring a link up.

    With ``announces`` the link announces its IPv4 addresses whenever it comes up or its MAC is set
    (arp_notify in Documentation/networking/ip-sysctl.rst).
    """

    side: Side
    name: str
    announces: bool = False


@dataclass(frozen=True, slots=True)
class SetLink:
    """Change the properties of a link that are not empty."""

    side: Side
    name: str
    mac: str = ""
    mtu: int = 0
    alias: str = ""
    promiscuous: bool = False
    all_multicast: bool | None = None
    queue_length: int | None = None


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Add an address to a link.

    ``dad`` is duplicate address detection (RFC 4862 section 5.4). With ``on_link`` the kernel adds
    a route to the address's subnet.
    """

    side: Side
    name: str
    address: Cidr
    dad: bool = False
    on_link: bool = True


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    """Remove an address of a link."""

    side: Side
    name: str
    address: Cidr


@dataclass(frozen=True, slots=True)
class AddRoute:
    """Add a route through the link ``name``."""

    side: Side
    name: str
    route: Route


@dataclass(frozen=True, slots=True)
class ForgetNeighbor:
    """Delete a link's neighbor entry, with the packets that wait for an answer.

    The next container with the address may have another MAC, and other policies.
    """

    name: str
    address: Address


@dataclass(frozen=True, slots=True)
class ForgetFlows:
    """Delete conntrack's UDP flows to ports of the host."""

    ports: frozenset[int]


@dataclass(frozen=True, slots=True)
class WriteSysctl:
    """Write ``net/...`` below /proc/sys; an ``optional`` one may be missing."""

    side: Side
    key: str
    value: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class AwaitForwarding:
    """Wait until a bridge's port forwards: it starts some time after the link has a carrier."""

    name: str


@dataclass(frozen=True, slots=True)
class AwaitRunning:
    """Wait until a link of the host sends: it starts some time after its first carrier.

    Before that, packets are dropped (linkwatch_do_dev in net/core/link_watch.c), for example the
    answer to a container's first ARP request. The container repeats it after a second only.
    """

    name: str


@dataclass(frozen=True, slots=True)
class AwaitAddresses:
    """Wait until duplicate address detection is done for a container's addresses (RFC 4862)."""

    name: str
    addresses: tuple[Cidr, ...]


@dataclass(frozen=True, slots=True)
class LimitRate:
    """Limit a link's sending to ``rate`` bytes per second, ``burst`` bytes at once (tc-tbf(8))."""

    name: str
    rate: int
    burst: int


@dataclass(frozen=True, slots=True)
class RedirectIngress:
    """Redirect a link's received packets to another device (tc-mirred(8))."""

    name: str
    to: str


@dataclass(frozen=True, slots=True)
class AddRules:
    """Add an attachment's firewall rules."""

    rules: WantedRules


Op = (
    CreateBridge
    | CreateVeth
    | CreateIfb
    | SetPort
    | FilterVlans
    | LeaveVlans
    | JoinVlans
    | CreateVlan
    | KnowSender
    | SetUp
    | SetLink
    | AddAddress
    | RemoveAddress
    | AddRoute
    | ForgetNeighbor
    | ForgetFlows
    | WriteSysctl
    | AwaitForwarding
    | AwaitRunning
    | AwaitAddresses
    | LimitRate
    | RedirectIngress
    | AddRules
)
