"""Tell the items of a list apart, by their keys or their values."""

from typing import Any, NamedTuple

from control.api.apply.fieldset import LEAF, FieldSet, encoded
from control.api.apply.shape import ListShape, MapShape, Shape


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


# No value at all, which is not null.
MISSING: Any = _Missing()


class ItemError(ValueError):
    """An item of a list that has no name."""


def name_of(shape: ListShape, item: Any) -> str:
    """Return the name of a list's item as a step of a path; raises ItemError."""
    if not shape.keys:
        return _value_name(item)
    if item is None:
        raise ItemError("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise ItemError("associative list with keys may not have non-map elements")
    defaults = shape.defaults
    keys = {}
    for key in shape.keys:
        value = item.get(key, defaults.get(key, MISSING))
        if value is not MISSING:
            keys[key] = value
    if not keys:
        names = " ".join(f'"{key}"' for key in shape.keys)
        raise ItemError(
            f"associative list with keys has an element that omits all key fields [{names}]"
            " (and doesn't have default values for any key fields)"
        )
    return f"k:{encoded(keys)}"


def _value_name(item: Any) -> str:
    if isinstance(item, dict):
        raise ItemError("associative list without keys has an element that's a map type")
    if isinstance(item, list):
        raise ItemError("not supported: associative list with lists as elements")
    if item is None:
        raise ItemError("associative list without keys has an element that's an explicit null")
    return f"v:{encoded(item)}"


def indexed(shape: ListShape, items: list[Any]) -> dict[str, list[Any]]:
    """Return the items by their names, in order; more than one for a repeated name."""
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(name_of(shape, item), []).append(item)
    return found


class Key(NamedTuple):
    """A list's item with its name."""

    name: str
    item: Any


def fits(shape: MapShape | ListShape, value: Any) -> bool:
    """Return True if a value has the form of its shape; others are refused when checked."""
    return isinstance(value, list if isinstance(shape, ListShape) else dict)


def everything(shape: Shape | MapShape | ListShape | None, value: Any) -> FieldSet:
    """Return the tree of a value that appears or disappears with all that is in it."""
    if shape is None or isinstance(shape, Shape) or shape.atomic or not value:
        return LEAF
    if not fits(shape, value):
        return LEAF
    made: FieldSet = {".": LEAF}
    if isinstance(shape, ListShape):
        for name, same in indexed(shape, value).items():
            made[name] = everything(shape.item, same[0]) if len(same) == 1 else LEAF
        return made
    if shape.item is not None:
        item = shape.item
        for name, each in value.items():
            made[f"f:{name}"] = everything(item, each)
        return made
    fields = shape.fields
    for name, each in value.items():
        if (known := fields.get(name)) is not None:
            made[f"f:{name}"] = LEAF if known.__class__ is Shape else everything(known, each)
    return made
