"""Compare two versions of an object: which fields are new, changed or gone."""

from typing import Any, NamedTuple

from control.api.apply.fieldset import LEAF, FieldSet, difference, union
from control.api.apply.items import MISSING, everything, fits, indexed
from control.api.apply.shape import AnyShape, ListShape, MapShape, Shape


class Comparison(NamedTuple):
    """The fields that a new version removes, changes and adds."""

    removed: FieldSet
    modified: FieldSet
    added: FieldSet

    @property
    def taken(self) -> FieldSet:
        """The fields that the new version sets."""
        return union(self.modified, self.added)

    def without(self, ignored: FieldSet) -> "Comparison":
        """Return the comparison without some fields and all below them."""
        if not ignored:
            return self
        return Comparison(*(difference(each, ignored, recursive=True) for each in self))


_SAME = Comparison({}, {}, {})
_MODIFIED = Comparison({}, LEAF, {})


def compare(shape: MapShape, old: dict[str, Any], new: dict[str, Any]) -> Comparison:
    """Compare two objects of one type."""
    return _members(shape, old, new)


def _changed(shape: AnyShape, old: Any, new: Any, name: str, into: Comparison) -> None:
    """Add what differs between two values of one name."""
    if (
        isinstance(shape, Shape)
        or shape.atomic
        or not (old or new)
        or (old and not fits(shape, old))
        or (new and not fits(shape, new))
        or (shape.deduced and not (isinstance(old, dict) and isinstance(new, dict)))
    ):
        into.modified[name] = LEAF
        return
    found = (
        _items(shape, old or [], new or [])
        if isinstance(shape, ListShape)
        else _members(shape, old or {}, new or {})
    )
    for tree, whole in zip(found, into, strict=True):
        if tree:
            whole[name] = tree


def _members(shape: MapShape, old: dict[str, Any], new: dict[str, Any]) -> Comparison:
    found = Comparison({}, {}, {})
    item, fields = shape.item, shape.fields
    for name, value in new.items():
        before = old.get(name, MISSING)
        if before is value:
            continue
        known = item if item is not None else fields.get(name)
        if known is None:
            continue  # an unknown field, which no one owns
        if before is MISSING:
            found.added[f"f:{name}"] = everything(known, value)
        elif before != value:
            _changed(known, before, value, f"f:{name}", found)
    for name in old.keys() - new.keys():
        if (known := shape.of(name)) is not None:
            found.removed[f"f:{name}"] = everything(known, old[name])
    return found


def _items(shape: ListShape, old: list[Any], new: list[Any]) -> Comparison:
    found = Comparison({}, {}, {})
    before, after = indexed(shape, old), indexed(shape, new)
    for name in {**before, **after}:
        _item(shape, name, before.get(name, []), after.get(name, []), found)
    return found


def _item(shape: ListShape, name: str, old: list[Any], new: list[Any], into: Comparison) -> None:
    """Compare the items of one name; those of a repeated name count as one whole."""
    if old == new:
        return
    if len(old) > 1 and len(new) > 1:
        into.modified[name] = LEAF
    elif len(old) > 1:
        into.removed[name] = LEAF
        if new:
            into.added[name] = everything(shape.item, new[0])
    elif len(new) > 1:
        into.added[name] = LEAF
        if old:
            into.removed[name] = everything(shape.item, old[0])
    elif not old:
        into.added[name] = everything(shape.item, new[0])
    elif not new:
        into.removed[name] = everything(shape.item, old[0])
    else:
        _changed(shape.item, old[0], new[0], name, into)
