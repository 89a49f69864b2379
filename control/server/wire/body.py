"""Decode the body of a request, once, before any verb sees it. Pure."""

from dataclasses import dataclass
from typing import Any

import orjson

from control.api.base import drop_nulls
from control.server.wire import media
from control.server.wire.errors import bad_request, unsupported_media_type
from control.server.wire.item import Wire
from control.server.wire.protobuf.decode import to_json
from control.server.wire.protobuf.wire import ProtobufError

# etcd refuses more than 1.5 MB; upstream's API server reads up to 3 MiB of JSON.
BODY_LIMIT = 3 * 1024 * 1024
# orjson encodes up to 254 levels; the deepest kind has some 20.
_MAX_DEPTH = 100
_DECODED = ("", media.JSON, media.JSON_PATCH, media.MERGE_PATCH, media.STRATEGIC_PATCH)


@dataclass(frozen=True, slots=True)
class Body:
    """A decoded body.

    ``value`` is any JSON value with its nulls; None if the media type is not one of JSON.
    ``text`` is the JSON text that a client sent; protobuf leaves it empty.
    """

    media_type: str = media.JSON
    value: Any = None
    text: bytes = b""

    @property
    def empty(self) -> bool:
        """True if the request has no body."""
        return self.value is None and not self.text

    def object(self) -> Wire:
        """Return the body as a JSON object with its nulls; raises StatusError (400, 415)."""
        if self.media_type not in ("", media.JSON):
            raise unsupported_media_type([media.JSON])
        if not isinstance(self.value, dict):
            raise bad_request("the request body must be a JSON object")
        return self.value


def decode_body(raw: bytes, content_type: str) -> Body:
    """Decode JSON, JSON patches and protobuf; raises StatusError (400, 415)."""
    kind = media.media_type(content_type)
    if kind == media.PROTOBUF:
        return _from_protobuf(raw)
    if not raw or kind not in _DECODED:
        return Body(kind, None, raw)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as err:
        raise bad_request(f"invalid JSON: {err}") from err
    check_depth(value)
    return Body(kind, value, raw)


def _from_protobuf(raw: bytes) -> Body:
    if not raw:
        return Body()
    try:
        value = drop_nulls(to_json(raw))
    except ProtobufError as err:
        raise unsupported_media_type([media.JSON], str(err)) from err
    check_depth(value)
    return Body(media.JSON, value)


def check_depth(value: Any) -> None:
    """Refuse a value that is nested too deeply to be encoded; raises StatusError (400)."""
    if not _is_within(value, _MAX_DEPTH):
        raise bad_request(f"the body is nested more than {_MAX_DEPTH} levels deep")


def _is_within(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return depth > 0 and all(_is_within(item, depth - 1) for item in value)
