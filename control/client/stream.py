"""Parse the stream of a watch into events. Pure.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal

import orjson

from control.api.kind import Kind, M
from control.api.wire import UnreadableError, decode, drop_nulls
from control.client.cacheable import CachedT
from control.client.errors import ApiError, ClientError, Operation

if TYPE_CHECKING:
    from control.api.meta import Object, Status

Verb = Literal["ADDED", "MODIFIED", "DELETED"]

# An object has at most 3 MiB; what an extension server sends has no limit.
_LONGEST_LINE = 16 * 1024 * 1024


class MalformedStreamError(ClientError):
    """A line of a watch that is not a watch event."""


@dataclass(frozen=True, slots=True)
class ObjectEvent(Generic[CachedT]):
    """An object as it is now; for DELETED, as it last was."""

    verb: Verb
    object: CachedT


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A mark that all events up to this resourceVersion have been sent."""

    resource_version: str


@dataclass(frozen=True, slots=True)
class UnreadableEvent:
    """An event whose object does not fit its model; the stream itself is intact."""

    resource_version: str
    problem: str


WatchEvent = ObjectEvent[CachedT] | Bookmark | UnreadableEvent


class LineSplitter:
    """Split a byte stream into lines, for any chunks that arrive."""

    def __init__(self, most: int = _LONGEST_LINE) -> None:
        """``most`` are the bytes that wait for the end of their line."""
        self._rest, self._most = bytearray(), most

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that ``data`` completes, without line ends and without empty lines.

        Raises MalformedStreamError for a line that does not end.
        """
        *whole, rest = data.split(b"\n")
        for line in whole:
            if self._rest:
                line = bytes(self._rest) + line
                self._rest.clear()
            if line.strip():
                yield line
        self._rest += rest
        if len(self._rest) > self._most:
            raise MalformedStreamError(f"a watch: a line of more than {self._most} bytes")


def parse_event(kind: Kind[M], line: bytes) -> WatchEvent[M]:
    """Parse one line; raises ApiError for an ERROR event, MalformedStreamError for garbage."""
    try:
        raw = decode(line)
        verb, wire = raw["type"], raw["object"]
        version = "" if verb == "ERROR" else wire["metadata"]["resourceVersion"]
        status = read_status(wire) if verb == "ERROR" else None
    except (orjson.JSONDecodeError, UnreadableError, KeyError, TypeError) as err:
        raise MalformedStreamError(f"watch {kind.plural}: not an event: {line[:80]!r}") from err
    if status is not None:
        raise ApiError(Operation("watch", kind.plural), status)
    if not isinstance(version, str):
        raise MalformedStreamError(f"watch {kind.plural}: no version: {line[:80]!r}")
    if verb == "BOOKMARK":
        return Bookmark(version)
    if verb not in ("ADDED", "MODIFIED", "DELETED"):
        raise MalformedStreamError(f"watch {kind.plural}: unknown event type {verb!r}")
    try:
        return ObjectEvent(verb, read_object(kind, wire))
    except UnreadableError as err:
        return UnreadableEvent(version, f"{identify(wire)}: {err}")


def read_object(kind: Kind[M], wire: Any) -> M:
    """Read a decoded object without nulls into its model; list items lack their kind.

    The managers of its fields, often half of it, are left out: a write without them keeps them.
    Raises UnreadableError.
    """
    if not isinstance(wire, dict):  # as nobody but an extension server writes it
        raise UnreadableError("it is no object")
    wire.setdefault("apiVersion", kind.api_version)
    wire.setdefault("kind", kind.name)
    if isinstance(metadata := wire.get("metadata"), dict):
        metadata.pop("managedFields", None)
    return kind.model.read(wire)


def read_status(wire: dict[str, Any]) -> "Status":
    """Read the server's answer to a refused request; raises UnreadableError.

    Models are imported here, so that a client that reads none into them starts sooner.
    """
    from control.api.meta import Status

    return Status.read(drop_nulls(wire))


def identify(wire: Any) -> str:
    """Return ``Pod default/web-1`` for a decoded object, as far as it names itself."""
    if not isinstance(wire, dict):
        return "object"
    meta = wire.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    name = "/".join(str(meta[key]) for key in ("namespace", "name") if meta.get(key))
    return f"{wire.get('kind', 'object')} {name}"


def title(item: "Object") -> str:
    """Return ``Pod default/web-1`` for an object."""
    return f"{item.kind or type(item).__name__} {'/'.join(part for part in item.key if part)}"
