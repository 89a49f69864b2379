"""Merge what a manager applies into an object. Nothing is removed here; see ``prune``."""

from typing import Any

from control.api.apply.items import MISSING, name_of
from control.api.apply.shape import AnyShape, ListShape, MapShape, is_whole


def merge(shape: MapShape, live: dict[str, Any], applied: dict[str, Any]) -> dict[str, Any]:
    """Return the live object with the fields that are applied, which may have nulls."""
    return _members(shape, live, applied)


def _merged(shape: AnyShape, live: Any, applied: Any) -> Any:
    if live is MISSING or applied is MISSING:
        return live if applied is MISSING else applied
    if is_whole(shape, live) or is_whole(shape, applied):
        return applied
    if isinstance(shape, ListShape | MapShape) and not shape.atomic and (live or applied):
        if isinstance(shape, ListShape):
            return _items(shape, live or [], applied or [])
        return _members(shape, live or {}, applied or {})
    return applied


def _members(shape: MapShape, live: dict[str, Any], applied: dict[str, Any]) -> dict[str, Any]:
    made = dict(live)
    for name, value in applied.items():
        known = shape.of(name)
        made[name] = value if known is None else _merged(known, live.get(name, MISSING), value)
    return made


def _items(shape: ListShape, live: list[Any], applied: list[Any]) -> list[Any]:
    """Merge the items of both lists; the order of the applied ones counts, as upstream's does."""
    return _ListMerge(shape, live, applied).run()


class _ListMerge:
    """One merge of two lists: both are walked once, side by side."""

    def __init__(self, shape: ListShape, live: list[Any], applied: list[Any]) -> None:
        self._shape = shape
        self._left = [(name_of(shape, item), item) for item in live]
        self._right = [(name_of(shape, item), item) for item in applied]
        self._live: dict[str, Any] = {}
        for name, item in self._left:
            # A repeated item is not merged with the applied one: that replaces it.
            self._live[name] = MISSING if name in self._live else item
        self._applied = dict(self._right)
        self._shared = iter([name for name, _ in self._right if name in self._live])
        self._next: str | None = next(self._shared, None)
        self._done: set[str] = set()
        self._out: list[Any] = []

    def run(self) -> list[Any]:
        left = right = 0
        while left < len(self._left) or right < len(self._right):
            name = self._left[left][0] if left < len(self._left) else None
            if name is not None and right < len(self._right):
                if name == self._right[right][0]:
                    self._take(right)
                    left, right = left + 1, right + 1
                    self._next = next(self._shared, None)
                    continue
                if name in self._applied and self._next not in (None, name):
                    left += 1  # a shared item, but not the next one of the applied order
                    continue
            if name is not None:
                if name not in self._applied:
                    self._out.append(self._left[left][1])
                    left += 1
                    continue
                if name in self._done:
                    left += 1
            if right < len(self._right):
                self._take(right)
                if self._right[right][0] == self._next:
                    self._next = next(self._shared, None)
                right += 1
        return self._out

    def _take(self, right: int) -> None:
        """Add an applied item, merged with its live one."""
        name, item = self._right[right]
        self._done.add(name)
        self._out.append(_merged(self._shape.item, self._live.get(name, MISSING), item))


def fields_of(shape: MapShape, applied: dict[str, Any]) -> dict[str, Any]:
    """Return the set of all fields that an applied object names."""
    return _fields(shape, applied)[1]


def _fields(shape: AnyShape, value: Any) -> tuple[bool, dict[str, Any]]:
    """Return whether a value is a field by itself, and the fields in it."""
    if not isinstance(shape, ListShape | MapShape) or shape.atomic or is_whole(shape, value):
        return True, {}
    if not value:
        return value is None or isinstance(shape, MapShape), {}
    if isinstance(shape, ListShape):
        return False, _item_fields(shape, value)
    made: dict[str, Any] = {}
    for name, each in value.items():
        known = shape.of(name)
        if known is None:
            continue
        member, below = _fields(known, each)
        if below:
            made[f"f:{name}"] = {".": {}, **below} if member or shape.item else below
        elif member or shape.item is not None:
            made[f"f:{name}"] = {}
    return False, made


def _item_fields(shape: ListShape, items: list[Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    seen: set[str] = set()
    for item in items:
        name = name_of(shape, item)
        below = {} if name in seen else _fields(shape.item, item)[1]
        made[name] = {".": {}, **below} if below else {}
        seen.add(name)
    return made
