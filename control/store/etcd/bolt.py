"""Reads a file of bbolt, the database in which etcd keeps its keys; pure.

The file comes from outside: whatever it says is checked against its size, and each page is read
once.
Source: go.etcd.io/bbolt (page.go, bucket.go, db.go).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from control.store.base import StoreError

_MAGIC, _VERSION = 0xED0CDAED, 2
_PAGE = struct.Struct("<QHHI")  # number, flags, count of elements, further pages
_META = struct.Struct("<IIIIQQQQQ")  # magic, version, page size, flags, root, -, -, -, transaction
_SUM = struct.Struct("<Q")
_BRANCH = struct.Struct("<IIQ")  # offset of the key, its length, page
_LEAF = struct.Struct("<IIII")  # flags, offset of the key, lengths of key and value
_BUCKET = struct.Struct("<QQ")  # root page, sequence
_IS_BRANCH, _IS_LEAF = 0x01, 0x02  # flags of a page
_HOLDS_BUCKET = 0x01  # flag of a leaf's element
_SIZES = range(512, 1 << 17)


class DamagedFileError(StoreError):
    """The file is not what it should be; the text says what."""


@dataclass(frozen=True, slots=True)
class _Meta:
    size: int  # bytes of a page
    root: int
    transaction: int


class Bolt:
    """A file of bbolt in memory."""

    def __init__(self, data: bytes | memoryview) -> None:
        """Find the newest of the two heads; raises DamagedFileError."""
        self._data = memoryview(data)
        first = _meta(self._data, 0)
        heads = [first, _meta(self._data, first.size if first else 4096)]
        whole = [head for head in heads if head is not None]
        if not whole:
            raise DamagedFileError("it is no database of etcd: no head of it is whole")
        self._head = max(whole, key=lambda head: head.transaction)
        self._seen: set[int] = set()
        self._left = 0  # bytes that a bucket's keys and values may still have

    def bucket(self, name: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys and values of a bucket, in order; raises DamagedFileError."""
        self._seen.clear()
        self._left = len(self._data)
        for flags, key, value in self._elements(self._head.root):
            if bytes(key) == name and flags & _HOLDS_BUCKET:
                (root, _) = self._unpack(_BUCKET, value, 0)
                inline = value[_BUCKET.size :]
                found = self._elements(root) if root else self._leaves(inline)
                yield from ((bytes(k), bytes(v)) for _, k, v in found)
                return

    def _elements(self, root: int) -> Iterator[tuple[int, memoryview, memoryview]]:
        """Yield the elements of all leaves below a page, in order."""
        waiting = [root]
        while waiting:
            page = self._page(waiting.pop())
            flags = self._unpack(_PAGE, page, 0)[1]
            if flags & _IS_LEAF:
                yield from self._leaves(page)
            elif flags & _IS_BRANCH:
                waiting += reversed(list(self._below(page)))
            else:
                raise DamagedFileError(f"a page has the flags {flags:#x}, and is no part of a tree")

    def _page(self, number: int) -> memoryview:
        start = number * self._head.size
        if number in self._seen:
            raise DamagedFileError(f"page {number} is in the tree twice")
        self._seen.add(number)
        more = self._unpack(_PAGE, self._data, start)[3]
        end = start + (more + 1) * self._head.size
        if end > len(self._data):
            raise DamagedFileError(f"page {number} is beyond the end")
        return self._data[start:end]

    def _below(self, page: memoryview) -> Iterator[int]:
        for place in self._places(page, _BRANCH):
            yield self._unpack(_BRANCH, page, place)[2]

    def _leaves(self, page: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
        for place in self._places(page, _LEAF):
            flags, offset, key, value = self._unpack(_LEAF, page, place)
            start = place + offset
            if start + key + value > len(page):
                raise DamagedFileError("a key is beyond the end of its page")
            self._left -= key + value
            if self._left < 0:
                raise DamagedFileError("its keys and values overlap")
            yield flags, page[start : start + key], page[start + key : start + key + value]

    def _places(self, page: memoryview, kind: struct.Struct) -> range:
        count = self._unpack(_PAGE, page, 0)[2]
        return range(_PAGE.size, _PAGE.size + count * kind.size, kind.size)

    def _unpack(self, kind: struct.Struct, where: memoryview, place: int) -> tuple[int, ...]:
        if place + kind.size > len(where):
            raise DamagedFileError("it ends in the middle")
        return kind.unpack_from(where, place)


def _meta(data: memoryview, place: int) -> _Meta | None:
    """Read a head; None if it is not whole, as after a power cut."""
    start = place + _PAGE.size
    if start + _META.size + _SUM.size > len(data):
        return None
    magic, version, size, _, root, _, _, _, transaction = _META.unpack_from(data, start)
    (stored,) = _SUM.unpack_from(data, start + _META.size)
    if (magic, version) != (_MAGIC, _VERSION) or size not in _SIZES:
        return None
    if stored != _fnv(bytes(data[start : start + _META.size])):
        return None
    return _Meta(size, root, transaction)


def _fnv(text: bytes) -> int:
    """Return the 64-bit FNV-1a hash."""
    found = 0xCBF29CE484222325
    for byte in text:
        found = (found ^ byte) * 0x100000001B3 % (1 << 64)
    return found
