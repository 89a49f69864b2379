"""Check that an applied object has its type, with upstream's texts."""

from collections.abc import Iterator
from typing import Any

from control.api.apply.fieldset import shown
from control.api.apply.items import ItemError, name_of
from control.api.apply.shape import AnyShape, ListShape, MapShape, Shape, is_whole

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "numeric": (int, float),
    "boolean": (bool,),
    "any scalar": (str, int, float, bool),
}
_NUMERIC = {str: "string", bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}


def problems(shape: AnyShape, value: Any) -> str:
    """Return all that is wrong with an applied object, as one text; empty if nothing is."""
    found = [f"{path}: {why}" if path else why for path, why in _problems(shape, value)]
    return found[0] if len(found) == 1 else "\n  ".join(["errors:", *found]) if found else ""


def _problems(shape: AnyShape, value: Any) -> Iterator[tuple[str, str]]:
    if value is None or is_whole(shape, value):
        return
    if isinstance(shape, Shape):
        yield from _scalar(shape, value)
    elif isinstance(shape, ListShape):
        yield from _items(shape, value)
    elif not isinstance(value, dict):
        yield "", f"expected map, got {_go(value)}"
    else:
        yield from _members(shape, value)


def _members(shape: MapShape, value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, each in value.items():
        known = shape.of(name)
        if known is None:
            yield f".{name}", "field not declared in schema"
            return
        for path, why in _problems(known, each):
            yield f".{name}{path}", why


def _items(shape: ListShape, value: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(value, list):
        yield "", f"expected list, got {_go(value)}"
        return
    seen = set()
    for number, item in enumerate(value):
        name = f"i:{number}"
        if not shape.atomic:
            try:
                name = name_of(shape, item)
            except ItemError as err:
                yield "", f"element {number}: {err}"
                return
            if name in seen:
                yield "", f"duplicate entries for key {shown(name)}"
            seen.add(name)
        for path, why in _problems(shape.item, item):
            yield shown(name) + path, why


def _scalar(shape: Shape, value: Any) -> Iterator[tuple[str, str]]:
    wanted = _TYPES.get(shape.scalar)
    if wanted is None or (
        isinstance(value, wanted) and not (shape.scalar == "numeric" and isinstance(value, bool))
    ):
        return
    if shape.scalar == "numeric":
        yield "", f"expected numeric (int or float), got {_NUMERIC[type(value)]}"
    elif shape.scalar == "string":
        yield "", f"expected string, got &value.valueUnstructured{{Value:{_go(value)[2:-1]}}}"
    else:
        yield "", f"expected {shape.scalar}, got {_go(value)}"


def _go(value: Any) -> str:
    """Return a value as Go's ``%v`` prints upstream's wrapper of it; long ones are cut."""
    return f"&{{{_plain(value)[:200]}}}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_plain(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_plain, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
