"""Read the table of upstream's types, ``definitions.txt``, a type at a time. Pure.

Source: KEP-555 for the types of lists, maps and objects, and strategic-merge-patch.md of
kubernetes/community for the strategies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from re import compile as pattern

SCALARS = frozenset("silbdxTUQI")
_PREFIXES = {
    "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.",
    "apiregistration": "io.k8s.kube-aggregator.pkg.apis.",
    "meta": "io.k8s.apimachinery.pkg.apis.",
    "runtime": "io.k8s.apimachinery.pkg.",
    "version": "io.k8s.apimachinery.pkg.",
}
_SCALAR_NAMES = {
    "Q": "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "I": "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "T": "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
    "U": "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
}
_PACKAGE = pattern(r"([a-z]+?)(v\d\w*)?")
_STRUCTURES = ("atomic", "granular", "set")


@dataclass(frozen=True, slots=True)
class FieldDefinition:
    """One field: its type, and how its value merges."""

    type: str  # a letter of SCALARS, or the short name of a type
    many: str = ""  # "[" a list of it, "{" a map from text to it, "{[" a map from text to lists
    required: bool = False
    # How server-side apply merges: "map" or "set" (a list), "atomic" (a list, a map or an object),
    # "granular" (a map or an object). Never empty for a list or a map.
    structure: str = ""
    marked: bool = False  # upstream's definition itself says the structure
    keys: tuple[str, ...] = ()  # of an item, in a list of the structure "map"
    strategies: tuple[str, ...] = ()  # of a strategic merge patch: merge, retainKeys, replace
    merge_key: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True)
class TypeDefinition:
    """One type; without fields it is any JSON object."""

    name: str  # short: "core.v1.PodSpec"
    fields: Mapping[str, FieldDefinition] = field(default_factory=dict)
    atomic: bool = False  # an object of this type is replaced as a whole, not merged
    any: bool = False  # any JSON value
    group: str | None = None  # of the kind that this type is; None if it is a part of others
    # (discriminator, ((field, its value of the discriminator), ...)) of each union.
    unions: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()

    @property
    def kind(self) -> tuple[str, str, str] | None:
        """The (group, version, kind) of an object's type; None for a part."""
        if self.group is None:
            return None
        _, version, name = self.name.split(".")
        return self.group, version, name


def full_name(name: str) -> str:
    """Return a type's name in OpenAPI documents: ``io.k8s.api.core.v1.PodSpec``."""
    if name in _SCALAR_NAMES:
        return _SCALAR_NAMES[name]
    return _PREFIXES.get(name.partition(".")[0], "io.k8s.api.") + name


def type_name(group: str, version: str, kind: str) -> str:
    """Return the short name of a kind's type; empty if upstream's release has no such kind."""
    return _by_kind().get((group, version, kind), "")


def names() -> tuple[str, ...]:
    """Return the short names of all types."""
    return tuple(_lines())


@cache
def definition(name: str) -> TypeDefinition:
    """Return a type by its short name, such as ``core.v1.PodSpec``; raises KeyError."""
    head, *items = _lines()[name].split()
    _, *marks = head.split(";")
    values = dict(mark.partition("=")[::2] for mark in marks if not mark.startswith("union="))
    return TypeDefinition(
        name,
        dict(map(_field, items)),
        "atomic" in values,
        "any" in values,
        values.get("kind"),
        tuple(_union(mark) for mark in marks if mark.startswith("union=")),
    )


def of_message(message: str) -> TypeDefinition | None:
    """Return the type of a message such as ``autoscalingv2.MetricSpec``; None if it has none."""
    package, _, name = message.partition(".")
    if not (found := _PACKAGE.fullmatch(package)):
        return None
    group, version = found.groups()
    called = f"{group}.{version or 'v1'}.{name}"
    return definition(called) if called in _lines() else None


@cache
def _lines() -> Mapping[str, str]:
    text = files(__package__).joinpath("definitions.txt").read_text()
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {line.split(" ", 1)[0].partition(";")[0]: line for line in lines}


@cache
def _by_kind() -> Mapping[tuple[str, str, str], str]:
    found = {}
    for name, line in _lines().items():
        if ";kind=" in line.split(" ", 1)[0] and (kind := definition(name).kind):
            found[kind] = name
    return found


def _field(item: str) -> tuple[str, FieldDefinition]:
    name, _, rest = item.partition(":")
    typed, *marks = rest.split(";")
    inner = typed.lstrip("[{")
    many = typed.removesuffix(inner)
    values = dict(mark.partition("=")[::2] for mark in marks)
    keys = values.get("map", "")
    default = {"[": "atomic", "{": "granular"}.get(many[:1], "")
    structure = next((mark for mark in _STRUCTURES if mark in values), default)
    strategies = tuple(mark for mark in ("merge", "retainKeys", "replace") if mark in values)
    return name, FieldDefinition(
        inner,
        many,
        "required" in values,
        "map" if keys else structure,
        bool(keys) or any(mark in values for mark in _STRUCTURES),
        tuple(keys.split(",")) if keys else (),
        strategies,
        values.get("merge", ""),
        values.get("default", ""),
    )


def _union(mark: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    discriminator, *pairs = mark.removeprefix("union=").split(",")
    return discriminator, tuple((pair.split("=")[0], pair.split("=")[1]) for pair in pairs)
