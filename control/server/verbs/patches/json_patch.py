"""JSON patch (RFC 6902) over JSON pointers (RFC 6901), as upstream's server does it. Pure.

Upstream's library is evanphx/json-patch version 4, which is laxer than the RFC: a key that an
object lacks is null to replace, test and copy; so is a missing value; a negative index counts from
the end.
"""

import re
from collections.abc import Callable
from typing import Any

import orjson

from control.server.verbs.patches.errors import (
    MalformedPatchError,
    PatchConflictError,
    PatchTooLargeError,
)

# Upstream's limits (maxJSONPatchOperations, JSONPatchMaxCopyBytes).
MAX_OPERATIONS = 10_000
MAX_COPIED = 3 * 1024 * 1024
_MAX_DIGITS = 9  # of an index: no list is longer
_SHOWN = 200  # characters of a client's value in a message
Wire = dict[str, Any]
_INDEX = re.compile("[+-]?[0-9]+")
_NEEDS: dict[str, set[str]] = {
    "add": set(),
    "replace": set(),
    "test": set(),
    "remove": set(),
    "move": {"from"},
    "copy": {"from"},
}


def apply(original: Any, operations: Any) -> Any:
    """Apply all operations; raises MalformedPatchError, PatchConflictError, PatchTooLargeError.

    The work is linear in the bytes of object, patch and copies.
    """
    if not isinstance(operations, list):
        raise MalformedPatchError("a JSON patch must be a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise PatchTooLargeError(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS},"
            f" got {len(operations)}"
        )
    document, copied = _copy(original)[0], 0
    for operation in operations:
        document, size = _do(document, operation)
        copied += size
        if copied > MAX_COPIED:
            raise PatchConflictError(
                "Unable to complete the copy, the accumulated size increase of copy is"
                f" {copied}, exceeding the limit {MAX_COPIED}"
            )
    return document


def _do(document: Any, operation: Any) -> tuple[Any, int]:
    """Return the document after an operation, and the bytes that the operation copied."""
    if not isinstance(operation, dict):
        raise MalformedPatchError("every operation of a JSON patch must be an object")
    for member in ("op", "path", "from"):
        if not isinstance(operation.get(member, ""), str):
            raise MalformedPatchError(f"{member} of a JSON patch operation must be a string")
    name = operation.get("op", "")
    if name not in _NEEDS:
        raise PatchConflictError(f"unexpected kind of JSON patch operation: {_shown(name)}")
    if lacking := (_NEEDS[name] | {"path"}) - operation.keys():
        needs = ", ".join(sorted(lacking))
        raise PatchConflictError(f"JSON patch operation {name} needs {needs}")
    path = _pointer(operation["path"])
    if name == "copy":
        value, size = _copy(_found(document, _pointer(operation["from"])))
        return _add(document, path, value), size
    return _OPERATIONS[name](document, path, operation), 0


def _copy(value: Any) -> tuple[Any, int]:
    """Return an independent copy, and the size of its JSON text, as upstream counts it."""
    text = _text(value)
    return orjson.loads(text), len(text)


def _text(value: Any, option: int | None = None) -> bytes:
    try:
        return orjson.dumps(value, option=option)
    except orjson.JSONEncodeError as err:  # copies of copies are nested too deeply
        raise MalformedPatchError(f"a JSON patch cannot copy this value: {err}") from err


def _move(document: Any, path: list[str], operation: Wire) -> Any:
    start = _pointer(operation["from"])
    value = _get(document, start)
    if path[: len(start)] == start and path != start:
        raise MalformedPatchError("a value cannot be moved into itself")
    return _add(_remove(document, start), path, value)


def _test(document: Any, path: list[str], operation: Wire) -> Any:
    found, value = _found(document, path), operation.get("value")
    if found != value or not _have_one_text(found, value):
        raise PatchConflictError(f"testing value {_shown(operation['path'])} failed")
    return document


def _have_one_text(one: Any, other: Any) -> bool:
    """Tell true from 1 in equal values; the work is then that of the patch's own bytes."""
    return _text(one, orjson.OPT_SORT_KEYS) == _text(other, orjson.OPT_SORT_KEYS)


def _replace(document: Any, path: list[str], operation: Wire) -> Any:
    value = _value(operation)
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    else:
        _get(document, path)
        parent[_index(parent, last, len(parent))] = value
    return document


def _put(document: Any, path: list[str], operation: Wire) -> Any:
    return _add(document, path, _value(operation))


def _value(operation: Wire) -> Any:
    # A copy: a later operation may change it, and a repeated request needs the patch as it was.
    return _copy(operation.get("value"))[0]


_OPERATIONS: dict[str, Callable[[Any, list[str], Wire], Any]] = {
    "add": _put,
    "replace": _replace,
    "test": _test,
    "remove": lambda document, path, _: _remove(document, path),
    "move": _move,
}


def _shown(value: Any) -> str:
    """Return the beginning of a value, for a message."""
    return repr(value)[:_SHOWN]


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str):
        raise MalformedPatchError(f"{_shown(text)} is not a JSON pointer")
    if text and not text.startswith("/"):
        raise PatchConflictError(f"{_shown(text)} is not a JSON pointer: it begins with no slash")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _get(document: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list):
            document = document[_index(document, part, len(document))]
        else:
            raise PatchConflictError(
                f"the path {_joined(path)} does not exist: missing {_shown(part)}"
            )
    return document


def _found(document: Any, path: list[str]) -> Any:
    """Return what is there; null for a key that an object lacks."""
    parent = _get(document, path[:-1])
    return parent.get(path[-1]) if path and isinstance(parent, dict) else _get(document, path)


def _joined(path: list[str]) -> str:
    return f"/{'/'.join(path)}"[:_SHOWN]


def _index(items: list[Any], part: str, places: int) -> int:
    """Return which of a number of places an index names; -1 is the last."""
    if not _INDEX.fullmatch(part):
        raise PatchConflictError(f"{_shown(part)} is not an index of a list")
    if len(part) > _MAX_DIGITS or not -places <= int(part) < places:
        raise PatchConflictError(f"index {part[:20]} is out of bounds of a list of {len(items)}")
    return int(part) % places


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        at = len(parent) if last == "-" else _index(parent, last, len(parent) + 1)
        parent.insert(at, value)
    else:
        raise PatchConflictError(f"nothing can be added at {_joined(path)}")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        return None
    _get(document, path)
    parent, last = _get(document, path[:-1]), path[-1]
    del parent[_index(parent, last, len(parent)) if isinstance(parent, list) else last]
    return document
