"""In which form a client wants its answer: whole objects, a Table, or metadata alone. Pure.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from control.server.wire.errors import not_acceptable

_ACCEPTED = ("application/json",)
_ANY = ("*/*", "application/*", "application/json")
_GROUP = "meta.k8s.io"
_VERSIONS = ("v1", "v1beta1")


class RepresentationKind(Enum):
    """What stands for an object."""

    OBJECT = ""
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"


_AS = {
    "": RepresentationKind.OBJECT,
    "Table": RepresentationKind.TABLE,
    "PartialObjectMetadata": RepresentationKind.PARTIAL,
    "PartialObjectMetadataList": RepresentationKind.PARTIAL,
}


@dataclass(frozen=True, slots=True)
class Representation:
    """What to answer with; the version is that of the Table or the metadata."""

    kind: RepresentationKind = RepresentationKind.OBJECT
    version: str = "v1"


@dataclass(frozen=True, slots=True)
class Clause:
    """One media range of an Accept header (RFC 9110, 12.5.1)."""

    media: str
    quality: float = 1.0
    parameters: dict[str, str] = field(default_factory=dict)


def parse_form(accept: str) -> Representation:
    """The first form of an Accept header that can be given; raises StatusError (406)."""
    if not accept.strip():
        return Representation()
    for clause in clauses(accept):
        if clause.media in _ANY and (form := _form(clause.parameters)) is not None:
            return form
    raise not_acceptable(_ACCEPTED)


def clauses(accept: str) -> list[Clause]:
    """The media ranges of an Accept header, the best first."""
    found = [_clause(text) for text in accept.split(",") if text.strip()]
    return sorted((c for c in found if c.quality > 0), key=lambda clause: -clause.quality)


def _clause(text: str) -> Clause:
    media, *rest = (part.strip() for part in text.split(";"))
    parameters = dict(_parameters(rest))
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        quality = 1.0
    return Clause(media.lower(), quality, parameters)


def _parameters(parts: list[str]) -> Iterator[tuple[str, str]]:
    for part in parts:
        name, _, value = part.partition("=")
        yield name.strip().lower(), value.strip().strip('"')


def _form(parameters: dict[str, str]) -> Representation | None:
    """The form of one clause; None if it is none of ours."""
    kind = _AS.get(parameters.get("as", ""))
    if kind is None:
        return None
    if kind is RepresentationKind.OBJECT:
        return Representation()
    version = parameters.get("v", "v1")
    if parameters.get("g", _GROUP) != _GROUP or version not in _VERSIONS:
        return None
    return Representation(kind, version)
