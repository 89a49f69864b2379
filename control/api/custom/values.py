"""Prune objects to their schema, and fill in its defaults. Pure.

No function changes what it is given; a result shares with it what is the same. Source:
pkg/apiserver/schema/{pruning,defaulting,objectmeta} of k8s.io/apiextensions-apiserver.
"""

import copy
from dataclasses import replace
from typing import Any

from control.api.custom.cost import Spending
from control.api.custom.place import Place
from control.api.custom.schema import META_FIELDS, Node
from control.api.types.conform import conform_message
from control.api.types.scalars import WrongTypeError
from control.api.types.table import fields_of

Wire = dict[str, Any]
_META = "meta.ObjectMeta"
_MOST_UNKNOWN = 100
# Bytes of defaults that cost as much as a check.
_BYTES = 4


def pruned(node: Node, value: Any, path: Place, unknown: list[str]) -> Any:
    """Return a value without unknown fields, whose paths are added to ``unknown``.

    Of these, a hundred are kept. Nulls of fields that are neither nullable nor have a default are
    left out, too.
    """
    if isinstance(value, dict):
        return _pruned_object(node, value, path, unknown)
    if isinstance(value, list):
        return _pruned_list(node, value, path, unknown)
    return value


def _pruned_object(node: Node, value: Wire, path: Place, unknown: list[str]) -> Wire:
    made: Wire = {}
    changed = False
    for name, item in value.items():
        known = node.member(name)
        if node.embedded and name in META_FIELDS:
            made[name] = item
        elif known is None and not node.preserves:
            _note(unknown, path.at(name))
            changed = True
        elif known is None:
            made[name] = item
        elif item is None and not known.nullable and known.default is None:
            changed = True
        else:
            kept = made[name] = pruned(known, item, path.at(name), unknown)
            changed = changed or kept is not item
    return made if changed else value


def _note(unknown: list[str], path: Place) -> None:
    if len(unknown) < _MOST_UNKNOWN:
        unknown.append(str(path))


def _pruned_list(node: Node, value: list[Any], path: Place, unknown: list[str]) -> list[Any]:
    if node.items is None:
        if node.preserves:
            return value
        made = [pruned(Node(), item, path.item(at), unknown) for at, item in enumerate(value)]
    else:
        known = replace(node.items, preserves=True) if node.preserves else node.items
        made = [pruned(known, item, path.item(at), unknown) for at, item in enumerate(value)]
    same = all(new is old for new, old in zip(made, value, strict=True))
    return value if same else made


def completed(node: Node, value: Any, cost: Spending) -> Any:
    """Return a value with the defaults of its schema; raises TooCostlyError."""
    if not node.completes:
        return value
    if isinstance(value, dict):
        return _completed_object(node, value, cost)
    if isinstance(value, list) and (known := node.items):
        made = [completed(known, _given(known, item, cost), cost) for item in value]
        same = all(new is old for new, old in zip(made, value, strict=True))
        return value if same else made
    return value


def _given(node: Node, value: Any, cost: Spending) -> Any:
    """Return a value, or the default in place of a null."""
    return _default(node, cost) if value is None and not node.nullable else value


def _default(node: Node, cost: Spending) -> Any:
    """Return a copy of a default."""
    cost.spend(1 + node.size // _BYTES)
    return copy.deepcopy(node.default)


def _completed_object(node: Node, value: Wire, cost: Spending) -> Wire:
    made = dict(value)
    for name, known in node.properties.items():
        if known.default is not None and (
            name not in value or (value[name] is None and not known.nullable)
        ):
            made[name] = _default(known, cost)
    for name, item in made.items():
        if name in node.properties:
            made[name] = completed(node.properties[name], item, cost)
        elif node.additional is not None:
            made[name] = completed(node.additional, _given(node.additional, item, cost), cost)
    same = len(made) == len(value) and all(made[name] is item for name, item in value.items())
    return value if same else made


def read_metadata(value: Any, path: Place, unknown: list[str]) -> Wire:
    """Read metadata by its type; unknown fields are named and left out. Raises WrongTypeError."""
    try:
        made, strange = conform_message(_META, value)
    except WrongTypeError as err:
        err.names.append("metadata")
        raise
    if not strange:
        return made
    known = fields_of(_META)
    for name in made.keys() - known.keys():
        _note(unknown, path.at(name))
    return {name: item for name, item in made.items() if name in known}


def embedded(node: Node, value: Any, path: Place, unknown: list[str]) -> Any:
    """Return a value whose embedded resources have metadata of its type, without wrong fields."""
    if not node.embeds:
        return value
    if isinstance(value, list) and (known := node.items):
        return [embedded(known, each, path.item(at), unknown) for at, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    made = {}
    for name, item in value.items():
        below = node.member(name)
        made[name] = embedded(below, item, path.at(name), unknown) if below else item
    if node.embedded and isinstance(made.get("metadata"), dict):
        made["metadata"] = _relaxed(made["metadata"], path.at("metadata"), unknown)
    return made


def _relaxed(metadata: Wire, path: Place, unknown: list[str]) -> Wire:
    """Read metadata field by field; fields of a wrong type are dropped, as upstream."""
    made: Wire = {}
    for name, item in metadata.items():
        try:
            made |= read_metadata({name: item}, path, unknown)
        except WrongTypeError:
            continue
    return made
