"""Elements as the kernel takes them: pure but for ``write``.

libnftables parses an element in 10 µs, the kernel enters it in 3 µs. So a new table's elements go
past the library (linux/netfilter/nf_tables.h). A key's parts begin at multiples of four bytes.
"""

import errno
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton

from proxy.backends.nftables.objects import TABLE, Element
from proxy.linux.netlink import NESTED, NETFILTER, Netlink, attribute, nested, netfilter_header
from proxy.model.errors import KernelRefusedError
from proxy.model.values import PROTOCOL_NUMBERS, Family

NEW_ELEMENTS = 10 << 8 | 12  # NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWSETELEM
_TABLE, _STORE, _ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_…
_ELEMENT = 1  # NFTA_LIST_ELEM
_KEY, _DATA, _USER_DATA = 1, 2, 6  # NFTA_SET_ELEM_…
_VALUE, _VERDICT = 1, 2  # NFTA_DATA_…
_CODE, _CHAIN = 1, 2  # NFTA_VERDICT_…
_VERDICTS = {"goto": -4, "drop": 0}  # NFT_GOTO, NF_DROP
_AT_ONCE = 50_000  # bytes of elements in one message: its list may have 65,535
_PLACED = "backends-"  # in the names of maps whose keys end with a place
# What is before an endpoint's address of so many bytes, which a port follows.
_DATA_HEADS = {
    size: struct.pack("=4H", size + 12, _DATA | NESTED, size + 8, _VALUE) for size in (4, 16)
}
_PROTOCOLS = {one.lower(): struct.pack("B3x", code) for one, code in PROTOCOL_NUMBERS.items()}


def can_take(element: Element) -> bool:
    """Return True for all but elements of sets of ranges, which the kernel wants in other parts."""
    return element.store != "allowed"


def messages(family: Family, elements: Iterable[Element]) -> Iterator[bytes]:
    """Yield the bodies of the messages that add the elements to the stores of our table."""
    stores: dict[str, list[Element]] = {}
    for element in elements:
        stores.setdefault(element.store, []).append(element)
    for store, members in stores.items():
        head = netfilter_header(family) + attribute(_TABLE, _text(TABLE))
        head += attribute(_STORE, _text(store))
        is_placed = _PLACED in store
        for part in _parts([_packed(member, is_placed) for member in members]):
            yield head + nested(_ELEMENTS, part)


def write(family: Family, elements: Iterable[Element]) -> None:
    """Add elements to stores that are there, in one transaction. Raises KernelRefusedError."""
    try:
        with closing(Netlink(NETFILTER)) as netlink:
            netlink.transact(NEW_ELEMENTS, [*messages(family, elements)])
    except OSError as err:
        name = errno.errorcode.get(err.errno or 0, "")
        raise KernelRefusedError(f"nft: elements are refused: {err.strerror} {name}") from err


def _parts(packed: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Divide elements into messages."""
    start = size = 0
    for at, element in enumerate(packed):
        if size + len(element) > _AT_ONCE:
            yield packed[start:at]
            start, size = at, 0
        size += len(element)
    if start < len(packed):
        yield packed[start:]


def _packed(element: Element, is_placed: bool) -> bytes:
    if is_placed:
        head, _, place = element.key.rpartition(" . ")
        key = _fields(head) + _place(place)
    else:
        key = _fields(element.key)
    more = _data(element.value) if element.value else b""
    if element.comment:
        more += _remark(element.comment)
    return _head(len(key), len(more)) + key + more


@lru_cache(maxsize=64)
def _head(key: int, more: int) -> bytes:
    """Pack what is before a key of so many bytes, which other attributes follow."""
    sizes = key + more + 12, _ELEMENT | NESTED, key + 8, _KEY | NESTED, key + 4, _VALUE
    return struct.pack("=6H", *sizes)


@lru_cache(maxsize=64)
def _fields(text: str) -> bytes:
    """Pack the parts of a key. The endpoints of a Service, which share it, follow each other."""
    return b"".join([_field(part) for part in text.split(" . ")])


def _field(text: str) -> bytes:
    """Pack an address, a protocol or a port."""
    return _port(text) if text.isdigit() else _PROTOCOLS.get(text) or _address(text)


def _address(text: str) -> bytes:
    return inet_pton(AF_INET6 if ":" in text else AF_INET, text)


@lru_cache(maxsize=1024)
def _port(text: str) -> bytes:
    return struct.pack("!H2x", int(text))


@lru_cache(maxsize=1024)
def _place(text: str) -> bytes:
    return struct.pack("=I", int(text))


def _data(value: str) -> bytes:
    """Pack a verdict, or an endpoint's address and port."""
    address, _, port = value.partition(" . ")
    if not port:
        return _verdict(value)
    packed = _address(address)
    return _DATA_HEADS[len(packed)] + packed + _port(port)


@lru_cache(maxsize=64)
def _verdict(value: str) -> bytes:
    verb, _, chain = value.partition(" ")
    parts = [attribute(_CODE, struct.pack("!i", _VERDICTS[verb]))]
    if chain:
        parts.append(attribute(_CHAIN, _text(chain)))
    return nested(_DATA, (nested(_VERDICT, parts),))


def _remark(comment: str) -> bytes:
    """Pack a comment as libnftnl does: its sort (0), its size, and the text."""
    text = _text(comment)
    return attribute(_USER_DATA, bytes((0, len(text))) + text)


def _text(name: str) -> bytes:
    return name.encode() + b"\0"
