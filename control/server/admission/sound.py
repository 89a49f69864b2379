"""What admission has made of an object, as far as this server reads it before its schema. Pure."""

from collections.abc import Mapping
from typing import Any

from control.api.base import drop_nulls

Wire = dict[str, Any]
_TEXTS = ("name", "generateName", "namespace", "uid", "resourceVersion")
_MAPS = ("labels", "annotations")


class UnsoundError(ValueError):
    """An object that is none: its head has values of wrong types."""


def sound(made: Any, before: Mapping[str, Any]) -> Wire:
    """Return a patched object without nulls; raises UnsoundError.

    As upstream's decoder, a kind that is not there is the one before, and metadata is empty.
    """
    if not isinstance(made, dict):
        raise UnsoundError("it leaves no object")
    found: Wire = dict(drop_nulls(made))
    head = {name: before[name] for name in ("apiVersion", "kind") if name in before}
    found = {"metadata": {}} | head | found
    for name in head:
        _check(name, found[name], str)
    metadata = _check("metadata", found["metadata"], dict)
    for name in _TEXTS:
        _check(f"metadata.{name}", metadata.get(name, ""), str)
    for name in _MAPS:
        for key, value in _check(f"metadata.{name}", metadata.get(name, {}), dict).items():
            _check(f"metadata.{name}[{key[:200]}]", value, str)
    return found


def _check(path: str, value: Any, wanted: type) -> Any:
    if not isinstance(value, wanted):
        raise UnsoundError(f"{path} is no {'string' if wanted is str else 'object'}")
    return value
