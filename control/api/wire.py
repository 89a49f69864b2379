"""JSON as Kubernetes writes it: names of fields, absent values, and objects that cannot be read.

A process that needs no model imports this module without pydantic, which takes 0.1 s.
"""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import orjson

T = TypeVar("T")

# Words that Kubernetes writes in capitals unless they begin a field's name.
_CAPITALS = {
    "ip": "IP",
    "ips": "IPs",
    "cidr": "CIDR",
    "cidrs": "CIDRs",
    "id": "ID",
    "uuid": "UUID",
    "pid": "PID",
    "ipc": "IPC",
    "uid": "UID",
}


def wire_name(field: str) -> str:
    """Return the JSON name of a Python field: ``cluster_ips`` is ``clusterIPs``."""
    first, *rest = field.rstrip("_").split("_")
    return first + "".join(_CAPITALS.get(word, word.capitalize()) for word in rest)


class ListPage(NamedTuple, Generic[T]):
    """A page of a list. ``token`` asks for the next one; it is empty in the last."""

    items: Sequence[T]
    version: str
    token: str


class UnreadableError(ValueError):
    """An object that does not fit its kind; the message names the first wrong field."""


def decode(raw: bytes) -> Any:
    """Decode JSON without nulls in objects; raises orjson.JSONDecodeError."""
    value = orjson.loads(raw)
    try:
        return drop_nulls(value) if b"null" in raw else value
    except RecursionError as err:  # orjson reads 1,024 levels, more than Python can walk
        raise orjson.JSONDecodeError("nested too deep", "", 0) from err


def encode(value: Any) -> bytes:
    """Encode a wire value as compact JSON."""
    return orjson.dumps(value)


def drop_nulls(value: Any) -> Any:
    """Return a JSON value without null members, which Go decodes as absent."""
    if isinstance(value, dict):
        return {key: drop_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [drop_nulls(item) for item in value]
    return value
