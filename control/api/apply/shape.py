"""How the values of each type merge: which lists have items with keys, and what is atomic.

Upstream's types say it, in ``control.api.definitions``; ``shape_of`` is the shape of a message,
made at its first use.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

from control.api.definitions.table import FieldDefinition, of_message
from control.api.types.scalars import ZEROS
from control.api.types.table import INLINE, Field, fields_of, messages

# Defaults of keys that upstream's types name; keys that JSON always has default to their zero.
_KEY_DEFAULTS = {
    "core.ContainerPort.protocol": "TCP",
    "core.LocalObjectReference.name": "",
    "core.ServicePort.protocol": "TCP",
}
_SCALARS = {
    **dict.fromkeys("sxTU", "string"),
    **dict.fromkeys("ild", "numeric"),
    "b": "boolean",
    **dict.fromkeys("QI", "any scalar"),
}
# What Kubernetes 1.37 added: its messages are known, its types are not in the definitions.
_NEWER = {
    "core.NodeAllocatableResourceClaimStatus.mapping": ("name",),
    "core.NodeAllocatableResourceClaimStatus.overhead": ("name",),
    "core.PodSpec.evictionResponders": ("name",),
    "core.PodStatus.volumeHealth": ("name",),
    "core.PodVolumeHealth.healthConditions": ("reason", "status"),
}
_NEWER_SETS = frozenset(
    ("core.NodePodPreemptionPolicy.disableResizePreemption", "core.VolumeMount.bindMountOptions")
)
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
    # A value without a type, of a custom resource: an object merges, anything else is one whole.
    deduced: bool = False

    def of(self, name: str) -> "AnyShape | None":
        """Return the shape of a member; None if a structure has no such field."""
        return self.item if self.item is not None else self.fields.get(name)

    @property
    def fields(self) -> "Mapping[str, AnyShape]":
        """The fields of a structure; none for a map."""
        return _fields(self.name) if self.name else {}


@dataclass(frozen=True, slots=True)
class StructShape(MapShape):
    """A structure with fields of its own: of a custom resource."""

    own: "Mapping[str, AnyShape]" = field(default_factory=dict, hash=False)

    @property
    def fields(self) -> "Mapping[str, AnyShape]":
        """The fields of the structure."""
        return self.own


class OpenFields(dict[str, "AnyShape"]):
    """Fields of a structure that may have others, too: those have a deduced type."""

    def get(self, name: str, _: Any = None) -> "AnyShape":
        """Return the shape of any field."""
        return super().get(name, DEDUCED)


def _deduced() -> MapShape:
    made = MapShape(deduced=True)
    object.__setattr__(made, "item", made)  # its members are such values again
    return made


DEDUCED = _deduced()


@dataclass(frozen=True, slots=True)
class ListShape:
    """A list. Its items are told apart by ``keys``, or by their value if there are none."""

    item: "AnyShape"
    atomic: bool = True
    keys: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False)
    deduced: ClassVar[bool] = False


AnyShape = Shape | MapShape | ListShape


def is_whole(shape: AnyShape, value: Any) -> bool:
    """Return True for a value of a deduced type that is no object: it has one owner."""
    return isinstance(shape, MapShape) and shape.deduced and not isinstance(value, dict)


@cache
def shape_of(message: str) -> AnyShape:
    """Return the shape of a message such as ``core.Pod``."""
    only = next(iter(messages()[message].values()), None)
    if only is not None and only.name == INLINE and only.many:
        return _whole(only, None)
    known = of_message(message)
    return MapShape(message, atomic=known is not None and known.atomic)


@cache
def _fields(message: str) -> Mapping[str, AnyShape]:
    found, known = fields_of(message), of_message(message)
    if "metadata" in found:
        found = found | {each.name: each for each in _TYPE_META}
    given = known.fields if known else {}
    return {
        name: _whole(each, given.get(name) or _newer(f"{message}.{name}"))
        for name, each in found.items()
    }


def _newer(path: str) -> FieldDefinition | None:
    """Return how a field merges that is not in the definitions."""
    if path in _NEWER_SETS:
        return FieldDefinition("s", "[", structure="set")
    keys = _NEWER.get(path)
    return FieldDefinition("x", "[", structure="map", keys=keys) if keys else None


def _whole(given: Field, known: FieldDefinition | None) -> AnyShape:
    """Return the shape of a field; ``known`` says how it merges, else a list has one owner."""
    one = shape_of(given.type) if given.type in messages() else Shape(_SCALARS.get(given.type, ""))
    structure = known.structure if known else ""
    if given.many == "{":
        return MapShape(item=one, atomic=structure == "atomic")
    if given.many != "[":
        if structure == "atomic" and isinstance(one, MapShape):
            return MapShape(one.name, one.item, atomic=True)
        if structure == "granular" and isinstance(one, MapShape):  # whatever its type says
            return MapShape(one.name, one.item)
        return one
    keys = tuple(sorted(known.keys)) if known else ()
    return ListShape(one, structure not in ("map", "set"), keys, _key_defaults(given.type, keys))


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
