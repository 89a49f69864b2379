"""Serve the documents below /openapi, in the encoding that the client accepts.

Source: KEP-2896 for v3. Its index names each document with a hash of the content, so that clients
may cache a document for ever. The documents have 5 MB; the server keeps them compressed.
"""

import zlib
from collections.abc import Mapping
from functools import cache, partial
from hashlib import sha256

import orjson
from msgspec import Struct
from msgspec.structs import replace

from control.api.base import encode
from control.server.pages.discovery import group_versions
from control.server.pages.openapi import gnostic, gnostic_v3
from control.server.pages.openapi.documents import v2_document, v3_document, v3_documents
from control.server.state.extensions import Extensions
from control.server.state.kinds import KindTable
from control.server.wire.accept import JSON_RANGES, Accept
from control.server.wire.errors import not_acceptable
from control.server.wire.media import JSON
from control.server.wire.response import ApiResponse, tagged

_V2, _V3 = "/openapi/v2", "/openapi/v3"
# An @ may not be in a Content-Type (RFC 9110, 8.3.1): upstream answers with a dot instead.
_PROTOBUF = "application/com.github.proto-openapi.spec.{}.v1.0+protobuf"
_NO_EXTENSIONS = Extensions()
_FOR_EVER = (("Cache-Control", "public, immutable, max-age=31536000"),)


class _Packed(Struct, frozen=True):
    """A document: its bytes, compressed, and their hash."""

    packed: bytes
    hash: str

    def unpacked(self) -> bytes:
        return zlib.decompress(self.packed)


def _packed(body: bytes) -> _Packed:
    return _Packed(zlib.compress(body), sha256(body).hexdigest().upper())


def schemas(
    path: str,
    query: Mapping[str, str],
    accept: Accept,
    table: KindTable,
    extensions: Extensions = _NO_EXTENSIONS,
) -> ApiResponse | None:
    """Return the document at a path; None for any other path. Raises StatusError (406)."""
    if not path.startswith("/openapi/"):
        return None  # each request on an object passes here
    if path == _V2:
        return _v2_answer(accept, table)
    if path == _V3:
        return tagged(
            ApiResponse(_index_with(table, extensions))
        )  # whatever the client accepts, as upstream
    for group, version in group_versions(table.all):
        if path == _v3_path(group, version):
            return _v3_answer(path, query.get("hash", ""), (group, version), accept, table)
    return None


def _v2_answer(accept: Accept, table: KindTable) -> ApiResponse:
    media = _media(accept, "v2")
    body = _v2(table) if media == JSON else _v2_protobuf(table)
    return tagged(ApiResponse(body.unpacked(), content_type=media))


def _v3_answer(
    path: str, asked: str, group_version: tuple[str, str], accept: Accept, table: KindTable
) -> ApiResponse:
    """Return a document, or a redirect (301) if the client asks for an old hash."""
    document = _of(table, *group_version)
    if asked and asked != document.hash:
        return ApiResponse(b"", 301, headers=(("Location", f"{path}?hash={document.hash}"),))
    media = _media(accept, "v3")
    body = document if media == JSON else _v3_protobuf(table, *group_version)
    found = tagged(ApiResponse(body.unpacked(), content_type=media))
    if not asked:
        return found
    return replace(found, headers=found.headers + _FOR_EVER)


def _media(accept: Accept, version: str) -> str:
    """Return the media type of a document for a client; raises StatusError (406)."""
    protobuf = _PROTOBUF.format(version)
    for media_range in accept.ranges:
        if media_range.media in (protobuf, protobuf.replace(f"{version}.", f"{version}@")):
            return protobuf
        if media_range.media in JSON_RANGES:
            return JSON
    raise not_acceptable([JSON, protobuf])


def _v3_path(group: str, version: str) -> str:
    return f"{_V3}/apis/{group}/{version}" if group else f"{_V3}/api/{version}"


@cache
def _v3() -> dict[tuple[str, str], _Packed]:
    """Return the documents of upstream's kinds."""
    return {found: _packed(encode(document)) for found, document in v3_documents()}


def _of(table: KindTable, group: str, version: str) -> _Packed:
    """Return a v3 document; one with custom kinds is kept until a definition changes."""
    kinds = [kind for kind in table.custom if (kind.group, kind.version) == (group, version)]
    if not kinds:
        return _v3()[group, version]
    make = partial(v3_document, group, version, table.all)
    return table.derived(f"v3 {group}/{version}", lambda: _packed(encode(make())))


def _v3_protobuf(table: KindTable, group: str, version: str) -> _Packed:
    def made() -> _Packed:
        return _packed(gnostic_v3.document(orjson.loads(_of(table, group, version).unpacked())))

    return table.derived(f"v3 protobuf {group}/{version}", made)


def _v2(table: KindTable) -> _Packed:
    return table.derived("v2", lambda: _packed(encode(v2_document(table.all))))


def _v2_protobuf(table: KindTable) -> _Packed:
    return table.derived("v2 protobuf", lambda: _packed(gnostic.document(v2_document(table.all))))


def _index(table: KindTable) -> bytes:
    return table.derived("index", partial(_make_index, table))


def _index_with(table: KindTable, extensions: Extensions) -> bytes:
    """Return the index with the documents that extension servers have."""
    if not extensions.by_version:
        return _index(table)
    paths = orjson.loads(_index(table))["paths"]
    for at, said in extensions.discovered.items():
        if at in extensions.by_version:
            paths.pop(f"apis/{at[0]}/{at[1]}", None)
            if said.schema is not None:
                url = _v3_path(*at) + (f"?hash={said.schema}" if said.schema else "")
                paths[f"apis/{at[0]}/{at[1]}"] = {"serverRelativeURL": url}
    return encode({"paths": paths})


def _make_index(table: KindTable) -> bytes:
    """Return the index of the v3 documents."""
    paths = {}
    for group, version in group_versions(table.all):
        path = _v3_path(group, version)
        url = f"{path}?hash={_of(table, group, version).hash}"
        paths[path.removeprefix(f"{_V3}/")] = {"serverRelativeURL": url}
    return encode({"paths": paths})
