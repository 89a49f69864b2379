"""The kernel's counters, read over netlink: 10,000 elements are one dump, and no text."""

import struct
from collections.abc import Iterator
from ipaddress import ip_address

from proxy.counters.table import TABLE
from proxy.desired.portals import Frontend
from proxy.flows.table import NUMBERS
from proxy.linux.netlink import NETFILTER, Netlink, attribute, attributes, each
from proxy.model.values import Family

# linux/netfilter/nf_tables.h
_GET_ELEMENTS = 0xA0D  # subsystem 10, NFT_MSG_GETSETELEM
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_KEY, _EXPRESSION = 1, 7
_VALUE = 1  # NFTA_DATA_VALUE
_EXPRESSION_DATA = 2
_BYTES, _PACKETS = 1, 2
_AF = {Family.V4: 2, Family.V6: 10}
_PROTOCOLS = {number: protocol for protocol, number in NUMBERS.items()}


def counters(family: Family, store: str) -> Iterator[tuple[Frontend, int, int]]:
    """(frontend, packets, bytes) of each element of a set; raises OSError."""
    body = (
        struct.pack("=BBH", _AF[family], 0, 0)  # struct nfgenmsg
        + attribute(_LIST_TABLE, f"{TABLE}\0".encode())
        + attribute(_LIST_SET, f"{store}\0".encode())
    )
    with Netlink(NETFILTER) as kernel:
        for answer in kernel.dump(_GET_ELEMENTS, body):
            for element in each(attributes(answer[4:]).get(_LIST_ELEMENTS, b"")):
                parts = attributes(element)
                counter = attributes(attributes(parts[_EXPRESSION])[_EXPRESSION_DATA])
                frontend = _frontend(family, attributes(parts[_KEY])[_VALUE])
                yield frontend, _number(counter[_PACKETS]), _number(counter[_BYTES])


def _frontend(family: Family, key: bytes) -> Frontend:
    """A key is an address, unless it is a NodePort's, a protocol and a port, each padded to 4."""
    *address, protocol, port = (key[at : at + 4] for at in range(0, len(key), 4))
    where = ip_address(b"".join(address)) if address else None
    return Frontend(family, where, _number(port[:2]), _PROTOCOLS[protocol[0]])


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")
