"""Values as the maps hold them: pure. bpf/maps.h declares the same structures."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from proxy.backends.ebpf.options import EbpfOptions
from proxy.desired.portals import Masquerade
from proxy.model.settings import ProxySettings
from proxy.model.values import Address, Family, Network, Protocol, Target

_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
_MASQUERADE = {
    Masquerade.NEVER: 1,
    Masquerade.ALWAYS: 2,
    Masquerade.NOT_PODS: 3,
    Masquerade.THIS_NODE: 4,
}
_ANY: Mapping[Family, Address] = {Family.V4: IPv4Address(0), Family.V6: IPv6Address(0)}
ROW = 64  # seats in one entry
PRESENT = b"\1"  # the value of a set's entry
_ADDRESS = 16  # bytes of ``struct target`` that are the address
_NO_PORT = bytes(4)  # instead of the others
_MAPPED = b"\0" * 10 + b"\xff\xff"  # ::ffff:0:0/96, where IPv6 sockets see IPv4


@dataclass(frozen=True, slots=True)
class Pool:
    """Endpoints of which any may be chosen, by the number that the maps know them by; ``count`` is
    of their slots, or seats.
    """

    number: int
    count: int


NOBODY = Pool(0, 0)


@dataclass(frozen=True, slots=True)
class ForwardEntry:
    """What the programs do with a call or a packet; ``by_nftables`` leaves it to nftables.

    ``portal`` stands for the Service's port. ``affinity`` (seconds) is set where its clients stick
    to an endpoint, ``ranges`` where only some sources are admitted: the number of their set. Where
    the endpoint's node answers by itself (``direct``), ``inside`` are the pool's endpoints on this
    node. ``to_fewest`` asks for least connections.
    """

    pool: Pool = NOBODY
    inside: Pool | None = None
    portal: int = 0
    affinity: int = 0
    ranges: int = 0
    masquerade: Masquerade = Masquerade.NEVER
    rejects: bool = False
    by_nftables: bool = False
    direct: bool = False
    to_fewest: bool = False

    def pack(self) -> bytes:
        """``struct forward``."""
        inside = self.inside or NOBODY
        return struct.pack(
            "=IIIIQIIBBBBBB2x",
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
            self.to_fewest,
        )


def pack_address(address: Address) -> bytes:
    """``struct address``: IPv4 as IPv6 sockets see it."""
    return address.packed if address.version == 6 else _MAPPED + address.packed


def pack_frontend(family: Family, address: Address | None, port: int, protocol: Protocol) -> bytes:
    """``struct target`` with a protocol; None stands for a NodePort's addresses."""
    where = pack_address(_ANY[family] if address is None else address)
    return where + struct.pack("!H", port) + struct.pack("=H", _NUMBERS[protocol])


def pack_target(target: Target) -> bytes:
    """``struct target`` of an endpoint."""
    return pack_address(target.address) + struct.pack("!HH", target.port, 0)


def pack_number(number: int) -> bytes:
    """``__u32``."""
    return struct.pack("=I", number)


def pack_slot(pool: int, number: int) -> bytes:
    """``struct slot``."""
    return struct.pack("=II", pool, number)


def pack_members(pool: int, targets: Iterable[bytes]) -> Iterator[bytes]:
    """``struct member`` of packed targets; with port 0 the address counts alone."""
    number = pack_number(pool)
    for target in targets:
        yield number + target
        yield number + target[:_ADDRESS] + _NO_PORT


def pack_admitted(ranges: int, network: Network) -> bytes:
    """``struct admitted``: a source range of a set."""
    bits = 32 + network.prefixlen + (96 if network.version == 4 else 0)
    return struct.pack("=I", bits) + struct.pack("!I", ranges) + pack_address(network[0])


def pack_seats(pool: int, table: list[int]) -> dict[bytes, bytes]:
    """Every ``struct row`` of a pool by its key: which slot each seat leads to."""
    rows = (table[at : at + ROW] for at in range(0, len(table), ROW))
    return {
        pack_slot(pool, number): struct.pack(f"={ROW}H", *row, *[0] * (ROW - len(row)))
        for number, row in enumerate(rows)
    }


def pack_settings(settings: ProxySettings, options: EbpfOptions, node: int) -> bytes:
    """``struct settings`` for the node whose network namespace has the cookie ``node``."""
    known = {family: settings.pods.get(family) for family in Family}
    tells = sum(1 << bit for bit, pods in enumerate(known.values()) if pods and pods.network)
    hidden = sum(1 << bit for bit, pods in enumerate(known.values()) if pods and not pods.network)
    loopback = settings.is_node_port_address(IPv4Address("127.0.0.1"))
    choices = (options.by_hash, options.direct, options.counts_packets)
    head = struct.pack("=Q6B2x", node, loopback, tells, hidden, *choices)
    ranges = (pods.network if pods else None for pods in known.values())
    return head + b"".join(_pack_range(network) for network in ranges)


def _pack_range(network: Network | None) -> bytes:
    if network is None:
        return bytes(32)
    mask = network.netmask.packed
    if isinstance(network, IPv4Network):
        mask = b"\xff" * 12 + mask
    return pack_address(network.network_address) + mask
