"""Says where each place of a map is drawn. Pure; lengths are in pixels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from debug.map.graph import End, Graph, Role, Spot

WIDTH = 250  # of a node
GUTTER = 46  # between columns: what joins nodes passes there
ROW = 18  # a line of text
_PAD = 10
_INSET = 18  # of a Pod inside its node
_SHARED = (Role.SWITCH, Role.NETWORK)  # drawn as bars above the nodes


@dataclass(frozen=True, slots=True)
class Box:
    """The rectangle of a place. ``rows`` has the height at which each device's line is."""

    spot: Spot
    x: int
    y: int
    width: int
    height: int
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """All boxes, the outer ones before those inside them, and the size of the whole."""

    boxes: tuple[Box, ...]
    width: int
    height: int

    def box(self, end: End) -> Box | None:
        """The box of a cable's end."""
        return next((box for box in self.boxes if box.spot.id == end.place), None)


def lay_out(graph: Graph, columns: int) -> Layout:
    """Put switches and networks above, nodes in ``columns`` below, and each Pod in its node."""
    nodes = [spot for spot in graph.places if spot.role is Role.NODE]
    columns = max(1, min(columns, len(nodes)))
    width = GUTTER + columns * (WIDTH + GUTTER)
    bars = tuple(_bars(graph, width))
    boxes = [*bars]
    top = _end(bars) + ROW + _PAD
    for start in range(0, len(nodes), columns):
        row = list(_row(graph, nodes[start : start + columns], top))
        boxes += row
        top = _end(row) + ROW + _PAD
    return Layout(tuple(boxes), width, top)


def _end(boxes: Sequence[Box]) -> int:
    return max((box.y + box.height for box in boxes), default=0)


def _bars(graph: Graph, width: int) -> Iterator[Box]:
    y = _PAD
    for spot in graph.places:
        if spot.role in _SHARED:
            box = _box(spot, _PAD, y, width - 2 * _PAD, only_inner=True)
            yield box
            y = box.y + box.height + _PAD


def _row(graph: Graph, nodes: Sequence[Spot], y: int) -> Iterator[Box]:
    for column, node in enumerate(nodes):
        x = GUTTER + column * (WIDTH + GUTTER)
        outer = _box(node, x, y, WIDTH)
        inner = list(_pods(graph, outer))
        height = max(outer.height, _end(inner) + _PAD - y)
        yield Box(node, x, y, WIDTH, height, outer.rows)
        yield from inner


def _pods(graph: Graph, outer: Box) -> Iterator[Box]:
    y = outer.y + outer.height
    for spot in graph.places:
        if spot.role is Role.POD and spot.node == outer.spot.node:
            box = _box(spot, outer.x + _INSET, y, WIDTH - _INSET - _PAD)
            yield box
            y = box.y + box.height + _PAD


def _box(spot: Spot, x: int, y: int, width: int, *, only_inner: bool = False) -> Box:
    """Return a box for a title, and two lines a device: its name, and its addresses.

    The ports of a switch have no line, as nodes hang on it anyway.
    """
    rows = {}
    height = _PAD + ROW
    for device in spot.devices:
        if not (only_inner and device.bridge):
            rows[device.name] = y + height + ROW // 2
            height += ROW * (1 + len(told(device.addresses)))
    return Box(spot, x, y, width, height + _PAD, rows)


def told(addresses: Sequence[str]) -> list[str]:
    """Return a device's addresses without those of the link, which each one has."""
    return [ip for ip in addresses if not ip.startswith("fe80:")]
