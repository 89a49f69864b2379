"""The maps by which programs decide on NetworkPolicies between two Pods of a bridge (bpf/policy.h).

They are pinned, and outlive programs and proxy. Their entries are admissions: there is none that
forbids.
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from enum import IntEnum
from typing import NamedTuple

from proxy.backends.ebpf.layout import PRESENT, pack_address, pack_number
from proxy.backends.ebpf.libbpf import BpfMap, Libbpf, pinned
from proxy.backends.ebpf.mounts import MAPS
from proxy.linux import nft_names
from proxy.linux.libnftables import Libnftables
from proxy.linux.netlink import BRIDGE
from proxy.model.errors import KernelRefusedError
from proxy.model.values import PROTOCOL_NUMBERS, Address, Protocol

POSTS, PEERS = "policy_posts", "policy_peers"
DOORS, BLOCKS = "policy_doors", "policy_blocks"
GUARD, _FLOWS = "policy_guard", "policy_flows"
NAMES = (GUARD, POSTS, PEERS, DOORS, BLOCKS, _FLOWS)
_LAYOUT = 1  # of their structures; a proxy with another layout begins with new maps
SIZES = {POSTS: (16, 16), PEERS: (20, 1), DOORS: (12, 4), BLOCKS: (24, 1)}  # bytes
_ADDRESS, _TARGET = 16, 20  # bytes of struct address, struct target
_FLOW = 2 * _TARGET, 16  # bytes of struct flow, struct known
_BEFORE_PORT = 48  # bits of ``struct door`` before the port

_PROTOCOLS = {number: str(protocol) for protocol, number in PROTOCOL_NUMBERS.items()}

NOBODY, EVERYBODY = 0, 0xFFFFFFFF  # groups
MEMBER = PRESENT

# The table of the bridge family that drops what no program decides on. The policies' part makes it.
TABLE, GUARDED = "podwire-policy", "guarded"


class Guard(IntEnum):
    """What the programs do (enum guard). They admit and remember every flow while they learn."""

    UNGUARDED = 0
    LEARNING = 1
    ENFORCING = 2


class AdmissionKey(NamedTuple):
    """An entry's place: the map and the packed key."""

    store: str
    key: bytes


Admissions = Mapping[AdmissionKey, bytes]


def pin_name(name: str) -> str:
    """Return the name of a map's pin."""
    return f"{name}-{_LAYOUT}"


def pack_post(egress: tuple[int, int], ingress: tuple[int, int]) -> bytes:
    """Pack ``struct post`` of (profile of ports, group admitted at every port) for each way."""
    return struct.pack("=4I", *egress, *ingress)


def pack_doors(
    profile: int, protocol: Protocol, first: int, last: int
) -> Iterator[tuple[AdmissionKey, int]]:
    """Yield (``struct door``, number of ports) of the prefixes that make up a range of ports."""
    while first <= last:
        size = min(first & -first or 1 << 16, 1 << (last - first + 1).bit_length() - 1)
        bits = _BEFORE_PORT + 16 - (size.bit_length() - 1)
        head = struct.pack("=I", bits) + struct.pack("!I", profile)
        key = head + struct.pack("!BxH", PROTOCOL_NUMBERS[protocol], first)
        yield AdmissionKey(DOORS, key), size
        first += size


def pack_peer(group: int, address: Address) -> AdmissionKey:
    """Pack ``struct peer``."""
    return AdmissionKey(PEERS, pack_number(group) + pack_address(address))


def unpack_post(data: bytes) -> tuple[int, int, int, int]:
    """The way back from ``pack_post``: egress, then ingress."""
    egress, egress_always, ingress, ingress_always = struct.unpack("=4I", data)
    return egress, egress_always, ingress, ingress_always


def unpack_door(data: bytes) -> tuple[int, str]:
    """Return a profile's number and its ports in words, such as "TCP 80-81", of ``struct door``."""
    bits, profile = struct.unpack("=I", data[:4])[0], int.from_bytes(data[4:8], "big")
    number, first = struct.unpack("!BxH", data[8:12])
    last = first + (1 << (16 + _BEFORE_PORT - bits)) - 1
    protocol = _PROTOCOLS.get(number, str(number))
    return profile, f"{protocol} {first}" if first == last else f"{protocol} {first}-{last}"


class AdmissionMaps:
    """The pinned maps. Methods raise KernelRefusedError, also where no program has made them."""

    def __init__(self) -> None:
        self._library = Libbpf()

    def set_guard(self, guard: Guard) -> None:
        """Have the programs decide, or learn, or let all pass."""
        self._update(GUARD, {bytes(4): pack_number(guard)})

    def guard(self) -> Guard:
        """Return what the programs do now."""
        with self._open(GUARD) as found:
            return Guard(found.lookup(bytes(4), 4)[0])

    def put(self, entries: Admissions) -> None:
        """Write entries: last of all the posts, which lead to the others."""
        for store in (PEERS, BLOCKS, DOORS, POSTS):
            self._update(store, {at.key: value for at, value in entries.items() if at[0] == store})

    def drop(self, gone: Iterable[AdmissionKey]) -> None:
        """Remove entries that are there: first of all the posts."""
        keys = list(gone)
        for store in (POSTS, DOORS, BLOCKS, PEERS):
            if found := [at.key for at in keys if at.store == store]:
                with self._open(store) as opened:
                    opened.delete(found)

    def end_flows(self, addresses: Collection[Address]) -> None:
        """Forget the flows of addresses: they are another's now."""
        if not addresses:
            return
        ends = {pack_address(one) for one in addresses}
        with self._open(_FLOWS) as opened:
            for key, _ in [*opened.entries(*_FLOW)]:
                if key[:_ADDRESS] in ends or key[_TARGET : _TARGET + _ADDRESS] in ends:
                    opened.discard(key)

    def clear(self) -> None:
        """Remove every entry. Flows that the programs know go on."""
        for store in (POSTS, DOORS, BLOCKS, PEERS):
            with self._open(store) as opened:
                opened.delete(opened.keys(SIZES[store][0]))

    def _update(self, store: str, entries: Mapping[bytes, bytes]) -> None:
        if entries:
            with self._open(store) as opened:
                opened.update(entries)

    @contextmanager
    def _open(self, name: str) -> Iterator[BpfMap]:
        fd = pinned(self._library, MAPS / pin_name(name))
        if fd is None:
            raise KernelRefusedError(f"ebpf: map {name} is not pinned: no program runs")
        with closing(BpfMap(self._library, fd, name, own=True)) as found:
            yield found


def are_pinned() -> bool:
    """Return True if there are such maps: programs of this or an earlier process made them."""
    return (MAPS / pin_name(GUARD)).exists()


def close_bridges() -> None:
    """Have the bridges drop what their Pods send, before the programs that decide on it go.

    Raises KernelRefusedError.
    """
    if any(table == TABLE for table, _ in nft_names.chains(BRIDGE)):
        Libnftables().commit(f"flush set bridge {TABLE} {GUARDED}\n")
