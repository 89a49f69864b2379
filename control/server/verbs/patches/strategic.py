"""Strategic merge patch: a merge patch that matches the items of a list by a key. Pure.

Source: https://github.com/kubernetes/community/blob/master/contributors/devel/
sig-api-machinery/strategic-merge-patch.md
"""

from collections.abc import Callable, Sequence
from typing import Any

from control.api.base import Model
from control.api.merging import Shape, shapes
from control.server.verbs.patches.errors import MalformedPatchError, PatchConflictError

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_DIRECTIVES = ("merge", "replace", "delete")

Wire = dict[str, Any]


def apply(original: Wire, patch: Any, model: type[Model] | None) -> Wire:
    """Merge a patch into an object whose lists merge as ``model`` says.

    Raises MalformedPatchError and PatchConflictError.
    """
    if not isinstance(patch, dict):
        raise MalformedPatchError("a strategic merge patch must be a JSON object")
    return _merge_map(original, patch, model)


def _merge_map(original: Wire, patch: Wire, model: type[Model] | None) -> Wire:
    match _directive(patch):
        case "replace":
            return dict(_clean(patch))
        case "delete":
            return {}
    known = shapes(model) if model else {}
    result = _retained(original, patch)
    for name, value in patch.items():
        if name.startswith(_DELETE_FROM):
            _delete_from(result, name.removeprefix(_DELETE_FROM), value)
        elif not name.startswith("$"):
            shape = known.get(name, Shape())
            _put(result, name, value, shape)
    for name, order in patch.items():
        if name.startswith(_ORDER):
            field = name.removeprefix(_ORDER)
            _set_order(result, original.get(field), field, order, known.get(field, Shape()))
    return result


def _directive(patch: Wire) -> str:
    directive = patch.get(_DIRECTIVE, "merge")
    if directive not in _DIRECTIVES:
        raise MalformedPatchError(f"Unknown patch type found: {directive}")
    return str(directive)


def _retained(original: Wire, patch: Wire) -> Wire:
    keep = patch.get(_RETAIN)
    if keep is None:
        return dict(original)
    if not isinstance(keep, list) or not {k for k in patch if not k.startswith("$")} <= set(keep):
        raise MalformedPatchError(f"{_RETAIN} must be a list of all keys that the patch holds")
    return {key: value for key, value in original.items() if key in keep}


def _put(result: Wire, name: str, value: Any, shape: Shape) -> None:
    old = result.get(name)
    if value is None:
        result.pop(name, None)
    elif isinstance(value, dict):
        result[name] = _merge_map(old if isinstance(old, dict) else {}, value, shape.model)
    elif isinstance(value, list) and shape.merge and shape.merge.merges:
        result[name] = _merge_list(old if isinstance(old, list) else [], value, shape)
    else:
        result[name] = _clean(value)


def _merge_list(original: list[Any], patch: list[Any], shape: Shape) -> list[Any]:
    key = shape.merge.key if shape.merge else ""
    if not key:
        return original + [item for item in patch if item not in original]
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [_clean(item) for item in patch if item.get(_DIRECTIVE) != "replace"]
    result = list(original)
    for item in patch:
        _merge_item(result, item, key, shape)
    return result


def _merge_item(result: list[Any], item: Any, key: str, shape: Shape) -> None:
    if not isinstance(item, dict) or key not in item:
        raise PatchConflictError(f"map: {item} does not contain declared merge key: {key}")
    found = [at for at, old in enumerate(result) if _identity(old, key) == item[key]]
    if _directive(item) == "delete":
        result[:] = [old for at, old in enumerate(result) if at not in found]
    elif found:
        result[found[0]] = _merge_map(result[found[0]], item, shape.model)
    else:
        result.append(_merge_map({}, item, shape.model))


def _identity(item: Any, key: str) -> Any:
    return item.get(key) if isinstance(item, dict) and key else item


def _delete_from(result: Wire, name: str, values: Any) -> None:
    if not isinstance(values, list):
        raise MalformedPatchError(f"{_DELETE_FROM}{name} must be a list")
    if isinstance(result.get(name), list):
        result[name] = [item for item in result[name] if item not in values]


def _set_order(result: Wire, before: Any, name: str, order: Any, shape: Shape) -> None:
    """Sort a merged list into the client's order; items that it does not name stay between."""
    if not isinstance(order, list):
        raise MalformedPatchError(f"{_ORDER}{name} must be a list")
    if not isinstance(result.get(name), list):
        return
    key = shape.merge.key if shape.merge else ""
    wanted = [_identity(item, key) for item in order]
    old = [_identity(item, key) for item in before] if isinstance(before, list) else []
    identify: Callable[[Any], Any] = lambda item: _identity(item, key)  # noqa: E731
    listed = sorted(
        (item for item in result[name] if identify(item) in wanted),
        key=lambda item: wanted.index(identify(item)),
    )
    others = [item for item in result[name] if identify(item) not in wanted]
    result[name] = _interleave(
        listed,
        others,
        [_position(old, identify(i)) for i in listed],
        [_position(old, identify(i)) for i in others],
    )


def _position(items: Sequence[Any], item: Any) -> int:
    """Return the former position of an item; -1 if it is new."""
    return items.index(item) if item in items else -1


def _interleave(
    listed: list[Any], others: list[Any], listed_at: list[int], others_at: list[int]
) -> list[Any]:
    """Merge two lists, each in its order; the lower former position comes first."""
    result: list[Any] = []
    left = right = 0
    while left < len(listed) and right < len(others):
        if listed_at[left] < others_at[right]:
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
