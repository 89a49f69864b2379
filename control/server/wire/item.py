"""A stored object: its bytes with their resourceVersion.

An object is encoded once, when it is written. Its revision is known only after that, so it is
inserted at the start of the metadata; ``encode_object`` puts the metadata near the start. What is
before it, the kind, is kept apart: all objects of a kind share it, and a list leaves it out. The
managers of its fields follow the revision: they are as large as the object, and only writes look
at them, so they stay bytes when the object is decoded.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, cast

import orjson
from msgspec import Struct

from control.store.base import StoreDamagedError

_METADATA = b'"metadata":{'
_VERSION = b'"resourceVersion":"'
_MANAGED = b'"managedFields":'
# The end of the managers: only a list of the server's own can end so, as no entry has a "name".
_MANAGED_END = b'],"name":"'
# The labels as they are written since they follow the name. A name with a quote is not found so,
# nor a label with a brace, which none has.
_LABELS = re.compile(rb'"name":"[^"\\]*","labels":(\{[^{}]*\})')
# Bytes. A decoded object takes ten times its text, so only few large ones are kept.
_SMALL = 32 * 1024
Wire = dict[str, Any]
# Kinds whose raw JSON upstream's controllers compare byte for byte with what they write themselves.
_COMPARED = ("ControllerRevision",)
_ESCAPES = {
    sign.encode(): f"\\u{ord(sign):04x}".encode() for sign in ("<", ">", "&", "\u2028", "\u2029")
}


class Item(Struct, frozen=True):
    """One version of one object; ``head`` and ``body`` together are its JSON."""

    key: str
    revision: int
    head: bytes  # up to the metadata
    body: bytes

    @staticmethod
    def of(key: str, revision: int, raw: bytes) -> "Item":
        """Make the item of an object's JSON."""
        at = max(0, raw.find(_METADATA))
        return Item(key, revision, _shared(raw[:at]), raw[at:])

    @property
    def raw(self) -> bytes:
        """The JSON of the object."""
        return self.head + self.body

    @property
    def size(self) -> int:
        """The bytes of its JSON."""
        return len(self.head) + len(self.body)

    @property
    def wire(self) -> Mapping[str, Any]:
        """The decoded object, which is shared: do not change it."""
        return (_decoded if self.size <= _SMALL else _decoded_large)(self.head, self.body)

    def fresh(self) -> Wire:
        """Return a decoded copy, which the caller may change."""
        return _loads(self.head, self.body)

    def whole(self) -> Wire:
        """Return a decoded copy with metadata.managedFields."""
        return cast(Wire, orjson.loads(self.raw))

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels, which are shared: do not change them. Most objects are not decoded for it."""
        _, start = _managed_span(self.body)
        if found := _LABELS.match(self.body, start):
            with suppress(orjson.JSONDecodeError):
                return _read_labels(found[1])
        if b'"labels":{' not in self.body:
            return {}
        return self.wire["metadata"].get("labels") or {}

    @property
    def managed(self) -> bytes:
        """The list of the managers of fields as JSON; empty if there is none."""
        start, end = _managed_span(self.body)
        return self.body[start + len(_MANAGED) : end - 1] if end > start else b""


@lru_cache(maxsize=1024)
def _shared(head: bytes) -> bytes:
    """Return the same bytes for the heads of all objects of a kind."""
    return head


@lru_cache(maxsize=4096)
def _read_labels(text: bytes) -> Mapping[str, str]:
    """Read labels; many objects have the same."""
    return cast(Mapping[str, str], orjson.loads(text))


@lru_cache(maxsize=512)
def _decoded(head: bytes, body: bytes) -> Mapping[str, Any]:
    return _loads(head, body)


@lru_cache(maxsize=4)
def _decoded_large(head: bytes, body: bytes) -> Mapping[str, Any]:
    return _loads(head, body)


def _loads(head: bytes, body: bytes) -> Wire:
    """Decode an object without its managers."""
    start, end = _managed_span(body)
    return cast(Wire, orjson.loads(b"".join((head, body[:start], body[end:]))))


def _managed_span(body: bytes) -> tuple[int, int]:
    """Return where the managers begin and where the next member does; the same for none."""
    start = len(_METADATA)
    if body.startswith(_VERSION, start):
        start = body.index(b'"', start + len(_VERSION)) + 2
    if not body.startswith(_MANAGED, start):
        return start, start
    return start, body.index(_MANAGED_END, start) + 2


def stamp(key: str, value: bytes, revision: int) -> Item:
    """Make the item of stored bytes; raises StoreDamagedError if they are no object."""
    at = value.find(_METADATA)
    if at < 0:
        why = "it is encrypted: the server needs its --encryption-provider-config"
        is_ciphertext = value.startswith(b"k8s:enc:")
        raise StoreDamagedError(f"read {key}: {why if is_ciphertext else 'it is no object'}")
    rest = value[at + len(_METADATA) :]
    body = b'%b"resourceVersion":"%d",%b' % (_METADATA, revision, rest)
    return Item(key, revision, _shared(value[:at]), body)


def unstamped(item: Item) -> bytes:
    """Return the JSON of an object without its resourceVersion, as the store has it."""
    start = len(_METADATA)
    if not item.body.startswith(_VERSION, start):
        return item.head + item.body
    end = item.body.index(b'"', start + len(_VERSION)) + 2
    return b"".join((item.head, item.body[:start], item.body[end:]))


def restamp(item: Item, revision: int) -> Item:
    """Return the same object at another revision."""
    old, new = (b'"resourceVersion":"%d"' % number for number in (item.revision, revision))
    return Item(item.key, revision, item.head, item.body.replace(old, new, 1))


def encode_object(wire: Mapping[str, Any], managed: bytes = b"") -> bytes:
    """Encode an object: kind, name and labels first, without resourceVersion.

    ``managed`` is the list of the managers of its fields; what the object says of them is left out.
    """
    metadata = dict(wire["metadata"])
    metadata.pop("resourceVersion", None)
    metadata.pop("managedFields", None)
    first = {name: metadata[name] for name in ("name", "labels") if name in metadata}
    if managed:
        first = {"managedFields": orjson.Fragment(managed)} | first
    metadata = first | metadata
    head = {"kind": wire["kind"], "apiVersion": wire["apiVersion"], "metadata": metadata}
    raw = orjson.dumps(head | {key: wire[key] for key in wire if key not in head})
    return _escaped(raw) if wire["kind"] in _COMPARED else raw


def _escaped(raw: bytes) -> bytes:
    """Write in JSON text what Go's encoder escapes: the signs of HTML and the line separators."""
    for sign, escape in _ESCAPES.items():
        raw = raw.replace(sign, escape)
    return raw
