"""Small tools to complete JSON objects without changing them. Pure."""

from collections.abc import Callable
from typing import Any

Wire = dict[str, Any]
Default = Callable[[Wire], Wire]


def each(function: Default, items: Any) -> Any:
    """The function applied to every object of a list; what is none is validation's to refuse."""
    if not isinstance(items, list):
        return items
    return [function(item) if isinstance(item, dict) else item for item in items]


def within(wire: Wire, name: str, function: Callable[[Any], Any]) -> Wire:
    """The object with a member replaced by what the function makes of it; absent stays absent."""
    value = wire.get(name)
    return wire | {name: function(value)} if isinstance(value, list | dict) else wire


def filled(wire: Wire, defaults: Wire) -> Wire:
    """The object with what it lacks; empty text counts as lacking, as Go's zero value does."""
    return wire | {key: value for key, value in defaults.items() if wire.get(key) in (None, "")}
