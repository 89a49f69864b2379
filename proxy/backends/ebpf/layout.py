"""Packs values as the maps hold them: pure. bpf/maps.h declares the same structures."""

import struct
import sys
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from proxy.backends.ebpf.options import EbpfOptions
from proxy.desired.portals import Masquerade
from proxy.model.settings import ProxySettings
from proxy.model.values import (
    PROTOCOL_NUMBERS,
    Address,
    Family,
    Frozen,
    Network,
    Protocol,
    Target,
)

_MASQUERADE = {
    Masquerade.NEVER: 1,
    Masquerade.ALWAYS: 2,
    Masquerade.NOT_PODS: 3,
    Masquerade.THIS_NODE: 4,
}
_MASQUERADED = {number: one for one, number in _MASQUERADE.items()}
_ANY: Mapping[Family, Address] = {Family.V4: IPv4Address(0), Family.V6: IPv6Address(0)}
ROW = 64  # seats in one entry
PRESENT = b"\1"  # the value of a set's entry
LASTING = b"\2"  # the value of an endpoint that keeps its UDP sockets, and gets no new ones
_NO_PORT = bytes(4)  # the bytes after the address, for any port
_MAPPED = b"\0" * 10 + b"\xff\xff"  # ::ffff:0:0/96, as IPv6 sockets see IPv4
_NUMBER = struct.Struct("=I")
_TARGET_V4 = struct.Struct("!12s4sHH")
_PORTS = struct.Struct("!HH")
_FORWARD = struct.Struct("=IIIIQIIBBBBBB2x")
_CHOICES = struct.Struct("=Q6B2x")
FORWARD, TARGET, SLOT, ADMITTED = _FORWARD.size, 20, 8, 24  # bytes
SETTINGS = _CHOICES.size + 2 * 32


class Pool(Frozen, frozen=True):
    """Endpoints, of which any may be chosen. ``number`` is the pool's ID in the maps.

    ``count`` is the number of its slots, or of its seats.
    """

    number: int
    count: int


NO_POOL = Pool(0, 0)


class ForwardEntry(NamedTuple):
    """A frontend's rule (``struct forward``).

    ``by_nftables`` leaves the frontend to nftables. ``portal`` is the ID of the Service's port.
    ``affinity`` is in seconds, 0 for none. ``ranges`` is the ID of the allowed source ranges, 0 if
    all sources are allowed. With ``direct`` the endpoint's node answers by itself, and ``inside``
    is the part of the pool that is on this node. ``least_connections`` balances by open
    connections.
    """

    pool: Pool = NO_POOL
    inside: Pool | None = None
    portal: int = 0
    affinity: int = 0
    ranges: int = 0
    masquerade: Masquerade = Masquerade.NEVER
    rejects: bool = False
    by_nftables: bool = False
    direct: bool = False
    least_connections: bool = False

    def pack(self) -> bytes:
        """Pack ``struct forward``."""
        inside = self.inside or NO_POOL
        return _FORWARD.pack(
            self.pool.number,
            self.pool.count,
            inside.number,
            inside.count,
            self.portal,
            self.affinity,
            self.ranges,
            _MASQUERADE[self.masquerade],
            self.inside is not None and not self.direct,
            self.rejects,
            self.by_nftables,
            self.direct,
            self.least_connections,
        )


def pack_address(address: Address) -> bytes:
    """Pack ``struct address``."""
    return _as_ipv6(address.packed)


def _as_ipv6(packed: bytes) -> bytes:
    """Return an address as IPv6 sockets see it."""
    return packed if len(packed) == 16 else _MAPPED + packed


def unpack_address(data: bytes) -> Address:
    """The way back from ``pack_address``."""
    return ip_address(data.removeprefix(_MAPPED) if data.startswith(_MAPPED) else data)


def unpack_forward(data: bytes) -> ForwardEntry:
    """The way back from ``ForwardEntry.pack``."""
    pool, count, inside, inside_count, portal, affinity, ranges, *flags = _FORWARD.unpack(data)
    masquerade, has_inside, rejects, by_nftables, direct, least = flags
    return ForwardEntry(
        pool=Pool(pool, count),
        inside=Pool(inside, inside_count) if has_inside or direct else None,
        portal=portal,
        affinity=affinity,
        ranges=ranges,
        masquerade=_MASQUERADED.get(masquerade, Masquerade.NEVER),
        rejects=bool(rejects),
        by_nftables=bool(by_nftables),
        direct=bool(direct),
        least_connections=bool(least),
    )


def unpack_target(data: bytes) -> tuple[Address, int, int]:
    """Return the address, the port and the protocol's number of ``struct target``."""
    port = int.from_bytes(data[16:18], "big")
    return unpack_address(data[:16]), port, int.from_bytes(data[18:20], sys.byteorder)


def unpack_slot(data: bytes) -> tuple[int, int]:
    """Return the numbers of the pool and of its slot, or row, in ``struct slot``."""
    pool, number = struct.unpack("=II", data)
    return pool, number


def unpack_row(data: bytes) -> tuple[int, ...]:
    """Return the slots of ``struct row``."""
    return struct.unpack(f"={ROW}H", data)


def unpack_admitted(data: bytes) -> tuple[int, Network]:
    """Return the ID and the network of ``struct admitted``."""
    bits, ranges = struct.unpack("=I", data[:4])[0] - 32, int.from_bytes(data[4:8], "big")
    address = unpack_address(data[8:24])
    length = bits - 96 if address.version == 4 else bits
    return ranges, ip_network(f"{address}/{length}")


