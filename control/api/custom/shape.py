"""How the fields of custom resources merge in server-side apply. Pure.

Source: k8s.io/kube-openapi/pkg/schemaconv, and the deduced type of structured-merge-diff for what a
schema leaves open: objects merge member by member, lists have one owner.
"""

from control.api.apply.shape import (
    DEDUCED,
    AnyShape,
    ListShape,
    MapShape,
    OpenFields,
    Shape,
    StructShape,
    shape_of,
)
from control.api.custom.schema import Node

_SCALARS = {"string": "string", "integer": "numeric", "number": "numeric", "boolean": "boolean"}


def shape_of_kind(node: Node) -> MapShape:
    """Return the shape of a kind's objects."""
    return _struct(node, _meta())


def _meta() -> dict[str, AnyShape]:
    text = Shape("string")
    return {"apiVersion": text, "kind": text, "metadata": shape_of("meta.ObjectMeta")}


def _struct(node: Node, more: dict[str, AnyShape]) -> MapShape:
    fields = {name: _shape(each) for name, each in node.properties.items()} | more
    own = OpenFields(fields) if node.preserves else fields
    return StructShape(atomic=node.map_type == "atomic", own=own)


def _shape(node: Node) -> AnyShape:
    if node.int_or_string:
        return Shape("any scalar")
    if node.type in _SCALARS:
        return Shape(_SCALARS[node.type])
    if node.type == "array":
        return _list(node)
    if node.type != "object":
        return DEDUCED
    if node.additional is not None and not node.properties:
        return MapShape(item=_item(node.additional), atomic=node.map_type == "atomic")
    return _struct(node, _meta() if node.embedded else {})


def _item(node: Node) -> AnyShape:
    """Return the shape of a map's members; those of any value are deduced."""
    return _shape(node) if node.type or node.int_or_string else DEDUCED


def _list(node: Node) -> ListShape:
    item = _shape(node.items) if node.items else DEDUCED
    keys = tuple(sorted(node.list_keys)) if node.list_type == "map" else ()
    properties = node.items.properties if node.items else {}
    defaults = {
        key: properties[key].default
        for key in keys
        if key in properties and properties[key].default is not None
    }
    return ListShape(item, node.list_type not in ("map", "set"), keys, defaults)
