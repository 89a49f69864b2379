"""Serve the documents below /openapi, in the encoding that the client accepts.

Source: KEP-2896 for v3. Its index names each document with a hash of the content, so that clients
may cache a document for ever.
"""

from collections.abc import Mapping
from functools import cache
from hashlib import sha256

from control.api.base import encode
from control.server.pages.discovery import group_versions
from control.server.pages.openapi import gnostic
from control.server.pages.openapi.documents import v2_document, v3_documents
from control.server.wire.accept import JSON_RANGES, Accept
from control.server.wire.errors import not_acceptable
from control.server.wire.media import JSON
from control.server.wire.response import ApiResponse, tagged

_V2, _V3 = "/openapi/v2", "/openapi/v3"
_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
# An @ may not be in a Content-Type (RFC 9110, 8.3.1): upstream answers with a dot instead.
_PROTOBUF_ANSWER = _PROTOBUF.replace("@", ".")
_FOR_EVER = (("Cache-Control", "public, immutable, max-age=31536000"),)


def schemas(path: str, query: Mapping[str, str], accept: Accept) -> ApiResponse | None:
    """Return the document at a path; None for any other path. Raises StatusError (406)."""
    if path == _V2:
        return _v2_answer(accept)
    if path == _V3:
        return _json(_index(), accept)
    for group, version in group_versions():
        if path == _v3_path(group, version):
            return _v3_answer(path, query.get("hash", ""), _v3_bytes(group, version), accept)
    return None


def _v2_answer(accept: Accept) -> ApiResponse:
    for media_range in accept.ranges:
        if media_range.media == _PROTOBUF:
            return tagged(ApiResponse(_v2_protobuf(), content_type=_PROTOBUF_ANSWER))
        if media_range.media in JSON_RANGES:
            return tagged(ApiResponse(_v2_bytes()))
    raise not_acceptable([JSON, _PROTOBUF])


def _v3_answer(path: str, asked: str, body: bytes, accept: Accept) -> ApiResponse:
    """Return a document, or a redirect (301) if the client asks for an old hash."""
    if not asked:
        return _json(body, accept)
    if asked != _hash(body):
        return ApiResponse(b"", 301, headers=(("Location", f"{path}?hash={_hash(body)}"),))
    found = _json(body, accept)
    return ApiResponse(found.body, headers=found.headers + _FOR_EVER)


def _json(body: bytes, accept: Accept) -> ApiResponse:
    if not accept.includes_json():
        raise not_acceptable([JSON])
    return tagged(ApiResponse(body))


def _v3_path(group: str, version: str) -> str:
    return f"{_V3}/apis/{group}/{version}" if group else f"{_V3}/api/{version}"


def _hash(body: bytes) -> str:
    return sha256(body).hexdigest().upper()


@cache
def _v3_all() -> dict[tuple[str, str], bytes]:
    return {found: encode(document) for found, document in v3_documents().items()}


def _v3_bytes(group: str, version: str) -> bytes:
    return _v3_all()[group, version]


@cache
def _v2_bytes() -> bytes:
    return encode(v2_document())


@cache
def _v2_protobuf() -> bytes:
    return gnostic.document(v2_document())


@cache
def _index() -> bytes:
    """Return the index of the v3 documents."""
    paths = {}
    for group, version in group_versions():
        path = _v3_path(group, version)
        url = f"{path}?hash={_hash(_v3_bytes(group, version))}"
        paths[path.removeprefix(f"{_V3}/")] = {"serverRelativeURL": url}
    return encode({"paths": paths})
