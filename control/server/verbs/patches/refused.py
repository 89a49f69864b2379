"""The answer to a patch whose result does not have the object's type: 422, with upstream's words.

Source: k8s.io/apiserver/pkg/endpoints/handlers/patch.go and, for strategic merge patches, which
are not read from text, k8s.io/apimachinery/pkg/runtime/converter.go.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson

from control.api import field
from control.server.wire import media
from control.server.wire.errors import StatusError, invalid_patch

_MOST = 8 * 1024  # characters of the value that is shown
_HANDLED = re.compile(r".*? cannot be handled as an? \S+?: (.*)", re.DOTALL)
_WRONG = re.compile(r"json: cannot unmarshal (\w+)( \S+)? into Go struct field \S+ of type (.+)")
_SOURCES = {"array": "slice", "object": "map", "bool": "bool", "string": "string"}
_SCALARS = ("string", "bool", "int32", "int64", "uint32", "uint64", "float64")


@contextmanager
def refusing(media_type: str, patch: Any, made: Mapping[str, Any]) -> Iterator[None]:
    """Turn the refusal (400) of a patched object into that of its patch (422)."""
    try:
        yield
    except StatusError as err:
        if err.status.code != 400:
            raise
        found = _HANDLED.fullmatch(why := err.status.message or "")
        why = found[1] if found else why
        strategic = media_type == media.STRATEGIC_PATCH
        shown = go_text(patch) if strategic else orjson.dumps(made).decode()
        why = _converted(why) if strategic else why
        raise invalid_patch(field.invalid("patch", shown[:_MOST], why)) from err


def _converted(why: str) -> str:
    """Return the complaint about a wrong type as Go's converter of maps says it."""
    found = _WRONG.fullmatch(why)
    if found is None:
        return why
    given, number, wanted = found.groups()
    fraction = "float64" if re.search("[.eE]", number or "") else "int64"
    source = _SOURCES.get(given, fraction)
    if wanted.startswith("map["):
        return f"cannot restore map from {source}"
    if wanted.startswith("[]"):
        return f"cannot restore slice from {source}"
    if wanted not in _SCALARS:
        return f"cannot restore struct from: {source}"
    numbers = source in ("int64", "float64") and wanted != "bool"
    if numbers and not (source == "float64" and wanted == "string"):
        return f"cannot convert {source} to {wanted}"
    return f"unrecognized type: {wanted}"


def go_text(value: Any) -> str:
    """Return a decoded value as Go prints it by ``%v``: maps with their keys in order."""
    match value:
        case dict():
            return f"map[{' '.join(f'{key}:{go_text(value[key])}' for key in sorted(value))}]"
        case list():
            return f"[{' '.join(map(go_text, value))}]"
        case bool():
            return "true" if value else "false"
        case None:
            return "<nil>"
    return str(value)
