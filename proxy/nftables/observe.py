"""What an earlier run left in the table, read name by name, and the way to clear it.

Listing by nft reads every element first: half a second at 5,000 Services. Names alone are a
millisecond.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from proxy.errors import KernelRefused
from proxy.model import Family
from proxy.netlink import NETFILTER, Netlink, attributes
from proxy.nftables.objects import TABLE, Object, Store
from proxy.nftables.render import STICKY
from proxy.nftables.transaction import table_name

# linux/netfilter/nf_tables.h
_GET_CHAIN, _GET_SET = 0xA04, 0xA0A  # subsystem 10, NFT_MSG_GETCHAIN and NFT_MSG_GETSET
_CHAIN_TABLE, _CHAIN_NAME = 1, 3
_SET_TABLE, _SET_NAME, _SET_FLAGS = 1, 2, 3
_ANONYMOUS, _MAP = 0x1, 0x8
_AF = {Family.V4: 2, Family.V6: 10}


@dataclass(frozen=True, slots=True)
class Observed:
    """Names of what the table holds; all empty when there is no table."""

    chains: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


def observe(family: Family) -> Observed:
    """Read the names in our table of this network namespace; raises KernelRefused."""
    body = struct.pack("=BBH", _AF[family], 0, 0)  # struct nfgenmsg
    try:
        with Netlink(NETFILTER) as kernel:
            chains = [attributes(one[4:]) for one in kernel.dump(_GET_CHAIN, body)]
            stores = [attributes(one[4:]) for one in kernel.dump(_GET_SET, body)]
    except OSError as err:
        raise KernelRefused(f"nftables cannot be read: {err.strerror}") from err
    ours = [one for one in stores if _text(one[_SET_TABLE]) == TABLE and not _flag(one, _ANONYMOUS)]
    return Observed(
        tuple(_text(one[_CHAIN_NAME]) for one in chains if _text(one[_CHAIN_TABLE]) == TABLE),
        tuple(_text(one[_SET_NAME]) for one in ours if _flag(one, _MAP)),
        tuple(_text(one[_SET_NAME]) for one in ours if not _flag(one, _MAP)),
    )


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _flag(store: dict[int, bytes], flag: int) -> bool:
    return bool(int.from_bytes(store.get(_SET_FLAGS, b""), "big") & flag)


def clearing(observed: Observed, wanted: tuple[Object, ...], family: Family) -> Iterator[str]:
    """The commands that empty the table, to be committed together with what fills it again.

    Sets of clients that stick to an endpoint stay if they are still wanted: a restart forgets
    nobody.
    """
    table = table_name(family)
    kept = {one.name for one in wanted if isinstance(one, Store) and one.name.startswith(STICKY)}
    yield f"add table {table}"
    yield f"flush table {table}"
    yield from (f"delete map {table} {name}" for name in observed.maps)
    yield from (f"delete set {table} {name}" for name in observed.sets if name not in kept)
    yield from (f"delete chain {table} {name}" for name in observed.chains)
