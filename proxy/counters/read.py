"""The kernel's counters, read over netlink: 10,000 elements are one dump and no text."""

from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address

from proxy.counters.table import TABLE
from proxy.desired.portals import Frontend
from proxy.linux.netlink import (
    NETFILTER,
    Netlink,
    attribute,
    attributes,
    consistent,
    list_values,
    netfilter_header,
)
from proxy.model.values import PROTOCOL_NUMBERS, Family

# linux/netfilter/nf_tables.h
_GET_ELEMENTS = 0xA0D  # subsystem 10, NFT_MSG_GETSETELEM
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_KEY, _EXPRESSION = 1, 7
_VALUE = 1  # NFTA_DATA_VALUE
_EXPRESSION_DATA = 2
_BYTES, _PACKETS = 1, 2
_PROTOCOLS = {number: protocol for protocol, number in PROTOCOL_NUMBERS.items()}


def counters(family: Family, store: str) -> Iterator[tuple[Frontend, int, int]]:
    """Yield (frontend, packets, bytes) of each element of a set. Raises OSError."""
    body = (
        netfilter_header(family)
        + attribute(_LIST_TABLE, f"{TABLE}\0".encode())
        + attribute(_LIST_SET, f"{store}\0".encode())
    )
    with closing(Netlink(NETFILTER)) as netlink:
        messages = consistent(lambda: list(netlink.dump(_GET_ELEMENTS, body)))
    for message in messages:
        for element in list_values(attributes(message[4:]).get(_LIST_ELEMENTS, b"")):
            parts = attributes(element)
            counter = attributes(attributes(parts[_EXPRESSION])[_EXPRESSION_DATA])
            frontend = _frontend(family, attributes(parts[_KEY])[_VALUE])
            yield frontend, _number(counter[_PACKETS]), _number(counter[_BYTES])


def _frontend(family: Family, key: bytes) -> Frontend:
    """Unpack a key: an address (unless it is a NodePort's), a protocol, a port, each padded to 4
    bytes.
    """
    *address, protocol, port = (key[at : at + 4] for at in range(0, len(key), 4))
    where = ip_address(b"".join(address)) if address else None
    return Frontend(family, where, _number(port[:2]), _PROTOCOLS[protocol[0]])


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")