def pack_frontend(family: Family, address: Address | None, port: int, protocol: Protocol) -> bytes:
    """Pack ``struct target`` of a frontend. ``address`` None stands for the NodePort addresses."""
    where = pack_address(_ANY[family] if address is None else address)
    return where + struct.pack("!H", port) + struct.pack("=H", PROTOCOL_NUMBERS[protocol])


def pack_targets(targets: Iterable[Target]) -> list[bytes]:
    """Pack ``struct target`` of each endpoint."""
    return [
        _TARGET_V4.pack(_MAPPED, address, port, 0)
        if len(address) == 4
        else address + _PORTS.pack(port, 0)
        for address, port in targets
    ]


def pack_number(number: int) -> bytes:
    """Pack ``__u32``."""
    return _NUMBER.pack(number)


def pack_slot(pool: int, number: int) -> bytes:
    """Pack ``struct slot``."""
    return struct.pack("=II", pool, number)


def pack_slots(pool: int, count: int) -> list[bytes]:
    """Return ``struct slot`` of a pool's first slots."""
    head, pack = pack_number(pool), _NUMBER.pack
    return [head + pack(number) for number in range(count)]


def pack_members(pool: int, targets: Iterable[bytes]) -> list[bytes]:
    """Return ``struct member`` of packed targets."""
    number = pack_number(pool)
    return [number + target for target in targets]


def pack_callers(pool: int, addresses: Iterable[bytes]) -> list[bytes]:
    """Return ``struct member`` of packed addresses with any port."""
    number = pack_number(pool)
    return [number + _as_ipv6(address) + _NO_PORT for address in addresses]


def pack_end(address: str, port: int, protocol: int) -> bytes:
    """Pack ``struct target`` of one end of a flow; ``protocol`` is 0 but for what is called."""
    return pack_address(ip_address(address)) + struct.pack("!H", port) + struct.pack("=H", protocol)


def pack_admitted(ranges: int, network: Network) -> bytes:
    """Pack ``struct admitted``: one of the source ranges with the ID ``ranges``."""
    bits = 32 + network.prefixlen + (96 if network.version == 4 else 0)
    return struct.pack("=I", bits) + struct.pack("!I", ranges) + pack_address(network[0])


def pack_seats(pool: int, table: list[int]) -> dict[bytes, bytes]:
    """Pack the rows of a pool's seats by their keys; ``table`` has the slot of each seat."""
    rows = (table[at : at + ROW] for at in range(0, len(table), ROW))
    return {
        pack_slot(pool, number): struct.pack(f"={ROW}H", *row, *[0] * (ROW - len(row)))
        for number, row in enumerate(rows)
    }


def pack_settings(settings: ProxySettings, options: EbpfOptions, node: int) -> bytes:
    """Pack ``struct settings``. ``node`` is the cookie of the node's network namespace."""
    detectors = {family: settings.pods.get(family) for family in Family}
    by_range = sum(
        1 << bit for bit, detector in enumerate(detectors.values()) if detector and detector.network
    )
    by_interface = sum(
        1 << bit
        for bit, detector in enumerate(detectors.values())
        if detector and not detector.network
    )
    loopback = settings.is_node_port_address(IPv4Address("127.0.0.1"))
    choices = (options.by_hash, options.direct, options.counts_packets)
    head = _CHOICES.pack(node, loopback, by_range, by_interface, *choices)
    ranges = (detector.network if detector else None for detector in detectors.values())
    return head + b"".join(_pack_range(network) for network in ranges)


def unpack_options(data: bytes) -> tuple[int, EbpfOptions]:
    """Return the node's cookie, and the options that ``struct settings`` has."""
    node, _, _, _, by_hash, direct, counts = _CHOICES.unpack_from(data)
    options = EbpfOptions(by_hash=bool(by_hash), direct=bool(direct), counts_packets=bool(counts))
    return node, options


def unpack_member(data: bytes) -> tuple[int, Target]:
    """Return the number of the pool and the target of ``struct member``."""
    return int.from_bytes(data[:4], sys.byteorder), Target.of(*unpack_target(data[4:])[:2])


class PodRanges(NamedTuple):
    """How the programs know Pods: by ``ranges``, or some by interface, which no map tells."""

    ranges: tuple[Network, ...]
    by_interface: bool
    direct: bool  # some frontends are served by direct server return


def unpack_settings(data: bytes) -> PodRanges:
    """Return of ``struct settings`` what decides whose packets are translated."""
    _, _, by_range, by_interface, _, direct, _ = _CHOICES.unpack_from(data)
    parts = [data[_CHOICES.size + at : _CHOICES.size + at + 32] for at in (0, 32)]
    ranges = [_unpack_range(part) for bit, part in enumerate(parts) if by_range >> bit & 1]
    return PodRanges(tuple(ranges), bool(by_interface), bool(direct))


def _unpack_range(data: bytes) -> Network:
    first, bits = unpack_address(data[:16]), int.from_bytes(data[16:], "big").bit_count()
    return ip_network(f"{first}/{bits - 96 if first.version == 4 else bits}")


def _pack_range(network: Network | None) -> bytes:
    if network is None:
        return bytes(32)
    mask = network.netmask.packed
    if isinstance(network, IPv4Network):
        mask = b"\xff" * 12 + mask
    return pack_address(network.network_address) + mask
