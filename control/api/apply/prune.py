"""Remove from an object the fields that their manager does not apply any more."""

from collections.abc import Iterable
from typing import Any

from control.api.apply.fieldset import (
    LEAF,
    SELF,
    FieldSet,
    difference,
    intersection,
    is_member,
    union,
)
from control.api.apply.items import name_of
from control.api.apply.merge import fields_of
from control.api.apply.shape import AnyShape, ListShape, MapShape, is_whole

Wire = dict[str, Any]


def prune(shape: MapShape, merged: Wire, last: FieldSet, owned: Iterable[FieldSet]) -> Wire:
    """Return the object without the fields of ``last`` that nobody owns now.

    ``last`` is what the manager applied before, ``owned`` what each manager owns now.
    """
    if not last:
        return merged
    named_last = with_named(shape, last)
    pruned = remove(shape, merged, named_last)
    everyone: FieldSet = {}
    for each in owned:
        everyone = union(everyone, each)
    whole = with_named(shape, fields_of(shape, merged))
    kept = union(with_named(shape, fields_of(shape, pruned)), with_named(shape, everyone))
    pruned = remove(shape, merged, difference(whole, kept))
    gone = difference(whole, with_named(shape, fields_of(shape, pruned)))
    return remove(shape, merged, intersection(gone, named_last))


def with_named(shape: AnyShape | None, tree: FieldSet) -> FieldSet:
    """Return a set that also has every field of a structure above its fields."""
    made: FieldSet = {}
    for name, below in tree.items():
        if name == SELF or not below:
            made[name] = below
            continue
        inner, named = None, False
        if name[:2] == "f:" and isinstance(shape, MapShape):
            inner = shape.of(name[2:])
            named = shape.item is None and inner is not None
        elif name[:2] == "k:" and isinstance(shape, ListShape):
            inner = shape.item
        found = with_named(inner, below)
        made[name] = {SELF: LEAF, **found} if named else found
    return made


def remove(shape: MapShape, value: Wire, gone: FieldSet) -> Wire:
    """Return an object without the items and fields of a set; what becomes empty is null."""
    return _members(shape, value, gone) or {}


def _removed(shape: AnyShape, value: Any, gone: FieldSet) -> Any:
    if not isinstance(shape, ListShape | MapShape) or is_whole(shape, value):
        return value
    if shape.atomic or not value:
        return None
    if isinstance(shape, MapShape):
        return _members(shape, value, gone)
    made = []
    for item in value:
        below = gone.get(name_of(shape, item))
        if below is None:
            made.append(item)
        elif not is_member(below):
            made.append(_removed(shape.item, item, below))
    return made or None


def _members(shape: MapShape, value: Wire, gone: FieldSet) -> Wire | None:
    made: Wire = {}
    for name, each in value.items():
        below = gone.get(f"f:{name}")
        if below is None:
            made[name] = each
        elif not is_member(below):
            known = shape.of(name)
            made[name] = each if known is None else _removed(known, each, below)
    return made or None
