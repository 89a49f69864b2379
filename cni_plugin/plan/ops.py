"""The operations that a plan is made of; each is one message to the kernel."""

from dataclasses import dataclass
from enum import Enum

from cni_plugin.plan.rules import WantedRules
from cni_plugin.spec.kernel_state import PortVlans
from cni_plugin.spec.result import Address, Cidr, Route


class Side(Enum):
    """Which of the two namespaces of an attachment an operation works in."""

    HOST = "host"
    POD = "pod"


@dataclass(frozen=True, slots=True)
class CreateBridge:
    """A bridge with its address fixed from the beginning, up; one that is there already is fine.

    Without a pinned address a bridge takes the lowest of its ports', and changes it with them.
    """

    name: str
    mac: str
    mtu: int


@dataclass(frozen=True, slots=True)
class CreateVeth:
    """A pair: ``host`` up and, where there is one, in ``bridge`` here; ``pod`` down inside."""

    host: str
    host_mac: str
    pod: str
    pod_mac: str
    mtu: int
    bridge: str = ""


@dataclass(frozen=True, slots=True)
class CreateIfb:
    """A device that takes in what a link received, so that it can be delayed like sending."""

    name: str
    mtu: int


@dataclass(frozen=True, slots=True)
class SetPort:
    """How the bridge treats one of its ports; ``alias`` tells people and GC whose it is.

    ``locked``: it takes frames from known senders only (bridge(8); Linux 5.18).
    """

    name: str
    hairpin: bool
    isolated: bool
    locked: bool
    alias: str


@dataclass(frozen=True, slots=True)
class FilterVlans:
    """Let a bridge keep its VLANs apart."""

    name: str


@dataclass(frozen=True, slots=True)
class LeaveVlans:
    """Take a bridge's port out of all VLANs."""

    name: str


@dataclass(frozen=True, slots=True)
class JoinVlans:
    """Put a bridge's port into VLANs; ``own``: the bridge itself."""

    name: str
    vlans: PortVlans
    own: bool = False


@dataclass(frozen=True, slots=True)
class CreateVlan:
    """A link of the host's in a VLAN of a bridge, up; one that is there already is fine."""

    name: str
    bridge: str
    vlan: int


@dataclass(frozen=True, slots=True)
class KnowSender:
    """Let the bridge know who is behind a port, once and for all."""

    name: str
    mac: str


@dataclass(frozen=True, slots=True)
class SetUp:
    """Bring a link up; ``announces``: it will tell its neighbours its IPv4 addresses whenever it
    comes up again, or its MAC is set (arp_notify in Documentation/networking/ip-sysctl.rst).
    """

    side: Side
    name: str
    announces: bool = False


@dataclass(frozen=True, slots=True)
class SetLink:
    """Change what is given of a link."""

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
    """Give a link an address.

    ``dad`` is duplicate address detection (RFC 4862 section 5.4); ``on_link``: the rest of the
    subnet is on the link too.
    """

    side: Side
    name: str
    address: Cidr
    dad: bool = False
    on_link: bool = True


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    """Take an address from a link."""

    side: Side
    name: str
    address: Cidr


@dataclass(frozen=True, slots=True)
class AddRoute:
    """A route through the link ``name``."""

    side: Side
    name: str
    route: Route


@dataclass(frozen=True, slots=True)
class ForgetNeighbour:
    """Drop what a link learned of an address: its new holder may have another MAC."""

    name: str
    address: Address


@dataclass(frozen=True, slots=True)
class ForgetFlows:
    """Drop the UDP connections to ports of the host that conntrack remembers."""

    ports: frozenset[int]


@dataclass(frozen=True, slots=True)
class WriteSysctl:
    """Set ``net/...`` under /proc/sys in one namespace; ``optional``: not every kernel has it."""

    side: Side
    key: str
    value: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class AwaitForwarding:
    """Wait until a bridge lets frames through a port: the link's carrier gets there later."""

    name: str


@dataclass(frozen=True, slots=True)
class AwaitRunning:
    """Wait until the host sends through a link: with its first carrier that comes later too.

    Before, all that it sends is dropped, such as the answer to a container's first question who
    has the gateway's address, which it then repeats after a second (linkwatch_do_dev in
    net/core/link_watch.c).
    """

    name: str


@dataclass(frozen=True, slots=True)
class AwaitAddresses:
    """Wait until duplicate address detection has passed a container's addresses (RFC 4862)."""

    name: str
    addresses: tuple[Cidr, ...]


@dataclass(frozen=True, slots=True)
class LimitRate:
    """A token bucket (tc-tbf(8)) for what a link sends: bytes per second, bytes at once."""

    name: str
    rate: int
    burst: int


@dataclass(frozen=True, slots=True)
class RedirectIngress:
    """Send what a link receives through another device first (tc-mirred(8))."""

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
    | ForgetNeighbour
    | ForgetFlows
    | WriteSysctl
    | AwaitForwarding
    | AwaitRunning
    | AwaitAddresses
    | LimitRate
    | RedirectIngress
    | AddRules
)
