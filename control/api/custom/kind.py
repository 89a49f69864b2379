"""The kinds that a CustomResourceDefinition defines: one of each version that is served. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from control.api.apply.shape import MapShape
from control.api.columns.base import Columns
from control.api.custom import columns, shape, values
from control.api.custom.paths import Path
from control.api.custom.place import ROOT
from control.api.custom.rules import rules_of_type
from control.api.custom.schema import Node, node_of
from control.api.kind import Kind
from control.api.meta import Object
from control.api.rules import Rules

Wire = dict[str, Any]
_PRIORITY = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?")
_STAGES = {"alpha": 0, "beta": 1, None: 2}


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where the scale of an object is; ``selector`` is empty for none."""

    spec: str
    status: str
    selector: str = ""


class CustomType:
    """One version of a definition: how its objects are read, completed, checked and shown.

    ``spec`` and ``names`` are the definition's; what they say is computed at its first use.
    """

    def __init__(self, spec: Mapping[str, Any], names: Mapping[str, Any], version: str) -> None:
        self.spec, self.names, self.version = spec, names, version
        self.definition = f"{names['plural']}.{spec['group']}"
        self.api_version = f"{spec['group']}/{version}"
        stored = next(each["name"] for each in spec["versions"] if each["storage"])
        self.stored_version = f"{spec['group']}/{stored}"
        conversion = spec.get("conversion") or {}
        self.converts = conversion.get("strategy") == "Webhook"  # and not by its name alone
        self.memo: Any = None  # of what the webhook has converted: see the server
        self._own = next(each for each in spec["versions"] if each["name"] == version)
        self.singular = names.get("singular") or names["kind"].lower()
        self.list_name = names.get("listKind") or f"{names['kind']}List"

    @cached_property
    def source(self) -> bytes:
        """What another process needs to make the same kind: see ``kind_of``."""
        return orjson.dumps([self.spec, self.names])

    @cached_property
    def schema(self) -> Mapping[str, Any]:
        """The schema as the definition has it; empty for none."""
        found: Mapping[str, Any] = (self._own.get("schema") or {}).get("openAPIV3Schema") or {}
        return found

    @cached_property
    def node(self) -> Node:
        """The structural schema, without metadata."""
        return node_of(self.schema, root=True)

    @cached_property
    def shape(self) -> MapShape:
        """How objects merge in server-side apply."""
        return shape.shape_of_kind(self.node)

    @cached_property
    def columns(self) -> Columns:
        """The columns of objects."""
        return columns.columns_of(self._own.get("additionalPrinterColumns") or ())

    @cached_property
    def rules(self) -> Rules:
        """The rules of objects: defaults and validation."""
        return rules_of_type(self)

    @cached_property
    def selectable(self) -> Mapping[str, Path]:
        """The fields that a field selector may name, without the first dot."""
        given = self._own.get("selectableFields") or ()
        return {each["jsonPath"].removeprefix("."): Path(each["jsonPath"]) for each in given}

    @cached_property
    def subresources(self) -> Mapping[str, Any]:
        """The subresources of objects by name, with what the definition says of them."""
        return self._own.get("subresources") or {}

    @cached_property
    def scale(self) -> ScalePaths | None:
        """Where the scale is; None without that subresource."""
        given = self.subresources.get("scale")
        if given is None:
            return None
        paths = given["specReplicasPath"], given["statusReplicasPath"]
        return ScalePaths(*paths, given.get("labelSelectorPath") or "")

    @property
    def warning(self) -> str:
        """What a client of a deprecated version is told; empty for others."""
        if not self._own.get("deprecated"):
            return ""
        if given := self._own.get("deprecationWarning"):
            return str(given)
        told = f"{self.api_version} {self.names['kind']} is deprecated"
        better = self._successor()
        return f"{told}; use {self.spec['group']}/{better} {self.names['kind']}" if better else told

    def _successor(self) -> str:
        """Return the best version that is served and not deprecated, if it is a better one."""
        good = (
            each["name"]
            for each in self.spec["versions"]
            if each["served"] and not each.get("deprecated")
        )
        best = max(good, key=order, default="")
        return best if best and order(best) > order(self.version) else ""

    def read(self, wire: Wire) -> tuple[Wire, list[str]]:
        """Return an object pruned to the schema, and the sorted paths of its unknown fields.

        Raises WrongTypeError for metadata of a wrong type.
        """
        unknown: list[str] = []
        given = wire.get("metadata")
        metadata = values.read_metadata(
            {} if given is None else given, ROOT.at("metadata"), unknown
        )
        head = {"apiVersion": wire["apiVersion"], "kind": wire["kind"], "metadata": metadata}
        body = {name: item for name, item in wire.items() if name not in head}
        made = values.pruned(self.node, body, ROOT, unknown)
        return head | values.embedded(self.node, made, ROOT, unknown), sorted(unknown)

    def refreshed(self, wire: Wire) -> Wire:
        """Return a stored object as this version of its schema would store it now."""
        body = {name: item for name, item in wire.items() if name != "metadata"}
        body |= {"apiVersion": self.api_version}
        made, _ = self.read(body | {"metadata": {}})
        made["metadata"] = wire["metadata"]
        return self.rules.default(made)


def kinds_of(definition: Mapping[str, Any]) -> tuple[Kind, ...]:
    """Return the kinds that a CustomResourceDefinition serves; none before it is established."""
    status = definition.get("status") or {}
    states = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    names = status.get("acceptedNames") or {}
    if states.get("Established") != "True" or not (names.get("plural") and names.get("kind")):
        return ()
    return tuple(_kinds(definition["spec"], names))


def _kinds(spec: Mapping[str, Any], names: Mapping[str, Any]) -> Iterator[Kind]:
    served = [each["name"] for each in spec["versions"] if each["served"]]
    for version in sorted(served, key=order, reverse=True):
        yield kind_of(spec, names, version)


def kind_of(spec: Mapping[str, Any], names: Mapping[str, Any], version: str) -> Kind:
    """Return one version of a definition, by its spec and its accepted names."""
    made = CustomType(spec, names, version)
    return Kind(
        spec["group"],
        version,
        names["kind"],
        names["plural"],
        Object,
        spec["scope"] == "Namespaced",
        tuple(names.get("shortNames") or ()),
        tuple(names.get("categories") or ()),
        tuple(name for name in ("status", "scale") if name in made.subresources),
        made,
    )


def order(version: str) -> tuple[int, int, int, str]:
    """Order versions by kube's priority: GA first, then beta and alpha, the newest first."""
    if not (match := _PRIORITY.fullmatch(version)):
        return -1, 0, 0, "".join(chr(0x10FFFF - ord(sign)) for sign in version)
    return _STAGES[match[2]], int(match[1]), int(match[3] or 0), ""
