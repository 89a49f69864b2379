"""A packet as rules see it: its headers, its devices, its mark, its connection."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

import msgspec
from msgspec import Struct

TCP, UDP, SCTP, ICMP, ICMP6 = 6, 17, 132, 1, 58
NUMBERS = {"tcp": TCP, "udp": UDP, "sctp": SCTP, "icmp": ICMP, "icmpv6": ICMP6}
NAMES = {number: name for name, number in NUMBERS.items()}
_PORTED = (TCP, UDP, SCTP)
SYN, RST, ACK = 0x02, 0x04, 0x10
SNAT, DNAT = 0x10, 0x20  # IPS_SRC_NAT, IPS_DST_NAT
CONFIRMED, SRC_DONE, DST_DONE = 0x8, 0x80, 0x100

Address = IPv4Address | IPv6Address


class Device(Struct, frozen=True):
    """A network device."""

    index: int
    name: str
    kind: str = ""
    group: int = 0
    hardware: int = 1  # ARPHRD_ETHER; loopback 772


class Tuple(Struct, frozen=True):
    """One direction of a connection."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int

    def turned(self) -> "Tuple":
        """The other direction."""
        return Tuple(self.destination, self.source, self.destination_port, self.source_port)


class Entry(Struct, frozen=True):
    """An entry of conntrack's table. ``state`` is of TCP; ``closing``: it is being closed."""

    original: Tuple
    reply: Tuple
    status: int = 0  # IPS_...
    mark: int = 0
    state: str = ""
    closing: bool = False
    seconds: int = 0  # that are left


class Flow(Struct, frozen=True):
    """What conntrack knows: ``state`` is new, established, related, invalid or untracked.

    ``entry`` is where it was found, if the packet does not begin it; ``closed`` is an entry that it
    takes the place of.
    """

    state: str = "new"
    status: int = 0
    mark: int = 0
    is_reply: bool = False
    original: Tuple | None = None
    reply: Tuple | None = None
    bound: int = 0  # how many rules have said what becomes of the addresses
    entry: Entry | None = None
    closed: Entry | None = None

    @property
    def translated(self) -> int:
        """The bits SNAT and DNAT."""
        return self.status & (SNAT | DNAT)


class Packet(Struct, frozen=True):
    """The bytes of a packet from its network header on; checksums are not kept."""

    network: bytes
    transport: bytes

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.network[0] >> 4

    @property
    def protocol(self) -> int:
        """The number of the transport's protocol."""
        return self.network[9 if self.version == 4 else 6]

    @property
    def source(self) -> Address:
        """The source address."""
        return ip_address(self.source_bytes)

    @property
    def destination(self) -> Address:
        """The destination address."""
        return ip_address(self.destination_bytes)

    @property
    def source_bytes(self) -> bytes:
        """The source address."""
        return self.network[12:16] if self.version == 4 else self.network[8:24]

    @property
    def destination_bytes(self) -> bytes:
        """The destination address."""
        return self.network[16:20] if self.version == 4 else self.network[24:40]

    @property
    def has_ports(self) -> bool:
        """True for TCP, UDP and SCTP."""
        return self.protocol in _PORTED

    @property
    def has_numbers(self) -> bool:
        """True if translation may change a port, or ICMP's identifier."""
        return self.has_ports or self.protocol in (ICMP, ICMP6)

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port; of ICMP the identifier twice, as conntrack has it."""
        if self.has_ports:
            first, second = struct.unpack_from("!HH", self.transport)
            return int(first), int(second)
        number = int.from_bytes(self.transport[4:6], "big")
        return number, number

    @property
    def flow_tuple(self) -> Tuple:
        """The packet's direction of its connection."""
        return Tuple(self.source_bytes, self.destination_bytes, *self.ports)

    def rewritten(self, to: Tuple) -> "Packet":
        """Return the packet with other addresses and ports."""
        if self.version == 4:
            network = self.network[:12] + to.source + to.destination + self.network[20:]
        else:
            network = self.network[:8] + to.source + to.destination + self.network[40:]
        transport = self.transport
        if self.has_ports:
            transport = struct.pack("!HH", to.source_port, to.destination_port) + self.transport[4:]
        elif self.has_numbers:
            own, _ = self.ports
            number = to.source_port if to.source_port != own else to.destination_port
            transport = transport[:4] + struct.pack("!H", number) + transport[6:]
        return msgspec.structs.replace(self, network=network, transport=transport)


class State(Struct, frozen=True):
    """A packet at one place in the kernel."""

    packet: Packet
    mark: int = 0
    flow: Flow | None = None
    iif: Device | None = None
    oif: Device | None = None
    pkttype: int = 0  # to this host; 3 is to another, which a bridge may pass on
    open_port: str = ""  # "source" or "destination": the kernel chose that port, it is not known
    local: bool = False  # a socket of this namespace sent it
    bridged: bool = False  # a bridge shows it to the rules (br_netfilter), which know its ports:
    port_in: Device | None = None
    port_out: Device | None = None
    recent: tuple[tuple[str, bytes], ...] = ()  # tables of iptables' recent that it has entered


class Fib(Protocol):
    """The routes and addresses of one network namespace."""

    def kind(self, address: Address, device: int | None) -> int:
        """The type of an address's route: RTN_UNICAST 1, RTN_LOCAL 2 ..."""
        ...

    def device(self, state: State, flags: int) -> Device | None:
        """The device to which the ``fib`` expression's route leads."""
        ...

    def own_address(self, device: Device, toward: Address) -> Address:
        """The address that this device's packets get."""
        ...


class Connections(Protocol):
    """The connections that one network namespace tracks."""

    def find(self, packet: Packet, wanted: Tuple, *, answer: bool = False) -> Entry | None:
        """The entry that has these ends in one of its directions; ``answer``: of its answer."""
        ...


def make(
    source: str,
    destination: str,
    protocol: int = TCP,
    source_port: int = 40000,
    destination_port: int = 0,
    *,
    flags: int = SYN,
    payload: bytes = b"",
    ttl: int = 64,
    tos: int = 0,
    df: bool = True,
) -> Packet:
    """Make a packet; of ICMP an echo request, whose identifier is the source port."""
    first, second = ip_address(source), ip_address(destination)
    transport = _transport(protocol, source_port, destination_port, flags) + payload
    if first.version == 4:
        fragment = 0x4000 if df else 0
        length = 20 + len(transport)
        head = struct.pack("!BBHHHBBH", 0x45, tos, length, 0, fragment, ttl, protocol, 0)
    else:
        head = struct.pack("!IHBB", 0x60000000 | tos << 20, len(transport), protocol, ttl)
    return Packet(head + first.packed + second.packed, transport)


def _transport(protocol: int, source: int, destination: int, flags: int) -> bytes:
    if protocol == TCP:
        return struct.pack("!HHIIBBHHH", source, destination, 0, 0, 0x50, flags, 64240, 0, 0)
    if protocol == UDP:
        return struct.pack("!HHHH", source, destination, 8, 0)
    if protocol == SCTP:
        return struct.pack("!HHII", source, destination, 0, 0)
    kind = 8 if protocol == ICMP else 128
    return struct.pack("!BBHHH", kind, 0, 0, source, 1)
