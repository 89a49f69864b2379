"""Decode the body of a request, once, before any verb sees it. Pure."""

from contextlib import suppress
from typing import Any

import orjson
from msgspec import Struct

from control.api.base import drop_nulls
from control.server.wire import media
from control.server.wire.errors import (
    StatusError,
    bad_request,
    too_large,
    unsupported_media_type,
)
from control.server.wire.item import Wire
from control.server.wire.malformed import complaint, no_names, no_object, unrecognized
from control.server.wire.protobuf.decode import to_json
from control.server.wire.protobuf.wire import ProtobufError, TooManyMessagesError
from control.server.wire.yaml.scalars import YamlError

# etcd refuses more than 1.5 MiB; upstream's API server reads up to 3 MiB of JSON.
BODY_LIMIT = 3 * 1024 * 1024
# orjson encodes up to 254 levels; the deepest kind has some 20.
_MAX_DEPTH = 100
# Objects and lists in a body: more than any object has that fits into etcd.
MAX_NODES = 100_000
# A body below both costs less than 20 ms: some 40 us an object, 3 us a KiB.
_LIGHT_BYTES = 128 * 1024
_LIGHT_MARKS = 500
_LIGHT_PROTOBUF = 8 * 1024
_LIGHT_YAML = 8 * 1024
# What a body may have whose verb is not computed in a worker: a binding, options, a review.
_SIMPLE_MARKS = 1000
_YAML = (media.YAML, media.APPLY_PATCH)
_PATCHES = (media.JSON_PATCH, media.MERGE_PATCH, media.STRATEGIC_PATCH)
_DECODED = ("", media.JSON, *_PATCHES)


class Body(Struct, frozen=True):
    """A decoded body.

    ``value`` is any JSON value with its nulls; None if the media type is not one of JSON.
    ``text`` is the JSON text that a client sent; protobuf leaves it empty. A body that is
    ``waiting`` has only its bytes in ``text``: a worker will decode it.
    """

    media_type: str = media.JSON
    value: Any = None
    text: bytes = b""
    waiting: bool = False
    repeated: tuple[str, ...] = ()  # complaints about names that YAML has twice
    wanted: str = ""  # the kind of the object that it should be; none for DeleteOptions

    def decoded(self) -> "Body":
        """Return the body with its value; raises StatusError (400, 413, 415)."""
        return decode_body(self.text, self.media_type, self.wanted) if self.waiting else self

    @property
    def empty(self) -> bool:
        """True if the request has no body."""
        return self.value is None and not self.text and not self.waiting

    def object(self) -> Wire:
        """Return the body as a JSON object with its nulls; raises StatusError (400, 415)."""
        if self.media_type not in ("", media.JSON):
            raise unsupported_media_type(media.OBJECTS)
        if self.value is None and self.text.strip() == b"null":
            return {}  # as Go reads it
        if not isinstance(self.value, dict):
            why = complaint(self.text) if self.value is None else no_object(self.value)
            raise unrecognized(self.text, why or "", self.wanted)
        if why := no_names(self.value):
            raise unrecognized(self.text, why, self.wanted)
        return self.value


def read_body(raw: bytes, content_type: str, *, simple: bool, wanted: str = "") -> Body:
    """Decode a light body, and leave a heavy one waiting; raises StatusError (400, 413, 415).

    ``simple`` is True for verbs that no worker computes: they have stricter limits.
    """
    kind = media.media_type(content_type)
    if _is_light(raw, kind):
        return decode_body(raw, kind, wanted)
    if not simple:
        return Body(kind, None, raw, waiting=True, wanted=wanted)
    heavy = kind == media.PROTOBUF or (kind in _YAML and _is_heavy_yaml(raw))
    if heavy or marks(raw) > _SIMPLE_MARKS:
        raise too_large(f"a body of this request may have {_SIMPLE_MARKS} values")
    return decode_body(raw, kind, wanted)


def _is_light(raw: bytes, kind: str) -> bool:
    if kind == media.PROTOBUF:
        return len(raw) <= _LIGHT_PROTOBUF
    return not is_heavy(raw) and not (kind in _YAML and _is_heavy_yaml(raw))


