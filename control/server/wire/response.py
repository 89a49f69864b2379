"""Responses: bytes, code, media type, warnings and headers."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from unicodedata import category

from msgspec import Struct
from msgspec.structs import replace

from control.api.base import encode
from control.api.kinds import Kind
from control.server.wire.item import Item
from control.server.wire.media import JSON

# The most characters of a warning that is cut, and of all.
_MAX_WARNING = 256
_MAX_WARNINGS = 4096
_REFUSED = ("Cc", "Cs")  # control characters, and surrogates


class ApiResponse(Struct, frozen=True):
    """A response; a large one has its body in ``pieces``, which are sent one after the other.

    ``size`` are the bytes of all pieces, if that is known before.
    """

    body: bytes
    code: int = 200
    content_type: str = JSON
    warnings: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    pieces: Iterator[bytes] | None = None
    size: int | None = None


def text(body: str, code: int = 200) -> ApiResponse:
    """Return a response of plain text."""
    return ApiResponse(body.encode(), code, "text/plain; charset=utf-8")


def tagged(answer: ApiResponse) -> ApiResponse:
    """Return the response with an ETag of its bytes (RFC 9110, 8.8.3)."""
    tag = f'"{sha256(answer.body).hexdigest()[:32].upper()}"'
    headers = (*answer.headers, ("ETag", tag), ("Vary", "Accept"))
    return replace(answer, headers=headers)


def unless_known(answer: ApiResponse, known: str) -> ApiResponse:
    """Return 304 without bytes if If-None-Match has the ETag (RFC 9110, 13.1.2)."""
    tag = dict(answer.headers).get("ETag")
    if tag is None or tag not in [part.strip() for part in known.split(",")]:
        return answer
    return replace(answer, body=b"", code=304)


def removed(kind: Kind, item: Item) -> ApiResponse:
    """Return the Status of a removed object."""
    metadata = item.wire["metadata"]
    details = {"name": metadata["name"], "kind": kind.plural, "uid": metadata["uid"]}
    return ApiResponse(_success(details | ({"group": kind.group} if kind.group else {})))


def done(code: int = 201) -> ApiResponse:
    """Return a Status that only says Success."""
    return ApiResponse(_success({}), code)


def _success(details: dict[str, str]) -> bytes:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return encode(status | ({"details": details} if details else {}))


def warning_headers(warnings: Sequence[str]) -> list[tuple[str, str]]:
    """Return RFC 7234 Warning headers, within upstream's limits.

    Texts that are too long together are cut, and those that begin beyond the limit are left out.
    Source: k8s.io/apiserver/pkg/endpoints/filters/warning.go
    """
    if not warnings:
        return []
    texts = [*dict.fromkeys(text for text in warnings if text)]
    if sum(map(len, texts)) > _MAX_WARNINGS:
        texts = _shortened(texts)
    return [("Warning", f'299 - "{_quoted(text)}"') for text in texts]


def _shortened(texts: Sequence[str]) -> list[str]:
    kept: list[str] = []
    written = 0
    for text in texts:
        if written >= _MAX_WARNINGS:
            break
        kept.append(text[:_MAX_WARNING])
        written += len(kept[-1])
    return kept


def _quoted(text: str) -> str:
    """Return a text as it may stand in a header, in UTF-8: "?" stands for what may not."""
    shown = "".join("?" if category(sign) in _REFUSED else sign for sign in text)
    return shown.replace("\\", "\\\\").replace('"', '\\"')
