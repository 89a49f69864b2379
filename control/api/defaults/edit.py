"""Small tools to complete JSON objects without changing them. Pure."""

from collections.abc import Callable
from typing import Any

Wire = dict[str, Any]
Default = Callable[[Wire], Wire]


def within(wire: Wire, name: str, function: Default) -> Wire:
    """The object with an object in it replaced by what the function makes of that; absent stays
    absent, and what is no object is validation's to refuse.
    """
    value = wire.get(name)
    return wire | {name: function(value)} if isinstance(value, dict) else wire


def within_each(wire: Wire, name: str, function: Default) -> Wire:
    """``within``, for every object of a list."""
    items = wire.get(name)
    if not isinstance(items, list):
        return wire
    return wire | {name: [function(item) if isinstance(item, dict) else item for item in items]}


def filled(wire: Wire, defaults: Wire) -> Wire:
    """The object with what it lacks; empty text counts as lacking, as Go's zero value does."""
    return wire | {key: value for key, value in defaults.items() if wire.get(key) in (None, "")}
