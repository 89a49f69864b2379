"""Structural schemas: the shape of custom resources, as a tree of nodes. Pure.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/structural.go. The checks of values are
in ``validate.py``; a node has what pruning, defaults and apply need.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

Schema = Mapping[str, Any]
META_FIELDS = frozenset(("apiVersion", "kind", "metadata"))


@dataclass(frozen=True, slots=True)
class Node:
    """One structural schema; it says nothing of the values' validity."""

    type: str = ""
    nullable: bool = False
    preserves: bool = False  # x-kubernetes-preserve-unknown-fields
    embedded: bool = False  # x-kubernetes-embedded-resource
    int_or_string: bool = False
    default: Any = None  # JSON null is no default
    properties: "Mapping[str, Node]" = field(default_factory=dict)
    additional: "Node | None" = None  # of the members of a map
    items: "Node | None" = None
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    map_type: str = ""
    completes: bool = False  # there is a default here or below
    embeds: bool = False  # there is an embedded resource here or below
    size: int = 0  # bytes of the default as JSON

    def member(self, name: str) -> "Node | None":
        """Return the node of a member of an object; None if it is unknown."""
        return self.properties.get(name) or self.additional


ANY = Node(preserves=True)


def node_of(schema: Schema, *, root: bool = False) -> Node:
    """Return the node of a schema, with those below it.

    The metadata of a root is left out: it has its own type.
    """
    properties = {
        name: node_of(each)
        for name, each in (schema.get("properties") or {}).items()
        if not (root and name in META_FIELDS)
    }
    additional, items = _additional(schema), schema.get("items")
    item = node_of(items) if isinstance(items, dict) else None
    below = [*properties.values(), *filter(None, (additional, item))]
    return Node(
        schema.get("type", ""),
        schema.get("nullable", False),
        bool(schema.get("x-kubernetes-preserve-unknown-fields")),
        bool(schema.get("x-kubernetes-embedded-resource")),
        bool(schema.get("x-kubernetes-int-or-string")),
        schema.get("default"),
        properties,
        additional,
        item,
        schema.get("x-kubernetes-list-type", ""),
        tuple(schema.get("x-kubernetes-list-map-keys", ())),
        schema.get("x-kubernetes-map-type", ""),
        schema.get("default") is not None or any(node.completes for node in below),
        bool(schema.get("x-kubernetes-embedded-resource")) or any(node.embeds for node in below),
        0 if schema.get("default") is None else len(orjson.dumps(schema["default"])),
    )


def _additional(schema: Schema) -> Node | None:
    """Return the node of a map's members: of a schema, or of any value for ``true``.

    A member of any value is pruned down to nothing known, as upstream's: it keeps scalars only.
    """
    given = schema.get("additionalProperties")
    if isinstance(given, dict):
        return node_of(given)
    return Node(nullable=True) if given else None


def has_rules(schema: Schema) -> bool:
    """Return True if a schema, or a part of it, has ``x-kubernetes-validations``."""
    return b'"x-kubernetes-validations":[{' in orjson.dumps(schema)
