"""The names in the kernel's nftables tables, read over netlink.

The commands nft and iptables read every rule and element to list names: half a second at 5,000
Services. Names alone take a millisecond.
"""

import errno
from contextlib import closing
from typing import NamedTuple

from proxy.linux.netlink import NETFILTER, Netlink, attributes, consistent, netfilter_header, text
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family

# linux/netfilter/nf_tables.h
_GET_CHAIN, _GET_SET = 0xA04, 0xA0A  # subsystem 10, NFT_MSG_GETCHAIN and NFT_MSG_GETSET
_CHAIN_TABLE, _CHAIN_NAME = 1, 3
_SET_TABLE, _SET_NAME, _SET_FLAGS = 1, 2, 3
_ANONYMOUS, _MAP = 0x1, 0x8
# The errors of a kernel without nftables or without nfnetlink, which therefore holds no names.
_NO_NFTABLES = (errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)


class NamedSet(NamedTuple):
    """A named set or map."""

    table: str
    name: str
    is_map: bool


def chains(family: Family | str) -> list[tuple[str, str]]:
    """Return (table, chain) of each chain of this network namespace. Raises KernelRefusedError."""
    found = _dump(_GET_CHAIN, family)
    return [(text(chain[_CHAIN_TABLE]), text(chain[_CHAIN_NAME])) for chain in found]


def named_sets(family: Family) -> list[NamedSet]:
    """Return the named sets and maps of this network namespace. Raises KernelRefusedError."""
    named = (named_set for named_set in _dump(_GET_SET, family) if not _flag(named_set, _ANONYMOUS))
    return [
        NamedSet(text(named_set[_SET_TABLE]), text(named_set[_SET_NAME]), _flag(named_set, _MAP))
        for named_set in named
    ]


def _dump(kind: int, family: Family | str) -> list[dict[int, bytes]]:
    """Return the attributes of each message of a dump. Raises KernelRefusedError."""
    try:
        with closing(Netlink(NETFILTER)) as netlink:
            found = consistent(lambda: list(netlink.dump(kind, netfilter_header(family))))
            return [attributes(message[4:]) for message in found]
    except OSError as err:
        if err.errno in _NO_NFTABLES:
            return []
        raise KernelRefusedError(f"nftables cannot be read: {err.strerror}") from err


def _flag(store: dict[int, bytes], flag: int) -> bool:
    return bool(int.from_bytes(store.get(_SET_FLAGS, b""), "big") & flag)
