"""Names in the kernel's nftables, read one by one over netlink.

Listing by the nft and iptables commands reads every rule and element: half a second at 5,000
Services, where names alone are a millisecond.
"""

import errno
import struct
from typing import NamedTuple

from proxy.linux.netlink import NETFILTER, Netlink, attributes
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family

# linux/netfilter/nf_tables.h
_GET_CHAIN, _GET_SET = 0xA04, 0xA0A  # subsystem 10, NFT_MSG_GETCHAIN and NFT_MSG_GETSET
_CHAIN_TABLE, _CHAIN_NAME = 1, 3
_SET_TABLE, _SET_NAME, _SET_FLAGS = 1, 2, 3
_ANONYMOUS, _MAP = 0x1, 0x8
# What a kernel without nftables, or without nfnetlink, answers: it holds no names.
_NO_NFTABLES = (errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)
_AF = {Family.V4: 2, Family.V6: 10}


class NamedSet(NamedTuple):
    """A named set or map."""

    table: str
    name: str
    is_map: bool


def chains(family: Family) -> list[tuple[str, str]]:
    """(table, chain) of this network namespace; raises KernelRefusedError."""
    found = _dump(_GET_CHAIN, family)
    return [(_text(one[_CHAIN_TABLE]), _text(one[_CHAIN_NAME])) for one in found]


def stores(family: Family) -> list[NamedSet]:
    """The named sets and maps of this network namespace; raises KernelRefusedError."""
    named = (one for one in _dump(_GET_SET, family) if not _flag(one, _ANONYMOUS))
    return [
        NamedSet(_text(one[_SET_TABLE]), _text(one[_SET_NAME]), _flag(one, _MAP)) for one in named
    ]


def _dump(kind: int, family: Family) -> list[dict[int, bytes]]:
    body = struct.pack("=BBH", _AF[family], 0, 0)  # struct nfgenmsg
    try:
        with Netlink(NETFILTER) as kernel:
            return [attributes(one[4:]) for one in kernel.dump(kind, body)]
    except OSError as err:
        if err.errno in _NO_NFTABLES:
            return []
        raise KernelRefusedError(f"nftables cannot be read: {err.strerror}") from err


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _flag(store: dict[int, bytes], flag: int) -> bool:
    return bool(int.from_bytes(store.get(_SET_FLAGS, b""), "big") & flag)
