"""Draws a map for a terminal: a tree for each place, and what is wrong below. Pure."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from debug.map.graph import Cable, CableKind, Device, End, Graph, Role, Spot
from debug.map.layout import told
from debug.model import Level

COLORS = {Level.OK: "green", Level.UNKNOWN: "blue", Level.WARN: "yellow", Level.FAIL: "red"}
MARKS = {Level.OK: "●", Level.UNKNOWN: "?", Level.WARN: "!", Level.FAIL: "✗"}
_ARROWS = {CableKind.VETH: "──", CableKind.UPLINK: "──", CableKind.TUNNEL: "══"}
_ORDER = {Role.SWITCH: 0, Role.NODE: 1, Role.POD: 2}
_DRAWN = (CableKind.VETH, CableKind.UPLINK, CableKind.TUNNEL)  # at their devices; routes are below


def draw(graph: Graph) -> RenderableType:
    """Return the drawing: switch, nodes and their Pods, the ways between nodes, and faults."""
    places = [spot for spot in graph.places if spot.role in _ORDER]
    trees = [_tree(graph, spot) for spot in sorted(places, key=lambda each: _ORDER[each.role])]
    return Group(*trees, *_ways(graph), *_faults(graph))


def _tree(graph: Graph, spot: Spot) -> Tree:
    tree = Tree(Text(spot.id, f"bold {COLORS[spot.level]}"), guide_style="dim")
    branches: dict[str, Tree] = {}
    for device in spot.devices:
        if not device.bridge:
            branches[device.name] = tree.add(_device(graph, spot, device))
    for device in spot.devices:
        if device.bridge:
            branches.get(device.bridge, tree).add(_device(graph, spot, device))
    return tree


def _device(graph: Graph, spot: Spot, device: Device) -> Text:
    line = Text(f"{MARKS[device.level]} ", COLORS[device.level])
    line.append(device.name, "bold" if device.level is Level.OK else COLORS[device.level])
    words = (device.kind, device.detail, " ".join(told(device.addresses)), f"MTU {device.mtu}")
    line.append("".join(f"  {word}" for word in words if word), "dim")
    here = End(spot.id, device.name)
    for cable in graph.at(here):
        if cable.kind in _DRAWN:
            other = cable.b if cable.a == here else cable.a
            arrow = f"  {_ARROWS[cable.kind]} "
            line.append(f"{arrow}{other.place} {other.device}".rstrip(), COLORS[cable.level])
    return line


def _ways(graph: Graph) -> Iterator[Text]:
    for cable in graph.cables:
        if cable.kind is CableKind.ROUTE:
            text = f"{_name(cable.a)} ── {_name(cable.b)}  {cable.label}"
            yield Text(f"route {text}", COLORS[cable.level])


def _faults(graph: Graph) -> Iterator[Text]:
    for level, text in problems(graph):
        yield Text(f"{MARKS[level]} {text}", COLORS[level])
    for text in graph.unread:
        yield Text(f"? not read: {text}", COLORS[Level.UNKNOWN])


def problems(graph: Graph) -> Iterator[tuple[Level, str]]:
    """Yield in words what is colored, the worst first."""
    found = [
        *((spot.level, f"{spot.id}: {why}") for spot in graph.places for why in spot.why),
        *(
            (device.level, f"{spot.id}: {device.name} {why}")
            for spot in graph.places
            for device in spot.devices
            for why in device.why
        ),
        *((cable.level, _fault(cable, why)) for cable in graph.cables for why in cable.why),
    ]
    yield from sorted(found, key=lambda each: -each[0].weight)


def _fault(cable: Cable, why: str) -> str:
    return f"{cable.kind} from {_name(cable.a)}: {why}"


def _name(end: End) -> str:
    return f"{end.place} {end.device}".rstrip()
