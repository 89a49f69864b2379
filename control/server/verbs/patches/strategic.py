"""Strategic merge patch: a merge patch that matches the items of a list by a key. Pure.

Source: https://github.com/kubernetes/community/blob/master/contributors/devel/
sig-api-machinery/strategic-merge-patch.md
"""

from collections.abc import Hashable, Sequence
from typing import Any

import orjson

from control.api.definitions.table import FieldDefinition, definition
from control.server.verbs.patches.errors import MalformedPatchError, PatchConflictError

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_DIRECTIVES = ("merge", "replace", "delete")
_SHOWN = 200  # characters of a client's value in a message

Wire = dict[str, Any]
_UNKNOWN = FieldDefinition("")


def apply(original: Wire, patch: Any, name: str) -> Wire:
    """Merge a patch into an object whose lists merge as upstream's type of this name says.

    The name is a short one, such as "core.v1.Pod"; empty: lists are replaced.

    Raises MalformedPatchError and PatchConflictError.
    """
    if not isinstance(patch, dict):
        raise MalformedPatchError("a strategic merge patch must be a JSON object")
    return _merge_map(original, patch, name)


def _merge_map(original: Wire, patch: Wire, type_: str) -> Wire:
    match _directive(patch):
        case "replace":
            return dict(_clean(patch))
        case "delete":
            return {}
    known = definition(type_).fields if "." in type_ else {}
    result = _retained(original, patch)
    for name, value in patch.items():
        if name.startswith(_DELETE_FROM):
            _delete_from(result, name.removeprefix(_DELETE_FROM), value)
        elif not name.startswith("$"):
            _put(result, name, value, known.get(name, _UNKNOWN))
    for name, order in patch.items():
        if name.startswith(_ORDER):
            field = name.removeprefix(_ORDER)
            _set_order(result, original.get(field), field, order, known.get(field, _UNKNOWN))
    return result


def _directive(patch: Wire) -> str:
    directive = patch.get(_DIRECTIVE, "merge")
    if directive not in _DIRECTIVES:
        raise MalformedPatchError(f"Unknown patch type found: {_shown(directive)}")
    return str(directive)


def _shown(value: Any) -> str:
    """Return the beginning of a value, for a message."""
    return str(value)[:_SHOWN]


def _retained(original: Wire, patch: Wire) -> Wire:
    keep = patch.get(_RETAIN)
    if keep is None:
        return dict(original)
    if not isinstance(keep, list) or not all(isinstance(key, str) for key in keep):
        raise MalformedPatchError(f"{_RETAIN} must be a list of names")
    kept = set(keep)
    if not {key for key in patch if not key.startswith("$")} <= kept:
        raise MalformedPatchError(f"{_RETAIN} must be a list of all keys that the patch holds")
    return {key: value for key, value in original.items() if key in kept}


def _put(result: Wire, name: str, value: Any, shape: FieldDefinition) -> None:
    old = result.get(name)
    if value is None:
        result.pop(name, None)
    elif isinstance(value, dict):
        result[name] = _merge_map(old if isinstance(old, dict) else {}, value, _inner(shape))
    elif isinstance(value, list) and "merge" in shape.strategies:
        result[name] = _merge_list(old if isinstance(old, list) else [], value, shape)
    else:
        result[name] = _clean(value)


def _inner(field: FieldDefinition) -> str:
    """Return the type of an object, or of a list's items; the values of a map have none."""
    return "" if field.many.startswith("{") else field.type


def _merge_list(original: list[Any], patch: list[Any], shape: FieldDefinition) -> list[Any]:
    key = shape.merge_key
    if not key:
        return _ordered(_distinct(original + patch), original, patch, "")
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [_clean(item) for item in patch if not _has_directive(item)]
    result = _KeyedList(original, key)
    for item in patch:
        _merge_item(result, item, key, shape)
    return _ordered(result.items(), original, patch, key)


def _distinct(items: list[Any]) -> list[Any]:
    return list({_mark(item): item for item in reversed(items)}.values())[::-1]


def _has_directive(item: Any) -> bool:
    return isinstance(item, dict) and _DIRECTIVE in item


