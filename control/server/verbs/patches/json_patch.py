"""JSON patch (RFC 6902) over JSON pointers (RFC 6901). Pure."""

import copy
from typing import Any

import orjson

from control.server.verbs.patches.errors import MalformedPatchError, PatchConflictError

# Upstream refuses longer patches, too.
MAX_OPERATIONS = 10_000
MAX_COPIED = 3 * 1024 * 1024
_NEEDS = {
    "add": {"value"},
    "replace": {"value"},
    "test": {"value"},
    "remove": set(),
    "move": {"from"},
    "copy": {"from"},
}


def apply(original: Any, operations: Any) -> Any:
    """Apply all operations; raises MalformedPatchError, PatchConflictError."""
    if not isinstance(operations, list):
        raise MalformedPatchError("a JSON patch must be a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise MalformedPatchError(f"a JSON patch may have at most {MAX_OPERATIONS} operations")
    document = copy.deepcopy(original)
    copied = 0
    for operation in operations:
        document = _do(document, operation)
        if operation["op"] == "copy":
            # Repeated copies of copies would fill all memory.
            copied += len(orjson.dumps(_get(document, _pointer(operation["from"]))))
            if copied > MAX_COPIED:
                raise MalformedPatchError(f"a JSON patch may copy at most {MAX_COPIED} bytes")
    return document


def _do(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
        raise MalformedPatchError("every operation of a JSON patch needs a path")
    name = operation.get("op")
    if name not in _NEEDS:
        raise MalformedPatchError(f"unexpected kind of JSON patch operation: {name!r}")
    if lacking := _NEEDS[name] - operation.keys():
        raise MalformedPatchError(f"JSON patch operation {name} needs {', '.join(lacking)}")
    path = _pointer(operation["path"])
    if name in ("move", "copy"):
        return _carry(document, name, operation["from"], path)
    if name == "remove":
        return _remove(document, path)
    if name == "test":
        if _get(document, path) != operation["value"]:
            raise PatchConflictError(f"testing value {operation['path']} failed")
        return document
    if name == "replace":
        _get(document, path)
        if path:
            document = _remove(document, path)
    return _add(document, path, copy.deepcopy(operation["value"]))


def _carry(document: Any, name: str, source: Any, path: list[str]) -> Any:
    start = _pointer(source)
    value = copy.deepcopy(_get(document, start))
    if name == "move":
        if path[: len(start)] == start and path != start:
            raise MalformedPatchError("a value cannot be moved into itself")
        document = _remove(document, start)
    return _add(document, path, value)


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise MalformedPatchError(f"{text!r} is not a JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _get(document: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list):
            document = document[_index(document, part, len(document) - 1)]
        else:
            raise PatchConflictError(f"the path /{'/'.join(path)} does not exist: missing {part!r}")
    return document


def _index(items: list[Any], part: str, last: int) -> int:
    if not (part.isascii() and part.isdigit() and (part == "0" or part[0] != "0")):
        raise PatchConflictError(f"{part!r} is not an index of a list")
    if int(part) > last:
        raise PatchConflictError(f"index {part} is out of bounds of a list of {len(items)}")
    return int(part)


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        at = len(parent) if last == "-" else _index(parent, last, len(parent))
        parent.insert(at, value)
    else:
        raise PatchConflictError(f"nothing can be added at /{'/'.join(path)}")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        return None
    _get(document, path)
    parent, last = _get(document, path[:-1]), path[-1]
    del parent[int(last) if isinstance(parent, list) else last]
    return document
