"""Parse the Accept header of a request. Pure.

A client chooses between whole objects, a Table and metadata alone. Source:
https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from control.server.wire.errors import not_acceptable
from control.server.wire.media import JSON

JSON_RANGES = ("*/*", "application/*", JSON)
_GROUP = "meta.k8s.io"
_VERSIONS = ("v1", "v1beta1")


class RepresentationKind(Enum):
    """The kind of object that a response holds in place of an API object."""

    OBJECT = ""
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"


_KINDS = {
    "": RepresentationKind.OBJECT,
    "Table": RepresentationKind.TABLE,
    "PartialObjectMetadata": RepresentationKind.PARTIAL,
    "PartialObjectMetadataList": RepresentationKind.PARTIAL,
}


@dataclass(frozen=True, slots=True)
class Representation:
    """The form of a response; ``version`` is that of the Table or the metadata."""

    kind: RepresentationKind = RepresentationKind.OBJECT
    version: str = "v1"


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One media range of an Accept header (RFC 9110, 12.5.1)."""

    media: str
    quality: float = 1.0
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accept:
    """The media ranges that a client accepts, the preferred ones first."""

    ranges: tuple[MediaRange, ...] = (MediaRange("*/*"),)

    def includes_json(self) -> bool:
        """Return True if the client accepts plain JSON."""
        return any(media_range.media in JSON_RANGES for media_range in self.ranges)

    def representation(self) -> Representation:
        """Return the first representation that the server has; raises StatusError (406)."""
        for media_range in self.ranges:
            if media_range.media in JSON_RANGES:
                found = _representation(media_range.parameters)
                if found is not None:
                    return found
        raise not_acceptable([JSON])


def parse_accept(header: str) -> Accept:
    """Parse an Accept header; an empty or absent one accepts everything."""
    if not header.strip():
        return Accept()
    found = [_media_range(text) for text in header.split(",") if text.strip()]
    accepted = (media_range for media_range in found if media_range.quality > 0)
    return Accept(tuple(sorted(accepted, key=lambda media_range: -media_range.quality)))


def _media_range(text: str) -> MediaRange:
    media, *rest = (part.strip() for part in text.split(";"))
    parameters = dict(_parameters(rest))
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        quality = 1.0
    return MediaRange(media.lower(), quality, parameters)


def _parameters(parts: list[str]) -> Iterator[tuple[str, str]]:
    for part in parts:
        name, _, value = part.partition("=")
        yield name.strip().lower(), value.strip().strip('"')


def _representation(parameters: dict[str, str]) -> Representation | None:
    """Return the representation that parameters name; None if the server does not have it."""
    kind = _KINDS.get(parameters.get("as", ""))
    if kind is None:
        return None
    if kind is RepresentationKind.OBJECT:
        return Representation()
    version = parameters.get("v", "v1")
    if parameters.get("g", _GROUP) != _GROUP or version not in _VERSIONS:
        return None
    return Representation(kind, version)
