"""Parse the Accept header of a request. Pure.

A client chooses between whole objects, a Table and metadata alone, and between JSON and YAML.
Sources: https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources
and k8s.io/apiserver/pkg/endpoints/handlers/negotiation.
"""

from collections.abc import Collection, Iterator
from enum import Enum
from functools import lru_cache

from msgspec import Struct, field

from control.server.wire.errors import StatusError, not_acceptable
from control.server.wire.media import JSON, YAML

JSON_RANGES = ("*/*", "application/*", JSON)
_GROUP = "meta.k8s.io"
_VERSIONS = ("v1", "v1beta1")


class RepresentationKind(Enum):
    """The kind of object that a response holds in place of an API object."""

    OBJECT = ""
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"


# What an answer may be; streams of events are never YAML.
EVERY_FORM = (RepresentationKind.OBJECT, RepresentationKind.TABLE, RepresentationKind.PARTIAL)
WHOLE = (RepresentationKind.OBJECT,)
EVERY_MEDIA = (JSON, YAML)
_WATCHED = ("application/json;stream=watch",)
_KINDS = {
    "": RepresentationKind.OBJECT,
    "Table": RepresentationKind.TABLE,
    "PartialObjectMetadata": RepresentationKind.PARTIAL,
    "PartialObjectMetadataList": RepresentationKind.PARTIAL,
}


class Representation(Struct, frozen=True):
    """The form of a response; ``version`` is that of the Table or the metadata."""

    kind: RepresentationKind = RepresentationKind.OBJECT
    version: str = "v1"
    media: str = JSON

    @property
    def is_yaml(self) -> bool:
        """True if the response is YAML."""
        return self.media == YAML


class MediaRange(Struct, frozen=True):
    """One media range of an Accept header (RFC 9110, 12.5.1)."""

    media: str
    quality: float = 1.0
    parameters: dict[str, str] = field(default_factory=dict)


class Accept(Struct, frozen=True):
    """The media ranges that a client accepts, the preferred ones first."""

    ranges: tuple[MediaRange, ...] = (MediaRange("*/*"),)

    def representation(
        self, forms: Collection[RepresentationKind] = EVERY_FORM, *, watched: bool = False
    ) -> Representation:
        """Return the first of some forms that the client accepts; raises StatusError (406)."""
        if self.ranges == _ANYTHING:
            return _PLAIN
        for media_range in self.ranges:
            if (media := _media_in(media_range.media)) is not None:
                found = _representation(media_range.parameters, media)
                if found is not None and found.kind in forms:
                    if watched and found.is_yaml:
                        raise not_acceptable(_WATCHED)
                    return found
        raise not_acceptable(EVERY_MEDIA)

    def prefers_yaml(self) -> bool:
        """Return True if a Status goes out in YAML; who takes neither gets JSON."""
        try:
            return self.representation(WHOLE).is_yaml
        except StatusError:
            return False


_MOST_KEPT = 512  # characters of a header whose meaning is kept
_ANYTHING = Accept().ranges
_PLAIN = Representation()


def _media_in(wanted: str) -> str | None:
    """Return the media type of answers that a media range has."""
    return JSON if wanted in JSON_RANGES else YAML if wanted == YAML else None


def parse_accept(header: str) -> Accept:
    """Parse an Accept header; an empty or absent one accepts everything."""
    return _known(header) if len(header) <= _MOST_KEPT else _parsed(header)


@lru_cache(maxsize=64)
def _known(header: str) -> Accept:
    """Clients send few headers, and each with all of their requests."""
    return _parsed(header)


def _parsed(header: str) -> Accept:
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


def _representation(parameters: dict[str, str], media: str) -> Representation | None:
    """Return the representation that parameters name; None if the server does not have it."""
    kind = _KINDS.get(parameters.get("as", ""))
    if kind is None:
        return None
    if kind is RepresentationKind.OBJECT:
        return Representation(media=media)
    version = parameters.get("v", "v1")
    if parameters.get("g", _GROUP) != _GROUP or version not in _VERSIONS:
        return None
    return Representation(kind, version, media)
