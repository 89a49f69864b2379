"""Read the scalars of YAML as Go's yaml does: which plain text is a number, and which none. Pure.

``yes`` and ``y`` are True, ``010`` and ``0o10`` are 8, ``08`` is 8, ``1e3`` is 1000; ``1:30`` and
dates stay text. Source: resolve.go of go.yaml.in/yaml/v2, which sigs.k8s.io/yaml reads with.
"""

import base64
import binascii
import math
import re
from typing import Any

SHOWN = 200
_PREFIX = "tag:yaml.org,2002:"
_WORDS: dict[str, Any] = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE"], False),
    **dict.fromkeys(["on", "On", "ON"], True),
    **dict.fromkeys(["off", "Off", "OFF"], False),
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], math.nan),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], math.inf),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], -math.inf),
}
_NUMERIC = frozenset("+-.0123456789")
_INTEGER = re.compile(
    r"[-+]?(?:0[bB][01]+|0[oO][0-7]+|0[xX][0-9a-fA-F]+|0[0-7]+|0|[1-9][0-9]*)", re.ASCII
)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_BASES = {"b": 2, "o": 8, "x": 16}
# The digits of a number that is read exactly; those of longer ones would take quadratic time.
_EXACT = 64
_LEAST, _MOST = -(2**63), 2**64 - 1
_SORTS = {"bool": (bool,), "int": (int,), "float": (int, float), "null": (type(None),)}


class YamlError(ValueError):
    """Text that is no YAML, or more than a request may have."""


def plain(text: str) -> Any:
    """Return the value of plain text: None, a boolean, a number or the text."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    found = text if text[0] == "." else text.replace("_", "")
    if _INTEGER.fullmatch(found) and (number := _integer(found)) is not None:
        return number
    if _FLOAT.fullmatch(found) and not math.isinf(value := float(found)):
        return _whole(value)
    if _INTEGER.fullmatch(found):
        raise YamlError(f"a number of {len(found)} digits is too large")
    return text


def _integer(text: str) -> int | float | None:
    """Return an integer of 64 bits; larger ones are floats, None if they are too large for one."""
    if len(text) > _EXACT:
        return None
    digits = text.lstrip("+-").lower()
    base = _BASES.get(digits[1:2], 8 if digits[0] == "0" else 10)
    value = int(digits[2:] if digits[1:2] in _BASES else digits, base)
    value = -value if text[0] == "-" else value
    return value if _LEAST <= value <= _MOST else float(value)


def _whole(value: float) -> int | float:
    """Return an integer for a float without a fraction, as Go's encoder of JSON writes it."""
    return int(value) if value.is_integer() and _LEAST <= value <= _MOST else value


def tagged(tag: str, text: str) -> Any:
    """Return the value of text with a tag; raises YamlError if the text is not of its sort."""
    name = tag.removeprefix(_PREFIX)
    if name == "binary":
        return _binary(text)
    if name not in _SORTS:
        return text
    value = plain(text)
    if not isinstance(value, _SORTS[name]) or isinstance(value, bool) != (name == "bool"):
        sort = next((s for s, types in _SORTS.items() if isinstance(value, types)), "str")
        raise YamlError(f"yaml: cannot decode !!{sort} `{text[:SHOWN]}` as a !!{name}")
    return value


def _binary(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError) as err:
        raise YamlError("yaml: !!binary value contains invalid base64 data") from err


def finite(value: Any) -> Any:
    """Return a value that JSON has; raises YamlError for an infinite number and for none."""
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf"
        raise YamlError(f"error converting YAML to JSON: json: unsupported value: {name}")
    return value
