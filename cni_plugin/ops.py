"""The operations that a plan is made of; each is one message to the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cni_plugin.result import Address, Cidr, Route


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
class PinMac:
    """Fix the address that a bridge has: else it changes with the bridge's ports."""

    name: str
    mac: str


@dataclass(frozen=True, slots=True)
class CreateVeth:
    """A pair: ``host`` up and in ``bridge`` here, ``pod`` down in the container."""

    host: str
    host_mac: str
    pod: str
    pod_mac: str
    mtu: int
    bridge: str


@dataclass(frozen=True, slots=True)
class SetPort:
    """How the bridge treats one of its ports; ``alias`` tells people and GC whose it is."""

    name: str
    hairpin: bool
    isolated: bool
    alias: str


@dataclass(frozen=True, slots=True)
class SetUp:
    """Bring a link up."""

    side: Side
    name: str


@dataclass(frozen=True, slots=True)
class SetPromiscuous:
    """Let a link take in frames for any address."""

    side: Side
    name: str


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Give a link an address; ``dad`` is duplicate address detection (RFC 4862 section 5.4)."""

    side: Side
    name: str
    address: Cidr
    dad: bool = False


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    """Take an address from a link."""

    side: Side
    name: str
    address: Cidr


@dataclass(frozen=True, slots=True)
class AddRoute:
    """A route in the container, through its interface ``name``."""

    name: str
    route: Route


@dataclass(frozen=True, slots=True)
class ForgetNeighbour:
    """Drop what a link learned of an address: its new holder may have another MAC."""

    name: str
    address: Address


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


Op = (
    CreateBridge
    | PinMac
    | CreateVeth
    | SetPort
    | SetUp
    | SetPromiscuous
    | AddAddress
    | RemoveAddress
    | AddRoute
    | ForgetNeighbour
    | WriteSysctl
    | AwaitForwarding
)
