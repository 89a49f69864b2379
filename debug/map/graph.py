"""A network's topology as values: places, the devices in them, and the cables between these."""

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from debug.model import Level


class Role(StrEnum):
    """What a place is."""

    NODE = "node"
    POD = "pod"
    SWITCH = "switch"  # the network between a lab's machines
    NETWORK = "network"  # one that is known only by nodes' addresses in it


class CableKind(StrEnum):
    """How two devices are joined."""

    VETH = "veth"  # the two ends of one pair
    UPLINK = "uplink"  # a device of hardware, and the network that its addresses are of
    TUNNEL = "tunnel"  # a VXLAN device, and the node that it sends to
    ROUTE = "route"  # a route whose next hop is another place


class Device(Struct, frozen=True, omit_defaults=True):
    """A network device, and why somebody should look at it."""

    name: str
    kind: str = ""  # veth, bridge, vxlan ...; "" for one of hardware
    addresses: tuple[str, ...] = ()
    mtu: int = 0
    bridge: str = ""  # the name of the bridge that it is a port of
    detail: str = ""  # in words, such as "VNI 1, UDP port 4789"
    level: Level = Level.OK
    why: tuple[str, ...] = ()


class Spot(Struct, frozen=True, omit_defaults=True):
    """A place of the map: a node, a Pod, a switch or a network."""

    id: str  # "Node node1", "Pod default/web"
    role: Role
    node: str = ""
    devices: tuple[Device, ...] = ()
    level: Level = Level.OK  # the worst of the place itself and of its devices
    why: tuple[str, ...] = ()  # of the place itself


class End(Struct, frozen=True, omit_defaults=True):
    """One end of a cable."""

    place: str  # a Spot's id, or an address that no place has
    device: str = ""


class Cable(Struct, frozen=True, omit_defaults=True):
    """What joins two devices. Its level is the worst of its own and of its two ends'."""

    kind: CableKind
    a: End
    b: End
    label: str = ""
    level: Level = Level.OK
    why: tuple[str, ...] = ()  # of the cable itself


class Graph(Struct, frozen=True, omit_defaults=True):
    """A topology at one moment. ``unread`` says of what is missing why it is."""

    taken: str  # RFC 3339
    places: tuple[Spot, ...] = ()
    cables: tuple[Cable, ...] = ()
    unread: tuple[str, ...] = ()

    def at(self, end: End) -> tuple[Cable, ...]:
        """The cables at a device."""
        return tuple(cable for cable in self.cables if end in (cable.a, cable.b))

    @property
    def level(self) -> Level:
        """The worst level of all."""
        spots = (spot.level for spot in self.places)
        return worst([*spots, *(cable.level for cable in self.cables)])


def worst(levels: Iterable[Level]) -> Level:
    """Return the worst of some levels; ok of none."""
    return max(levels, key=lambda level: level.weight, default=Level.OK)
