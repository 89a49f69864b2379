"""The kernel's counters by what they count: 10,000 elements are one dump and no text."""

from collections.abc import Iterator
from ipaddress import ip_address

from proxy.counters.table import TABLE
from proxy.desired.portals import Frontend
from proxy.linux import nft_counters
from proxy.model.values import PROTOCOL_NUMBERS, Family

_PROTOCOLS = {number: protocol for protocol, number in PROTOCOL_NUMBERS.items()}


def counters(family: Family, store: str) -> Iterator[tuple[Frontend, int, int]]:
    """Yield (frontend, packets, bytes) of each element of a set. Raises OSError."""
    for key, packets, size in nft_counters.of_elements(family, TABLE, store):
        yield _frontend(family, key), packets, size


def _frontend(family: Family, key: bytes) -> Frontend:
    """Unpack a key: an address (unless it is a NodePort's), a protocol, a port, each padded to 4
    bytes.
    """
    *address, protocol, port = (key[at : at + 4] for at in range(0, len(key), 4))
    where = ip_address(b"".join(address)) if address else None
    number = int.from_bytes(port[:2], "big")
    return Frontend(family, where, number, _PROTOCOLS[protocol[0]])
