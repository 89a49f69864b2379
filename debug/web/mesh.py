"""The mesh as the page shows it: a table of nodes and one of Pods. Pure."""

from collections.abc import Iterator

from msgspec import Struct

from debug.map.mesh import Mesh, Way, problems
from debug.map.mesh_draw import in_words, parts, places_of, title_of


class Cell(Struct, frozen=True):
    """One direction between two places."""

    source: str
    destination: str
    level: str
    text: str


class Table(Struct, frozen=True):
    """The ways among the same kind of places, of one family."""

    title: str
    places: tuple[str, ...]
    cells: tuple[Cell, ...]


class MeshView(Struct, frozen=True, omit_defaults=True):
    """All tables. ``problems`` are the levels and sentences of what is wrong."""

    taken: str = ""  # RFC 3339
    tables: tuple[Table, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    unread: tuple[str, ...] = ()
    fault: str = ""  # why nothing newer could be measured


def view(mesh: Mesh) -> MeshView:
    """Return what the page shows of a mesh."""
    return MeshView(
        taken=mesh.taken,
        tables=tuple(_table(ways) for ways in parts(mesh)),
        problems=tuple((level.value, text) for level, text in problems(mesh)),
        unread=mesh.unread,
    )


def _table(ways: list[Way]) -> Table:
    return Table(title_of(ways), tuple(places_of(ways)), tuple(_cells(ways)))


def _cells(ways: list[Way]) -> Iterator[Cell]:
    for way in ways:
        yield Cell(way.source, way.destination, way.level.value, in_words(way))
