"""Searches sets and maps that were read whole: pure."""

from collections.abc import Iterable, Iterator

from debug.ruleset.values import Element, Store

_WORD = 4


class Contents:
    """The elements of one set, ready to be searched."""

    def __init__(self, store: Store, elements: Iterable[Element]) -> None:
        self._store = store
        every = list(elements)
        self._rest = next((one for one in every if one.key is None), None)
        self._exact = {one.key: one for one in every if one.key is not None and one.last is None}
        self._ranges = [one for one in every if one.last is not None]

    def find(self, key: bytes) -> Element | None:
        """Return the element that holds a key, or else that of all others."""
        return self._exact.get(key) or self._in_range(key) or self._rest

    def _in_range(self, key: bytes) -> Element | None:
        fields = self._store.fields or (self._store.length,)
        for one in self._ranges:
            if one.key is not None and one.last is not None and _holds(one, key, fields):
                return one
        return None


def _holds(one: Element, key: bytes, fields: tuple[int, ...]) -> bool:
    first, last = one.key or b"", one.last or b""
    parts = spans(fields)
    return all(first[a:b] <= key[a:b] <= last[a:b] for a, b in parts)


def spans(fields: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield where each part of a concatenation begins and ends: parts begin at words."""
    at = 0
    for length in fields:
        yield at, at + length
        at += -(-length // _WORD) * _WORD
