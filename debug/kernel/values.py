"""The state of one network namespace, as values that a JSON file can hold."""

from msgspec import Struct, field


class Link(Struct, frozen=True, omit_defaults=True):
    """A network device; a veth's ``peer`` is an index in ``peer_netns`` (-1: here)."""

    index: int
    name: str
    kind: str = ""  # veth, bridge, vxlan ...; "" for one of hardware
    mac: str = ""
    mtu: int = 0
    up: bool = False
    carrier: bool = False
    promiscuous: bool = False
    master: int = 0  # index of its bridge
    peer: int = 0
    peer_netns: int = -1  # the kernel's number for the peer's namespace, in this namespace
    vni: int | None = None  # of a VXLAN device
    port: int | None = None  # likewise, UDP
    local: str = ""  # likewise, the address that its packets come from
    hairpin: bool | None = None  # of a bridge's port
    dropped: int = 0  # packets received and sent, as the device counts
    errors: int = 0
    group: int = 0
    hardware: int = 1  # ARPHRD_ETHER; loopback 772
    filtered: tuple[int, ...] = ()  # a bridge's own setting: IP versions whose rules see its frames


class Address(Struct, frozen=True, omit_defaults=True):
    """An address of a link, ``ip`` with its prefix length."""

    link: int
    ip: str
    tentative: bool = False
    duplicate: bool = False  # another host answered when it was probed (RFC 4862)


class Neighbor(Struct, frozen=True, omit_defaults=True):
    """An entry of a neighbor table."""

    link: int
    ip: str
    state: str  # reachable, stale, failed, permanent ...
    mac: str = ""


class Forwarding(Struct, frozen=True, omit_defaults=True):
    """An entry of a bridge's or of a VXLAN device's forwarding table."""

    link: int
    mac: str
    destination: str = ""  # of a tunnel: the other node
    permanent: bool = False


class Route(Struct, frozen=True, omit_defaults=True):
    """A route. ``destination`` has a prefix length; default routes have 0.0.0.0/0 and ::/0."""

    destination: str
    kind: str = "unicast"
    link: int = 0
    gateway: str = ""
    source: str = ""
    table: int = 254
    metric: int = 0
    protocol: int = 0
    mtu: int = 0


class Rule(Struct, frozen=True, omit_defaults=True):
    """A rule of policy routing: which table is asked, in the order of ``priority``."""

    family: int  # 4 or 6
    priority: int
    table: int
    source: str = ""
    destination: str = ""
    mark: str = ""  # VALUE/MASK
    iif: str = ""  # names of links
    oif: str = ""
    action: int = 1  # FR_ACT_TO_TBL
    other: tuple[str, ...] = ()  # what it asks for besides, by rtnetlink's names


class SpaceState(Struct, frozen=True, omit_defaults=True):
    """All that was read of one network namespace."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    neighbors: tuple[Neighbor, ...] = ()
    forwarding: tuple[Forwarding, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)  # "net/ipv4/ip_forward": "1"
    counters: dict[str, int] = field(default_factory=dict)  # "Udp/InCsumErrors": 0

    def link(self, index: int) -> Link | None:
        """The link of an index."""
        return next((link for link in self.links if link.index == index), None)

    def named(self, name: str) -> Link | None:
        """The link of a name."""
        return next((link for link in self.links if link.name == name), None)
