"""The values of expressions that JSON has no form for, and what makes two values the same.

The others are Python's: bool, int (64 bits), float, str, bytes, None, list and dict.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_LEAST, _MOST = -(2**63), 2**63


class UInt(int):
    """An unsigned number of 64 bits."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """Nanoseconds since 1970, in UTC; ``offset`` are the seconds that its text is ahead of it."""

    nanos: int
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """Nanoseconds."""

    nanos: int


@dataclass(frozen=True, slots=True)
class Optional:
    """A value, or none."""

    value: Any = None
    present: bool = True


NONE = Optional(None, present=False)


@dataclass(frozen=True, slots=True)
class TypeName:
    """A type as a value, as ``type(x)`` returns it."""

    name: str


class SetList(list[Any]):
    """A list of ``x-kubernetes-list-type: set``: its order does not count."""

    __slots__ = ()


class MapList(list[Any]):
    """A list of ``x-kubernetes-list-type: map``; its items are told apart by ``keys``."""

    __slots__ = ("keys",)

    def __init__(self, items: Sequence[Any], keys: tuple[str, ...]) -> None:
        super().__init__(items)
        self.keys = keys

    def named(self, item: Any) -> tuple[Any, ...]:
        """Return what names an item."""
        return tuple(hashed(item.get(key)) for key in self.keys) if type(item) is dict else ()


class Made(dict[str, Any]):
    """An object of a type with a name, as ``Object.spec{…}`` makes it."""

    __slots__ = ("name",)
    CEL = "object"

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return Made, (self.name, dict(self))


_NUMBERS = (int, float, UInt)
_LISTS = (list, SetList, MapList)


def equal(one: Any, other: Any) -> bool:
    """Return True for the same value: numbers of any type, lists and maps by what they hold."""
    sort, second = one.__class__, other.__class__
    if sort in _NUMBERS:
        return second in _NUMBERS and bool(one == other)
    if sort in _LISTS:
        return second in _LISTS and _same_list(one, other)
    if sort is not second:
        return False
    if sort is dict:
        return len(one) == len(other) and all(
            key in other and equal(value, other[key]) for key, value in one.items()
        )
    if sort is Optional:
        return one.present == other.present and equal(one.value, other.value)
    return bool(one == other)


def _same_list(one: list[Any], other: list[Any]) -> bool:
    if len(one) != len(other):
        return False
    if isinstance(one, SetList):
        return {hashed(each) for each in one} == {hashed(each) for each in other}
    if isinstance(one, MapList):
        known = {one.named(each): each for each in other}
        return all((name := one.named(each)) in known and equal(each, known[name]) for each in one)
    return all(map(equal, one, other))


def hashed(value: Any) -> Any:
    """Return something that is the same for equal values, and can be a key."""
    sort = value.__class__
    if sort is bool:
        return (bool, value)
    if sort in _LISTS:
        return (list, *map(hashed, value))
    if sort is dict:
        return (dict, frozenset((hashed(key), hashed(item)) for key, item in value.items()))
    return value


def size_of(value: Any) -> int:
    """Return the size of a value as costs count it: characters, bytes, items; else 1."""
    if isinstance(value, str | bytes | list | dict):
        return len(value)
    return 1


def fits_int(number: int) -> bool:
    """Return True for a number of 64 bits."""
    return _LEAST <= number < _MOST
