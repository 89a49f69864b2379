"""Draws a mesh: as tables for a terminal, and as one picture in SVG. Pure."""

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from debug.map.mesh import Mesh, Way, problems
from debug.map.svg import STYLE
from debug.map.text import COLORS, MARKS
from debug.output import xml

_CELL, _ROW, _NAMES = 192, 34, 236  # pixels
_SPACE = "http://www.w3.org/2000/svg"


def draw(mesh: Mesh) -> RenderableType:
    """Return a table of nodes and one of Pods: who sends in rows, who answers in columns."""
    tables = [_table(ways) for ways in parts(mesh)]
    wrong = [Text(f"{MARKS[level]} {text}", COLORS[level]) for level, text in problems(mesh)]
    unread = [Text(f"? {text}", "blue") for text in mesh.unread]
    return Group(*tables, *wrong, *unread)


def parts(mesh: Mesh) -> Iterator[list[Way]]:
    """Yield the ways of nodes, then those of Pods, each family's by itself."""
    for of_pods in (False, True):
        for version in (4, 6):
            ways = [way for way in mesh.ways if _is_part(way, of_pods, version)]
            if ways:
                yield ways


def _is_part(way: Way, of_pods: bool, version: int) -> bool:
    return way.source.startswith("Pod ") == of_pods and (":" in way.address) == (version == 6)


def places_of(ways: Sequence[Way]) -> list[str]:
    """Return the places that ways begin and end in, each once."""
    return list(dict.fromkeys(end for way in ways for end in (way.source, way.destination)))


def title_of(ways: Sequence[Way]) -> str:
    """Return what one part is of: "Pods, IPv6"."""
    sort = "Pods" if ways[0].source.startswith("Pod ") else "Nodes"
    return f"{sort}, {'IPv6' if ':' in ways[0].address else 'IPv4'}"


def _table(ways: Sequence[Way]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, title=title_of(ways), title_justify="left")
    places = places_of(ways)
    for title in ("FROM \\ TO", *places):
        table.add_column(title, overflow="fold")
    by_ends = {(way.source, way.destination): way for way in ways}
    for source in places:
        cells = [_cell(by_ends.get((source, destination))) for destination in places]
        table.add_row(source, *cells)
    return table


def _cell(way: Way | None) -> Text:
    if way is None:
        return Text("")
    return Text(f"{MARKS[way.level]} {in_words(way)}", COLORS[way.level])


def in_words(way: Way) -> str:
    """Return what was measured: latency, largest packet, loss."""
    if way.fault:
        return "not measured"
    if way.latency is None:
        return "no answer"
    loss = f" {way.loss:.0%} lost" if way.loss else ""
    return f"{way.latency:.2f} ms {way.largest} B{loss}"


def svg(mesh: Mesh) -> str:
    """Return the same tables as a picture."""
    root = Element("svg", {"xmlns": _SPACE, "role": "list"})
    SubElement(root, "style").text = STYLE
    y, width = 10, 0
    for ways in parts(mesh):
        places = places_of(ways)
        _grid(root, ways, places, y)
        y += _ROW * (len(places) + 2)
        width = max(width, _NAMES + _CELL * len(places) + 20)
    root.attrib |= {"width": str(width), "height": str(y), "viewBox": f"0 0 {width} {y}"}
    root.set("aria-label", f"Mesh of {len(mesh.ways)} ways")
    return xml(root)


def _grid(root: Element, ways: Sequence[Way], places: Sequence[str], y: int) -> None:
    _text(root, 10, y + 20, title_of(ways), "small")
    for number, name in enumerate(places):
        _text(root, _NAMES + number * _CELL, y + 20, _short(name, 22), "title")
        _text(root, 10, y + _ROW * (number + 1) + 20, _short(name, 28), "title")
    for way in ways:
        x = _NAMES + _CELL * places.index(way.destination)
        top = y + _ROW * (places.index(way.source) + 1)
        group = SubElement(root, "g", {"class": way.level.value, "role": "listitem"})
        group.set("aria-label", f"{way.source} to {way.destination}: {in_words(way)}")
        size = {"width": str(_CELL - 8), "height": str(_ROW - 6), "rx": "4"}
        SubElement(group, "rect", {"x": str(x), "y": str(top), **size})
        _text(group, x + 8, top + 18, f"{MARKS[way.level]} {in_words(way)}", way.level.value)


def _short(name: str, most: int) -> str:
    """Return a name with its end, which tells Pods apart."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _text(parent: Element, x: int, y: int, words: str, sort: str) -> None:
    SubElement(parent, "text", {"x": str(x), "y": str(y), "class": sort}).text = words
