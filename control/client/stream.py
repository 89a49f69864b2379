"""The watch wire format: bytes in, events out. Pure.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal

import orjson
from pydantic import ValidationError

from control.api.base import decode
from control.api.kinds import Kind, M
from control.api.meta import Object, Status
from control.client.errors import ApiError, ClientError
from control.client.held import Kept

Verb = Literal["ADDED", "MODIFIED", "DELETED"]


class MalformedStreamError(ClientError):
    """The server sent something that is no watch event."""


@dataclass(frozen=True, slots=True)
class Change(Generic[Kept]):
    """An object as it is now, or as it last was when DELETED."""

    verb: Verb
    object: Kept


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to this resourceVersion has been sent."""

    resource_version: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An event whose object does not fit our model; the stream itself is sound."""

    resource_version: str
    problem: str


Event = Change[Kept] | Bookmark | Unreadable


class Lines:
    """Cuts a byte stream into lines, however it was split on its way."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that ``data`` completes, without their ends; empty ones are left out."""
        *whole, rest = data.split(b"\n")
        for line in whole:
            if self._rest:
                line = bytes(self._rest) + line
                self._rest.clear()
            if line.strip():
                yield line
        self._rest += rest


def parse_event(kind: Kind[M], line: bytes) -> Event[M]:
    """One line of a watch; raises ApiError for an ERROR event, MalformedStreamError for garbage."""
    try:
        raw = decode(line)
        verb, wire = raw["type"], raw["object"]
        version = "" if verb == "ERROR" else wire["metadata"]["resourceVersion"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as err:
        raise MalformedStreamError(f"watch {kind.plural}: not an event: {line[:80]!r}") from err
    if verb == "ERROR":
        raise ApiError(f"watch {kind.plural}", Status.parse(wire))
    if verb == "BOOKMARK":
        return Bookmark(version)
    if verb not in ("ADDED", "MODIFIED", "DELETED"):
        raise MalformedStreamError(f"watch {kind.plural}: unknown event type {verb!r}")
    try:
        return Change(verb, read_object(kind, wire))
    except ValidationError as err:
        return Unreadable(version, describe(wire, err))


def read_object(kind: Kind[M], wire: dict[str, Any]) -> M:
    """The model of a decoded object (nulls already dropped); items of lists lack their kind."""
    wire.setdefault("apiVersion", kind.api_version)
    wire.setdefault("kind", kind.name)
    return kind.model.model_validate(wire)


def describe(wire: dict[str, Any], err: ValidationError) -> str:
    """Which object does not fit our model, and at which field first."""
    first = err.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{identify(wire)}: {field}: {first['msg']}"


def identify(wire: dict[str, Any]) -> str:
    """``Pod default/web-1`` of a decoded object, as far as it says."""
    meta = wire.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    name = "/".join(str(meta[key]) for key in ("namespace", "name") if meta.get(key))
    return f"{wire.get('kind', 'object')} {name}"


def title(item: Object) -> str:
    """``Pod default/web-1``."""
    return f"{item.kind or type(item).__name__} {'/'.join(part for part in item.key if part)}"
