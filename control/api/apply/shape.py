"""How the values of each type merge: which lists have items with keys, and what is atomic.

``markers.txt`` beside the types says it, as upstream's OpenAPI does; ``shape_of`` is the shape of a
message, made at its first use.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from control.api.types.scalars import ZEROS
from control.api.types.table import INLINE, Field, fields_of, markers, messages

# Defaults of keys that upstream's types name; keys that JSON always has default to their zero.
_KEY_DEFAULTS = {"core.ContainerPort.protocol": "TCP", "core.ServicePort.protocol": "TCP"}
_SCALARS = {
    **dict.fromkeys("sxTU", "string"),
    **dict.fromkeys("ild", "numeric"),
    "b": "boolean",
    **dict.fromkeys("QI", "any scalar"),
}
_TYPE_META = (Field("apiVersion", "s"), Field("kind", "s"))


@dataclass(frozen=True, slots=True)
class Shape:
    """A value that has one owner as a whole: a scalar, or (``scalar`` is "") any JSON value."""

    scalar: str = ""


@dataclass(frozen=True, slots=True)
class MapShape:
    """A structure or a map. ``name`` is the message of a structure; ``item`` is for other maps."""

    name: str = ""
    item: "AnyShape | None" = None
    atomic: bool = False

    def of(self, name: str) -> "AnyShape | None":
        """Return the shape of a member; None if a structure has no such field."""
        return self.item if self.item is not None else self.fields.get(name)

    @property
    def fields(self) -> "Mapping[str, AnyShape]":
        """The fields of a structure; none for a map."""
        return _fields(self.name) if self.name else {}


@dataclass(frozen=True, slots=True)
class ListShape:
    """A list. Its items are told apart by ``keys``, or by their value if there are none."""

    item: "AnyShape"
    atomic: bool = True
    keys: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False)


AnyShape = Shape | MapShape | ListShape


@cache
def shape_of(message: str) -> AnyShape:
    """Return the shape of a message such as ``core.Pod``."""
    only = next(iter(messages()[message].values()), None)
    if only is not None and only.name == INLINE and only.many:
        return _whole(only, "")
    return MapShape(message, atomic=markers().get(message) == "atomic")


@cache
def _fields(message: str) -> Mapping[str, AnyShape]:
    found = fields_of(message)
    if "metadata" in found:
        found = found | {each.name: each for each in _TYPE_META}
    return {name: _whole(each, f"{message}.{name}") for name, each in found.items()}


def _whole(given: Field, path: str) -> AnyShape:
    """Return the shape of a field, which ``path`` names."""
    one = shape_of(given.type) if given.type in messages() else Shape(_SCALARS.get(given.type, ""))
    marker = markers().get(path, "")
    if given.many == "{":
        return MapShape(item=one, atomic=marker == "atomic")
    if given.many != "[":
        if marker == "atomic" and isinstance(one, MapShape):
            return MapShape(one.name, one.item, atomic=True)
        return one
    keys = tuple(sorted(marker.removeprefix("map:").split(","))) if marker[:4] == "map:" else ()
    return ListShape(one, not (keys or marker == "set"), keys, _key_defaults(given.type, keys))


def _key_defaults(message: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the values of the keys that an item may leave out."""
    found = {}
    for key in keys:
        known = fields_of(message)[key]
        zero = ZEROS.get(known.type) if known.always else None
        default = _KEY_DEFAULTS.get(f"{message}.{key}", zero)
        if default is not None:
            found[key] = default
    return found
