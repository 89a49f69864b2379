"""Sets of fields, in the form of metadata.managedFields (FieldsV1).

A set is a tree of dicts. A name is one step of a path: ``f:`` and a field's name, ``k:`` and the
keys of a list's item as JSON, ``v:`` and the value of a set's item as JSON. The value of a name is
the tree below it. A field is a member of the set if its tree is empty or has the name ``.``.
No function changes what it is given; results share parts with it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

FieldSet = dict[str, Any]
SELF = "."
LEAF: FieldSet = {}  # the tree of a member without further members; it is shared
_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
_INDEX = re.compile("i:(0|-?[1-9][0-9]{0,17})")


class FieldSetError(ValueError):
    """Something that is no set of fields."""


def encoded(value: Any) -> str:
    """Return a key's or an item's value as JSON, as Go writes it."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    for sign, escape in _HTML.items():
        if sign in text:
            text = text.replace(sign, escape)
    return text


def is_member(tree: FieldSet) -> bool:
    """Return True if a field with this tree is in the set itself."""
    return not tree or SELF in tree


def _tree(member: bool, below: FieldSet) -> FieldSet | None:
    """Return the tree of a field; None if neither it nor anything below is in the set."""
    if not below:
        return LEAF if member else None
    return {SELF: LEAF, **below} if member else below


def _below(tree: FieldSet) -> FieldSet:
    return {name: each for name, each in tree.items() if name != SELF} if SELF in tree else tree


def union(one: FieldSet, two: FieldSet) -> FieldSet:
    """Return the fields of either set."""
    if not one or not two:
        return one or two
    made = dict(one)
    for name, tree in two.items():
        held = made.get(name)
        made[name] = tree if held is None else _joined(held, tree)
    return made


def _joined(one: FieldSet, two: FieldSet) -> FieldSet:
    if one is two:
        return one
    if not one or not two:
        present = one or two
        return {SELF: LEAF, **present} if present else LEAF
    return union(one, two)


def intersection(one: FieldSet, two: FieldSet) -> FieldSet:
    """Return the fields of both sets."""
    if len(two) < len(one):
        one, two = two, one
    made: FieldSet = {}
    for name, tree in one.items():
        if name == SELF or (other := two.get(name)) is None:
            continue
        member = is_member(tree) and is_member(other)
        found = _tree(member, intersection(tree, other))
        if found is not None:
            made[name] = found
    return made


def difference(one: FieldSet, two: FieldSet, *, recursive: bool = False) -> FieldSet:
    """Return the fields of ``one`` that are not in ``two``.

    ``recursive``: a member of ``two`` takes away everything below it, too.
    """
    made: FieldSet | None = None
    for name, other in two.items() if one else ():
        tree = one.get(name)
        if tree is None or name == SELF:
            continue
        found = _left(tree, other, recursive=recursive)
        if found is tree:
            continue
        made = dict(one) if made is None else made
        if found is None:
            del made[name]
        else:
            made[name] = found
    return one if made is None else made


def _left(tree: FieldSet, other: FieldSet, *, recursive: bool) -> FieldSet | None:
    """Return what is left of a field's tree; None if nothing is."""
    gone = is_member(other)
    if gone and (recursive or not tree):
        return None
    if not tree:
        return tree
    below = difference(tree, other, recursive=recursive)
    if gone and SELF in below:
        below = _below(below)
    return _tree(SELF in below, _below(below)) if below is not tree else tree


def paths(tree: FieldSet, above: str = "") -> Iterator[str]:
    """Yield each field of a set as upstream prints it: members first, then what is below."""
    names = sorted(name for name in tree if name != SELF)
    for name in names:
        if is_member(tree[name]):
            yield above + shown(name)
    for name in names:
        if tree[name]:
            yield from paths(tree[name], above + shown(name))


def has(tree: FieldSet, path: tuple[str, ...]) -> bool:
    """Return True if the field at a path is in the set."""
    at: FieldSet | None = tree
    for name in path:
        at = at.get(name) if at is not None else None
    return at is not None and is_member(at)


def of_paths(*given: tuple[str, ...]) -> FieldSet:
    """Return the set of the fields at paths of names, such as ``("f:spec", "f:replicas")``."""
    made: FieldSet = {}
    for path in given:
        tree = LEAF
        for name in reversed(path):
            tree = {name: tree}
        made = union(made, tree)
    return made


def shown(name: str) -> str:
    """Return one step of a path as upstream prints it: ``.spec`` or ``[name="c"]``."""
    sort, value = name[:2], name[2:]
    if sort == "f:":
        return f".{value}"
    if sort == "i:":
        return f"[{value}]"
    if sort == "v:":
        return f"[={value}]"
    keys: Mapping[str, Any] = orjson.loads(value)
    return f"[{','.join(f'{key}={orjson.dumps(each).decode()}' for key, each in keys.items())}]"


def read(value: Any) -> FieldSet:
    """Read a set that a client has sent; raises FieldSetError. Names of other sorts are dropped."""
    made = _read(value)
    made.pop(SELF, None)
    return made


def _read(value: Any) -> FieldSet:
    if value is None:
        return LEAF
    if not isinstance(value, dict):
        raise FieldSetError("a set of fields must be an object")
    made: FieldSet = {}
    for name, below in value.items():
        if name == SELF:
            made[SELF] = LEAF
        elif (known := _canonical(name)) is not None:
            tree = _read(below)
            made[known] = _joined(made[known], tree) if known in made else tree
    return LEAF if made.keys() == {SELF} else made


def _canonical(name: str) -> str | None:
    """Return a step of a path as this module writes it; None for an unknown sort."""
    if len(name) < 2 or name[1] != ":":
        raise FieldSetError(f"{name[:80]!r} is no step of a path")
    sort, value = name[0], name[2:]
    if sort not in "fvki":
        return None
    if sort == "f" or (sort == "i" and _INDEX.fullmatch(name)):
        return name
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError as err:
        raise FieldSetError(f"{name[:80]!r} is no step of a path") from err
    if sort == "i" or (sort == "k") != isinstance(found, dict):
        raise FieldSetError(f"{name[:80]!r} is no step of a path")
    return f"{sort}:{encoded(found)}"
