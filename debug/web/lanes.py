"""Draws a trace as swim lanes: a lane a namespace, a box a step, rewrites on the arrows. Pure."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import msgspec

from control.reported import ReportedError
from debug.output import with_port, xml
from debug.trace.model import VERSION, Ends, Hop, PacketTrace, Step, Trace

_LANE, _GAP = 310, 20  # pixels: a lane's width, and the room beside it
_BOX, _STEP, _HEAD = 40, 62, 44  # of a box, from box to box, of a lane's title
_FITS = {"title": 34, "small": 42, "warn": 42}  # letters of a line in a box
_MOST_STEPS = 2000  # that are drawn
_MOST_BYTES = 64 << 20


class TraceError(ReportedError):
    """A file holds no trace; the text says which, and why."""


def load(path: Path) -> Trace:
    """Read what ``podwire trace -o json`` has written. Raises TraceError, OSError."""
    if path.stat().st_size > _MOST_BYTES:
        raise TraceError(f"{path} is no trace: it is longer than {_MOST_BYTES} bytes")
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Trace)
    except (msgspec.DecodeError, RecursionError) as err:
        raise TraceError(f"{path} holds no output of podwire trace -o json: {err}") from err
    if found.version != VERSION:
        raise TraceError(f"{path} has version {found.version}; this podwire reads {VERSION}")
    return found


def svg(trace: Trace) -> str:
    """Return the picture; boxes are numbered in their order, so that a page can play them."""
    places = list(dict.fromkeys(hop.place for one in trace.packets for hop in one.hops))
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "list"})
    root.set("aria-label", f"Trace from {trace.source} to {trace.destination}")
    lanes = SubElement(root, "g", {"aria-hidden": "true"})
    bottom = _packets(root, trace, {name: number for number, name in enumerate(places)})
    for number, name in enumerate(places):
        _lane(lanes, number, name, bottom)
    width = len(places) * (_LANE + _GAP) + _GAP
    root.attrib |= {"width": str(width), "height": str(bottom), "viewBox": f"0 0 {width} {bottom}"}
    return xml(root)


def _lane(parent: Element, number: int, name: str, height: int) -> None:
    place = {"x": _x(number), "y": 4, "width": _LANE, "height": height - 8, "rx": 6}
    group = SubElement(parent, "g", {"class": "lane"})
    SubElement(group, "rect", {key: str(value) for key, value in place.items()})
    _text(group, _x(number) + 10, 24, name, "title")


def _x(number: int) -> int:
    return _GAP + number * (_LANE + _GAP)


def _packets(root: Element, trace: Trace, lanes: dict[str, int]) -> int:
    """Draw all packets below each other; return where the picture ends."""
    y, drawn = _HEAD, 0
    for packet in trace.packets:
        _text(root, _GAP + 10, y + 10, _title(packet), "small")
        y += 24
        before: tuple[int, int] | None = None
        for hop, step in _steps(packet):
            if drawn == _MOST_STEPS:
                _text(root, _GAP + 10, y + 10, "… the rest is not drawn", "warn")
                return y + _STEP
            x = _x(lanes[hop.place]) + 10
            if before is not None:
                _arrow(root, before, (x + 20, y), drawn)
            _box(root, x, y, hop, step, drawn)
            before, y, drawn = (x + 20, y + _BOX), y + _STEP, drawn + 1
    return y + _GAP


def _steps(packet: PacketTrace) -> Iterator[tuple[Hop, Step]]:
    for hop in packet.hops:
        for step in hop.steps:
            yield hop, step


def _title(packet: PacketTrace) -> str:
    end = f" {packet.outcome} at {packet.where}" if packet.where else f" {packet.outcome}"
    why = f": {packet.why}" if packet.why else ""
    return f"{packet.probe}. {packet.direction} {packet.name}:{end}{why}"


def _box(root: Element, x: int, y: int, hop: Hop, step: Step, number: int) -> None:
    is_end = step.kind == "dropped" or step.verdict == "drop"
    group = SubElement(root, "g", {"class": "step fail" if is_end else "step", "role": "listitem"})
    first, second = _words(step)
    group.attrib |= {"data-step": str(number), "aria-label": f"{hop.place}: {first} {second}"}
    size = {"width": str(_LANE - 20), "height": str(_BOX), "rx": "4"}
    SubElement(group, "rect", {"x": str(x), "y": str(y), **size})
    _text(group, x + 8, y + 16, first, "title")
    _text(group, x + 8, y + 33, second, "small")
    if step.before and step.ends:  # on the arrow that leaves the box
        _text(group, x + 28, y + _BOX + 14, f"now {_flow(step.ends)}", "warn")


def _words(step: Step) -> tuple[str, str]:
    """Return the two lines of a box."""
    if step.kind in ("in", "out"):
        return f"{step.kind} {step.link}", step.tunnel or (_flow(step.ends) if step.ends else "")
    if step.kind == "dropped":
        return "✗ dropped by the kernel", f"{step.reason} {step.function}".strip()
    if step.kind == "connection":
        return f"connection {step.state}".strip(), _flow(step.ends) if step.ends else ""
    where = f"{step.hook} {step.table} {step.chain}".strip()
    return where or step.kind, f"{step.rule} {step.verdict} {step.target}".strip()


def _flow(ends: Ends) -> str:
    """Return the two ends of a flow."""
    source = with_port(ends.source, ends.source_port)
    return f"{source} → {with_port(ends.destination, ends.destination_port)}"


def _arrow(root: Element, start: tuple[int, int], end: tuple[int, int], number: int) -> None:
    (x, y), (to_x, to_y) = start, end
    group = SubElement(root, "g", {"class": "step", "data-step": str(number)})
    SubElement(group, "path", {"d": f"M{x} {y}V{to_y - 5}H{to_x}V{to_y}"})


def _text(parent: Element, x: int, y: int, words: str, sort: str) -> None:
    """Write a line; in a box only what fits there, the whole of it for who points at it."""
    made = SubElement(parent, "text", {"x": str(x), "y": str(y), "class": sort})
    fits = parent.tag == "svg" or len(words) <= _FITS[sort]
    made.text = words if fits else f"{words[: _FITS[sort] - 1]}…"
    if not fits:
        SubElement(made, "title").text = words