class _KeyedList:
    """A list that finds its items by their merge key; every operation costs the same."""

    def __init__(self, items: list[Any], key: str) -> None:
        self._items: dict[int, Any] = dict(enumerate(items))
        self._next = len(items)
        self._places: dict[Hashable, list[int]] = {}
        for at, item in enumerate(items):
            self._places.setdefault(_mark(_identity(item, key)), []).append(at)

    def first(self, value: Any) -> int | None:
        """Return the place of the first item with this key; None if there is none."""
        return next(iter(self._places.get(_mark(value), ())), None)

    def get(self, place: int) -> Any:
        return self._items[place]

    def set(self, place: int, item: Any) -> None:
        """Replace an item by one with the same key."""
        self._items[place] = item

    def append(self, value: Any, item: Any) -> None:
        """Add an item whose key is ``value`` as the last one."""
        self._items[self._next] = item
        self._places.setdefault(_mark(value), []).append(self._next)
        self._next += 1

    def remove(self, value: Any) -> None:
        """Remove every item with this key."""
        for place in self._places.pop(_mark(value), ()):
            del self._items[place]

    def items(self) -> list[Any]:
        """Return the items in order."""
        return list(self._items.values())


def _mark(value: Any) -> Hashable:
    """Return what equal JSON values share: true is not 1, and objects are equal in any order."""
    if isinstance(value, dict | list):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return (type(value), value)


def _merge_item(result: _KeyedList, item: Any, key: str, shape: FieldDefinition) -> None:
    if not isinstance(item, dict) or key not in item:
        raise PatchConflictError(f"map: {_shown(item)} does not contain declared merge key: {key}")
    if _directive(item) == "delete":
        result.remove(item[key])
        return
    place = result.first(item[key])
    if place is not None:
        result.set(place, _merge_map(result.get(place), item, _inner(shape)))
    else:
        result.append(item[key], _merge_map({}, item, _inner(shape)))


def _identity(item: Any, key: str) -> Any:
    return item.get(key) if isinstance(item, dict) and key else item


def _delete_from(result: Wire, name: str, values: Any) -> None:
    if not isinstance(values, list):
        raise MalformedPatchError(f"{_DELETE_FROM}{name} must be a list")
    if isinstance(result.get(name), list):
        gone = {_mark(value) for value in values}
        result[name] = [item for item in result[name] if _mark(item) not in gone]


def _set_order(result: Wire, before: Any, name: str, order: Any, shape: FieldDefinition) -> None:
    """Sort a merged list into the order that the client gives."""
    if not isinstance(order, list):
        raise MalformedPatchError(f"{_ORDER}{name} must be a list")
    if not isinstance(result.get(name), list):
        return
    key = shape.merge_key
    old = before if isinstance(before, list) else []
    result[name] = _ordered(result[name], old, order, key)


def _ordered(items: list[Any], before: list[Any], order: list[Any], key: str) -> list[Any]:
    """Sort a merged list as upstream's normalizeElementOrder.

    The items of ``order`` come in its order. The others keep the order that they had ``before``,
    and stand in front of an item of ``order`` only if they did before: new items are first.
    """
    wanted, old = _places(order, key), _places(before, key)
    marked = [(_mark(_identity(item, key)), item) for item in items]
    listed = sorted(
        ((mark, item) for mark, item in marked if mark in wanted), key=lambda pair: wanted[pair[0]]
    )
    others = [(mark, item) for mark, item in marked if mark not in wanted]
    return _interleave(
        [item for _, item in listed],
        [item for _, item in others],
        [old.get(mark, -1) for mark, _ in listed],  # -1: it is new
        [old.get(mark, -1) for mark, _ in others],
    )


def _places(items: Sequence[Any], key: str) -> dict[Hashable, int]:
    """Return the first position of each item."""
    marks = [_mark(_identity(item, key)) for item in items]
    return {mark: at for at, mark in reversed(list(enumerate(marks)))}


def _interleave(
    listed: list[Any], others: list[Any], listed_at: list[int], others_at: list[int]
) -> list[Any]:
    """Merge two lists, each in its order; one of the others is first if it was in front."""
    result: list[Any] = []
    left = right = 0
    while left < len(listed) and right < len(others):
        if not 0 <= others_at[right] < listed_at[left]:
            result.append(listed[left])
            left += 1
        else:
            result.append(others[right])
            right += 1
    return result + listed[left:] + others[right:]


def _clean(value: Any) -> Any:
    """Return a patch's value without nulls and directives, as it is stored."""
    if isinstance(value, dict):
        return {
            key: _clean(item)
            for key, item in value.items()
            if item is not None and not key.startswith("$")
        }
    return [_clean(item) for item in value] if isinstance(value, list) else value
