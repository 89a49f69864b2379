"""Elements as the kernel takes them: pure but for what ``prepare`` returns, and ``ElementWriter``.

libnftables parses an element in 10 µs, the kernel enters it in 3 µs. So a new table's elements go
past the library (linux/netfilter/nf_tables.h). A change does too where there are many sets: the
library lists all sets and chains before each, those of 1,000 policies in 12 ms. A key's parts begin
at multiples of four bytes.
"""

import errno
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache, partial
from socket import AF_INET, AF_INET6, inet_pton
from typing import TypeVar

from proxy.backends.nftables.objects import TABLE, Draws, Element, TableObject
from proxy.backends.nftables.transaction import Transaction
from proxy.linux.netlink import (
    DELETE_ELEMENTS,
    NESTED,
    NETFILTER,
    NEW_ELEMENTS,
    Netlink,
    attribute,
    nested,
    netfilter_header,
)
from proxy.model.errors import KernelRefusedError
from proxy.model.values import PROTOCOL_NUMBERS, Family

_TABLE, _STORE, _ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_…
_ELEMENT = 1  # NFTA_LIST_ELEM
_KEY, _DATA, _USER_DATA = 1, 2, 6  # NFTA_SET_ELEM_…
_VALUE, _VERDICT = 1, 2  # NFTA_DATA_…
_CODE, _CHAIN = 1, 2  # NFTA_VERDICT_…
# NFT_GOTO, NFT_RETURN, NF_DROP, NF_ACCEPT
_VERDICTS = {"goto": -4, "return": -5, "drop": 0, "accept": 1}
_AT_ONCE = 50_000  # bytes of elements in one message: its list may have 65,535
# What is before an endpoint's address of so many bytes, which a port follows.
_DATA_HEADS = {
    size: struct.pack("=4H", size + 12, _DATA | NESTED, size + 8, _VALUE) for size in (4, 16)
}
_PORT = struct.Struct("!H2x")
_PROTOCOLS = {one.lower(): struct.pack("B3x", code) for one, code in PROTOCOL_NUMBERS.items()}

Member = TypeVar("Member", Element, Element | Draws)


def can_take(element: Element) -> bool:
    """Return True for all but elements of sets of ranges, which the kernel wants in other parts."""
    return element.store != "allowed"


def messages(
    family: Family, elements: Iterable[Element | Draws], table: str = TABLE
) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and body of each message that adds the elements to the stores of a table.

    An element of a map whose keys end with a place has to be in a ``Draws``.
    """
    for store, members in _by_store(elements):
        packed: list[bytes] = []
        for member in members:
            if isinstance(member, Draws):
                packed += _drawn(member)
            else:
                packed.append(_packed(member))
        yield from _lists(NEW_ELEMENTS, family, table, store, packed)


def removals(
    family: Family, elements: Iterable[Element], table: str = TABLE
) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and body of each message that removes the elements; see ``messages``.

    None may be of a map whose keys end with a place.
    """
    for store, members in _by_store(elements):
        keys = [_fields(member.key) for member in members]
        packed = [_head(len(key), 0) + key for key in keys]
        yield from _lists(DELETE_ELEMENTS, family, table, store, packed)


def prepare(family: Family, elements: Iterable[Element | Draws]) -> Callable[[], None]:
    """Return a call that adds elements to stores that are there, in one transaction.

    They are packed now: other Python threads run while the call waits for the kernel. It raises
    KernelRefusedError.
    """
    return partial(_write, [*messages(family, elements)])


def _write(changes: Sequence[tuple[int, bytes]]) -> None:
    with _naming(), closing(Netlink(NETFILTER)) as netlink:
        netlink.transact(changes)


class ElementWriter:
    """Changes elements through one socket, which it keeps; see ``Netlink``."""

    def __init__(self) -> None:
        self._netlink: Netlink | None = None

    def change(self, table: str, parts: Iterable[tuple[Family, Transaction]]) -> None:
        """Remove and add elements of stores that are there, in one transaction.

        The parts have nothing but elements. Raises KernelRefusedError, and then nothing happened.
        """
        changes: list[tuple[int, bytes]] = []
        for family, part in parts:
            changes += removals(family, _elements(part.drop), table)
            changes += messages(family, _elements(part.put), table)
        with _naming():
            self._netlink = self._netlink or Netlink(NETFILTER)
            self._netlink.transact(changes)

    def close(self) -> None:
        """Close the socket; a change opens another."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None


def _elements(objects: Iterable[TableObject]) -> Iterator[Element]:
    return (one for one in objects if isinstance(one, Element))


@contextmanager
def _naming() -> Iterator[None]:
    """Translate what the kernel refuses."""
    try:
        yield
    except OSError as err:
        name = errno.errorcode.get(err.errno or 0, "")
        raise KernelRefusedError(f"nft: elements are refused: {err.strerror} {name}") from err


def _by_store(elements: Iterable[Member]) -> Iterable[tuple[str, list[Member]]]:
    stores: dict[str, list[Member]] = {}
    for element in elements:
        stores.setdefault(element.store, []).append(element)
    return stores.items()


def _lists(
    kind: int, family: Family, table: str, store: str, packed: Sequence[bytes]
) -> Iterator[tuple[int, bytes]]:
    head = netfilter_header(family) + attribute(_TABLE, _text(table))
    head += attribute(_STORE, _text(store))
    for part in _parts(packed):
        yield kind, head + nested(_ELEMENTS, part)


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


def _drawn(draws: Draws) -> list[bytes]:
    """Pack the elements of a pool, which all have the same size."""
    key, targets = _fields(draws.key), draws.targets
    size = len(targets[0].packed)  # a pool's targets are of one family
    head, data = _head(len(key) + 4, size + 12) + key, _DATA_HEADS[size]
    return [
        b"".join((head, _place(place), data, address, _packed_port(port)))
        for place, (address, port) in enumerate(targets)
    ]


def _packed(element: Element) -> bytes:
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
    first, _, rest = text.partition(" . ")
    return _field(first) + _rest(rest) if rest else _field(first)


@lru_cache(maxsize=1024)
def _rest(text: str) -> bytes:
    """Pack all parts of a key but the first: nearly always a protocol and a port."""
    return b"".join([_field(part) for part in text.split(" . ")])


def _field(text: str) -> bytes:
    """Pack an address, a protocol or a port."""
    return _port(text) if text.isdigit() else _PROTOCOLS.get(text) or _address(text)


def _address(text: str) -> bytes:
    return inet_pton(AF_INET6 if ":" in text else AF_INET, text)


def _port(text: str) -> bytes:
    return _packed_port(int(text))


@lru_cache(maxsize=1024)
def _packed_port(port: int) -> bytes:
    return _PORT.pack(port)


@lru_cache(maxsize=1024)
def _place(place: int) -> bytes:
    return struct.pack("=I", place)


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
