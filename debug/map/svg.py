"""Draws a map as SVG: for a file, or for a page, which brings its own style. Pure."""

from xml.etree.ElementTree import Element, SubElement

from debug.map.graph import Cable, CableKind, Device, Graph, Role, Spot
from debug.map.layout import GUTTER, ROW, Box, Layout, lay_out, told
from debug.output import xml

STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; color: #1c2024 }
text { fill: #1c2024 } .small { fill: #59626b } .title { font-weight: 600 }
rect { fill: #fff; stroke: #2a7e3b; stroke-width: 1.5 } .pod rect { fill: #f4f7fa }
.switch rect, .network rect { fill: #eef2f6 }
path { fill: none; stroke: #2a7e3b; stroke-width: 2 } .route { stroke-dasharray: 4 4 }
.tunnel { stroke-width: 4; stroke-opacity: .6 }
circle { fill: #2a7e3b }
.fail > rect, path.fail { stroke: #c62828 } circle.fail, text.fail { fill: #c62828 }
.warn > rect, path.warn { stroke: #b26a00 } circle.warn, text.warn { fill: #b26a00 }
.unknown > rect, path.unknown { stroke: #1f5fbf } circle.unknown { fill: #1f5fbf }
path.fail { stroke-width: 3 }
""".strip()
_SPACE = "http://www.w3.org/2000/svg"
_BOLD, _LINE = 9, 34  # pixels of a letter in a title at most, letters of a line in a node
_LAST = 11
_BEHIND = (CableKind.TUNNEL, CableKind.ROUTE)
_MARKS = {"fail": "✗ ", "warn": "! ", "unknown": "? "}


def svg(graph: Graph, columns: int = 4, *, alone: bool = True) -> str:
    """Return the picture with so many nodes beside each other, ``alone`` with its style."""
    layout = lay_out(graph, columns)
    size = {"width": str(layout.width), "height": str(layout.height)}
    view = f"0 0 {layout.width} {layout.height}"
    root = Element("svg", {"xmlns": _SPACE, "viewBox": view, "role": "group", **size})
    root.set("aria-label", f"Map of {len(graph.places)} places, state {graph.level.value}")
    if alone:
        SubElement(root, "style").text = STYLE
    for number, cable in enumerate(graph.cables):  # those that pass other nodes pass behind them
        if cable.kind in _BEHIND:
            _join(root, layout, cable, number)
    for box in layout.boxes:
        _draw(root, box)
    for cable in graph.cables:
        if cable.kind not in _BEHIND:
            _join(root, layout, cable)
    return xml(root)


def _draw(root: Element, box: Box) -> None:
    spot = box.spot
    group = SubElement(root, "g", {"class": f"{spot.role.value} {spot.level.value}"})
    group.attrib |= {"data-place": spot.id, "tabindex": "0", "role": "button"}
    group.set("aria-label", _said(spot))
    place = {"x": box.x, "y": box.y, "width": box.width, "height": box.height, "rx": 6}
    SubElement(group, "rect", {key: str(value) for key, value in place.items()})
    SubElement(group, "title").text = spot.id  # whole, for who points at it
    name = spot.id.removeprefix("Pod ")  # which its place inside a node says
    title = _marked(name, spot.level.value, box.width // _BOLD)
    _text(group, box.x + 10, box.y + ROW, title, "title")
    for device in spot.devices:
        if device.name in box.rows:
            _device(group, box, device)


def _said(spot: Spot) -> str:
    """Return what a screen reader says of a place."""
    whys = [*spot.why, *(f"{one.name} {why}" for one in spot.devices for why in one.why)]
    return f"{spot.id}: {'; '.join(whys) or spot.level.value}"


def _device(group: Element, box: Box, device: Device) -> None:
    y, indent = box.rows[device.name], 12 if device.bridge else 0
    dot = {"cx": str(box.x + 14 + indent), "cy": str(y), "r": "4", "class": device.level.value}
    SubElement(group, "circle", dot)
    detail = device.detail.partition(",")[0]  # the rest has no room
    words = " ".join(word for word in (device.name, device.kind, detail) if word)
    said = _marked(words, device.level.value, _LINE)
    _text(group, box.x + 24 + indent, y + 4, said, device.level.value)
    for number, address in enumerate(told(device.addresses), start=1):
        _text(group, box.x + 24 + indent, y + 4 + ROW * number, address, "small")


def _marked(words: str, level: str, most: int) -> str:
    """Return words with a mark of their level: color alone is not for everybody."""
    text = _MARKS.get(level, "") + words
    if len(text) <= most:
        return text
    return f"{text[: most - _LAST - 1]}…{text[-_LAST:]}"  # the ends of names tell Pods apart


def _text(parent: Element, x: int, y: int, words: str, sort: str) -> None:
    SubElement(parent, "text", {"x": str(x), "y": str(y), "class": sort}).text = words


def _join(root: Element, layout: Layout, cable: Cable, number: int = 0) -> None:
    one, other = layout.box(cable.a), layout.box(cable.b)
    if one is None or other is None:
        return  # a tunnel to what was not read
    way = _way(cable, one, other, number)
    line = SubElement(root, "path", {"d": way, "class": f"{cable.kind.value} {cable.level.value}"})
    line.set("data-cable", f"{cable.a.place} - {cable.b.place}")
    SubElement(line, "title").text = _told_of(cable)


def _told_of(cable: Cable) -> str:
    ends = f"{cable.a.place} {cable.a.device} - {cable.b.place} {cable.b.device}".strip()
    return f"{cable.kind.value}: {ends}" + "".join(
        f"\n{line}" for line in (cable.label, *cable.why) if line
    )


def _way(cable: Cable, one: Box, other: Box, number: int) -> str:
    """Return the path of a cable: down from a bar, inside a node, or from node to node."""
    a, b = _height(one, cable.a.device), _height(other, cable.b.device)
    bars = [box for box in (one, other) if box.spot.role in (Role.SWITCH, Role.NETWORK)]
    if bars:
        (low, y) = (other, b) if one is bars[0] else (one, a)
        return f"M{low.x - 16} {bars[0].y + bars[0].height}V{y}H{low.x}"
    if Role.POD in (one.spot.role, other.spot.role):
        left = min(one.x, other.x) + 6
        ends = _dot(one, cable.a.device), _dot(other, cable.b.device)
        return f"M{ends[0]} {a}H{left}V{b}H{ends[1]}"
    return _across(one, other, a, b, 3 * (number % 4) if cable.kind is CableKind.ROUTE else 0)


def _dot(box: Box, device: str) -> int:
    """Return where a cable inside a node ends: at its device's dot."""
    ports = (one.name for one in box.spot.devices if one.bridge)
    return box.x + 14 + (12 if device in ports else 0)


def _across(one: Box, other: Box, a: int, b: int, shift: int) -> str:
    """Return a curve between the sides of two nodes that face each other."""
    left, right = ((one, a), (other, b)) if one.x <= other.x else ((other, b), (one, a))
    start, end = left[0].x + left[0].width, right[0].x
    from_y, to_y = left[1] + shift, right[1] + shift
    if left[0].x == right[0].x:  # below each other
        end, bend = start, start + GUTTER // 2
        return f"M{start} {from_y}C{bend} {from_y} {bend} {to_y} {end} {to_y}"
    middle = (start + end) // 2
    return f"M{start} {from_y}C{middle} {from_y} {middle} {to_y} {end} {to_y}"


def _height(box: Box, device: str) -> int:
    """Return the height of a device's line; the title's for a device without one."""
    return box.rows.get(device, box.y + ROW)