def _is_heavy_yaml(raw: bytes) -> bool:
    """Return True for YAML that is no JSON and may cost more than 20 ms to read.

    A star may begin an alias: then a small text can have many values.
    """
    return raw.lstrip()[:1] != b"{" and (len(raw) > _LIGHT_YAML or b"*" in raw)


def is_heavy(raw: bytes) -> bool:
    """Return True for JSON text that may cost more than 20 ms to read and to validate."""
    return len(raw) > _LIGHT_BYTES or (len(raw) > _LIGHT_MARKS and marks(raw) > _LIGHT_MARKS)


def marks(raw: bytes) -> int:
    """Return at least the number of values in JSON text: marks inside of strings count, too.

    The managers of fields are left out: a ``"f:name":{}`` costs nearly nothing.
    """
    return raw.count(b",") + raw.count(b"{") + raw.count(b"[") - 2 * raw.count(b'"f:')


def decode_body(raw: bytes, content_type: str, wanted: str = "") -> Body:
    """Decode JSON, JSON patches and protobuf; raises StatusError (400, 415)."""
    kind = media.media_type(content_type)
    if kind == media.PROTOBUF:
        return _from_protobuf(raw)
    if kind == media.YAML and not raw:
        return Body(media.JSON, {}, wanted=wanted)
    if kind in _YAML and raw:
        return _from_yaml(raw, media.JSON if kind == media.YAML else kind, wanted)
    if kind not in _DECODED or not (raw or kind in _PATCHES):
        return Body(kind, None, raw, wanted=wanted)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as err:
        raise _malformed(raw, kind, wanted, err) from err
    check_size(value)
    return Body(kind, value, raw, wanted=wanted)


def _malformed(raw: bytes, kind: str, wanted: str, err: orjson.JSONDecodeError) -> StatusError:
    """Return the refusal of a text that is no JSON, in upstream's words."""
    why = complaint(raw) or f"invalid JSON: {err}"  # such as one that is not in UTF-8
    if kind not in _PATCHES:
        return unrecognized(raw, why, wanted)
    return bad_request(why if kind == media.STRATEGIC_PATCH else f"error decoding patch: {why}")


def _from_yaml(raw: bytes, kind: str, wanted: str) -> Body:
    """Decode JSON, which kubectl sends, or other YAML; ``text`` has only JSON."""
    from control.server.wire.yaml.read import load_yaml  # PyYAML takes 0.6 MB; few send YAML

    if raw.lstrip()[:1] == b"{":
        with suppress(orjson.JSONDecodeError):
            value = orjson.loads(raw)
            check_size(value)
            return Body(kind, value, raw, wanted=wanted)
    try:
        value, repeated = load_yaml(raw, BODY_LIMIT, _MAX_DEPTH)
    except YamlError as err:
        raise bad_request(f"error decoding YAML: {err}") from err
    check_size(value)
    if kind == media.JSON:
        value = {} if value is None else value  # as Go reads it
        if not isinstance(value, dict):
            raise unrecognized(raw, no_object(value), wanted)
    return Body(kind, value, repeated=repeated, wanted=wanted)


def _from_protobuf(raw: bytes) -> Body:
    if not raw:
        return Body()
    try:
        value = drop_nulls(to_json(raw))
    except TooManyMessagesError as err:
        raise too_large(str(err)) from err
    except ProtobufError as err:
        raise unsupported_media_type(media.OBJECTS, str(err)) from err
    check_size(value)
    return Body(media.JSON, value)


def check_size(value: Any) -> None:
    """Refuse a value that is nested too deeply or has too many parts.

    Raises StatusError (400, 413). Looks at one level after the other, and stops at the limits.
    """
    level, nodes = [value], 0
    for _ in range(_MAX_DEPTH + 1):
        level = _inside(level)
        nodes += len(level)
        if nodes > MAX_NODES:
            raise too_large(f"limit is {MAX_NODES} objects and lists")
        if not level:
            return
    raise bad_request(f"the body is nested more than {_MAX_DEPTH} levels deep")


def _inside(level: list[Any]) -> list[Any]:
    """Return the objects and lists directly inside of some values of decoded JSON."""
    found: list[Any] = []
    for outer in level:
        sort = outer.__class__
        for inner in outer.values() if sort is dict else outer if sort is list else ():
            if inner.__class__ is dict or inner.__class__ is list:
                found.append(inner)
    return found
