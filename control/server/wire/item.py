"""A stored object: its bytes with their resourceVersion.

An object is encoded once, when it is written. Its revision is known only after that, so it is
inserted at the start of the metadata; ``encode_object`` puts the metadata near the start. The
managers of its fields follow the revision: they are as large as the object, and only writes look
at them, so they stay bytes when the object is decoded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import orjson

_METADATA = b'"metadata":{'
_VERSION = b'"resourceVersion":"'
_MANAGED = b'"managedFields":'
# The end of the managers: only a list of the server's own can end so, as no entry has a "name".
_MANAGED_END = b'],"name":"'
# Bytes. A decoded object takes ten times its text, so only few large ones are kept.
_SMALL = 32 * 1024
Wire = dict[str, Any]
# Kinds whose raw JSON upstream's controllers compare byte for byte with what they write themselves.
_COMPARED = ("ControllerRevision",)
_ESCAPES = {
    sign.encode(): f"\\u{ord(sign):04x}".encode() for sign in ("<", ">", "&", "\u2028", "\u2029")
}


@dataclass(frozen=True, slots=True)
class Item:
    """One version of one object."""

    key: str
    revision: int
    raw: bytes  # JSON, complete

    @property
    def wire(self) -> Mapping[str, Any]:
        """The decoded object, which is shared: do not change it."""
        return (_decoded if len(self.raw) <= _SMALL else _decoded_large)(self.raw)

    def fresh(self) -> Wire:
        """Return a decoded copy, which the caller may change."""
        return _loads(self.raw)

    def whole(self) -> Wire:
        """Return a decoded copy with metadata.managedFields."""
        return cast(Wire, orjson.loads(self.raw))

    @property
    def managed(self) -> bytes:
        """The list of the managers of fields as JSON; empty if there is none."""
        start, end = _managed_span(self.raw)
        return self.raw[start + len(_MANAGED) : end - 1] if end > start else b""


@lru_cache(maxsize=512)
def _decoded(raw: bytes) -> Mapping[str, Any]:
    return _loads(raw)


@lru_cache(maxsize=4)
def _decoded_large(raw: bytes) -> Mapping[str, Any]:
    return _loads(raw)


def _loads(raw: bytes) -> Wire:
    """Decode an object without its managers."""
    start, end = _managed_span(raw)
    return cast(Wire, orjson.loads(raw[:start] + raw[end:] if end > start else raw))


def _managed_span(raw: bytes) -> tuple[int, int]:
    """Return where the managers begin and where the next member does; the same for none."""
    start = raw.find(_METADATA) + len(_METADATA)
    if raw.startswith(_VERSION, start):
        start = raw.index(b'"', start + len(_VERSION)) + 2
    if not raw.startswith(_MANAGED, start):
        return start, start
    return start, raw.index(_MANAGED_END, start) + 2


def stamp(key: str, value: bytes, revision: int) -> Item:
    """Make the item of stored bytes."""
    at = value.index(_METADATA) + len(_METADATA)
    raw = b'%b"resourceVersion":"%d",%b' % (value[:at], revision, value[at:])
    return Item(key, revision, raw)


def restamp(item: Item, revision: int) -> Item:
    """Return the same object at another revision."""
    old, new = (b'"resourceVersion":"%d"' % number for number in (item.revision, revision))
    return Item(item.key, revision, item.raw.replace(old, new, 1))


def encode_object(wire: Mapping[str, Any], managed: bytes = b"") -> bytes:
    """Encode an object: kind and metadata first, without resourceVersion.

    ``managed`` is the list of the managers of its fields; what the object says of them is left out.
    """
    metadata = dict(wire["metadata"])
    metadata.pop("resourceVersion", None)
    metadata.pop("managedFields", None)
    if managed:
        first = {"managedFields": orjson.Fragment(managed), "name": metadata["name"]}
        metadata = first | metadata
    head = {"kind": wire["kind"], "apiVersion": wire["apiVersion"], "metadata": metadata}
    raw = orjson.dumps(head | {key: wire[key] for key in wire if key not in head})
    return _escaped(raw) if wire["kind"] in _COMPARED else raw


def _escaped(raw: bytes) -> bytes:
    """Write in JSON text what Go's encoder escapes: the signs of HTML and the line separators."""
    for sign, escape in _ESCAPES.items():
        raw = raw.replace(sign, escape)
    return raw
