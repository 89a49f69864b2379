"""JSON merge patch (RFC 7386). Pure."""

from typing import Any


def apply(original: Any, patch: Any) -> Any:
    """Return the original with the patch's members set, and its null members removed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(original) if isinstance(original, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply(result.get(name), value)
    return result
