"""Complete JSON objects without changing the originals. Pure."""

from collections.abc import Callable
from typing import Any

Wire = dict[str, Any]
Default = Callable[[Wire], Wire]


def within(wire: Wire, name: str, function: Default) -> Wire:
    """Return the object with its member ``name`` replaced by the function's result.

    An absent member stays absent; a member that is not an object is left to validation.
    """
    value = wire.get(name)
    return wire | {name: function(value)} if isinstance(value, dict) else wire


def within_each(wire: Wire, name: str, function: Default) -> Wire:
    """Apply ``function`` to every object in the list ``name``, as ``within`` does."""
    items = wire.get(name)
    if not isinstance(items, list):
        return wire
    return wire | {name: [function(item) if isinstance(item, dict) else item for item in items]}


def filled(wire: Wire, defaults: Wire) -> Wire:
    """Return the object with defaults for absent members and empty text (Go's zero value)."""
    return wire | {key: value for key, value in defaults.items() if wire.get(key) in (None, "")}
