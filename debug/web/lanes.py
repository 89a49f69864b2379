"""Draws a trace as swim lanes: a lane a namespace, a box a step, rewrites on the arrows. Pure.

The prediction of ``podwire trace --compare`` is a dashed line beside the packet's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from textwrap import wrap
from xml.etree.ElementTree import Element, SubElement

import msgspec

from control.reported import ReportedError
from debug.output import with_port, xml
from debug.trace.model import VERSION, Comparison, Ends, PacketTrace, Step, Trace
from debug.web.ghost import Parting, Predicted, Seen, Slot, Wanted, comparison_of, slots

_LANE, _GAP, _TOP = 320, 16, 12  # pixels: a lane's width, the room beside it, above the packets
_WIDE, _BOX, _STEP, _HEAD = 280, 40, 62, 30  # of a box: width, height, to the next; of a title
_INSET, _ARROW, _GHOST = 10, 30, 306  # from a lane's left: its boxes, its arrows, the prediction
_NARROW = 46  # letters of a title in one lane
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


@dataclass(frozen=True, slots=True)
class _Part:
    """What is drawn of one packet."""

    packet: PacketTrace
    comparison: Comparison | None
    slots: tuple[Slot, ...]


def svg(trace: Trace, *, every: bool = False, narrow: bool = False) -> str:
    """Return the picture; what it shows is numbered in its order, so that a page can play it.

    ``every`` rule, or only those that decide or rewrite. ``narrow`` has all lanes in one.
    """
    parts = list(_parts(trace, every=every))
    places = dict.fromkeys(_place(one) for part in parts for one in part.slots)
    lanes = {name: number for number, name in enumerate(name for name in places if name)}
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "group"})
    root.set("aria-label", f"Trace from {trace.source} to {trace.destination}")
    if narrow:
        lanes = dict.fromkeys(lanes, 0)
    bottom = _Drawing(lanes, narrow=narrow).packets(root, parts)
    width = (max(lanes.values(), default=0) + 1) * (_LANE + _GAP)
    root.attrib |= {"width": str(width), "height": str(bottom), "viewBox": f"0 0 {width} {bottom}"}
    return xml(root)


def _parts(trace: Trace, *, every: bool) -> Iterator[_Part]:
    """Yield the packets with their slots, at most ``_MOST_STEPS`` of them and one."""
    left = _MOST_STEPS + 1
    for packet in trace.packets:
        comparison = comparison_of(trace, packet)
        shown = tuple(islice(slots(packet, comparison, every=every), left))
        left -= len(shown)
        yield _Part(packet, comparison, shown)
        if not left:
            return


def _place(slot: Slot) -> str:
    return slot.hop.place if isinstance(slot, Seen) else slot.place


def _x(number: int) -> int:
    return number * (_LANE + _GAP)


class _Drawing:
    """Draws from above to below; remembers where the packet's line and the prediction's end."""

    def __init__(self, lanes: Mapping[str, int], *, narrow: bool) -> None:
        self._lanes, self._narrow = lanes, narrow
        self._drawn = 0
        self._lines = Element("g")  # of the packet that is drawn, below its boxes
        self._seen: tuple[int, int] | None = None
        self._ghost: tuple[int, int] | None = None

    def packets(self, root: Element, parts: Sequence[_Part]) -> int:
        """Draw all packets below each other; return where the picture ends."""
        y = _TOP
        for part in parts:
            y = self._packet(root, part, y)
        return y

    def _packet(self, root: Element, part: _Part, y: int) -> int:
        titles = list(_titles(part))
        group = SubElement(root, "g", {"role": "list", "aria-label": ". ".join(titles)})
        lanes, self._lines = (SubElement(group, "g", {"aria-hidden": "true"}) for _ in range(2))
        for line in titles:
            for words in wrap(line, _NARROW) if self._narrow else (line,):
                _text(lanes, 0, y + 10, words, "small", fits=True)
                y += 18
        self._seen = self._ghost = None
        end, place = y + (0 if self._narrow else _HEAD), ""
        for slot in part.slots:
            if self._drawn == _MOST_STEPS:
                _text(group, 0, end + 16, "… the rest is not drawn", "warn", fits=True)
                return end + _STEP
            if self._narrow and _place(slot) not in ("", place):
                place = _place(slot)
                end = self._head(group, place, end)
            end = self._slot(group, slot, end)
            self._drawn += 1
        self._behind(lanes, part, y, end)
        return end + _GAP

    def _behind(self, parent: Element, part: _Part, y: int, end: int) -> None:
        """Draw a packet's lanes, with their names."""
        for name in dict.fromkeys(_place(one) for one in part.slots if _place(one)):
            x = _x(self._lanes[name])
            size = {"width": str(_LANE), "height": str(end - y), "rx": "6", "class": "lane"}
            SubElement(parent, "rect", {"x": str(x), "y": str(y), **size})
            if self._narrow:
                return
            _text(parent, x + _INSET, y + 17, name, "title")

    def _head(self, group: Element, place: str, y: int) -> int:
        """Name a place within the one lane."""
        made = _group(group, "step", self._drawn)
        made.set("aria-hidden", "true")  # each step says it
        _text(made, _INSET, y + 17, place, "title", fits=True)
        return y + _HEAD

    def _slot(self, group: Element, slot: Slot, y: int) -> int:
        x = _x(self._lanes.get(_place(slot), 0))
        if isinstance(slot, Parting):
            _parting(group, x + _INSET, y, slot, self._drawn)
            return y + _STEP
        if isinstance(slot, Wanted):
            _want(group, x + _INSET, y, slot, self._drawn)
            return y + _STEP
        if isinstance(slot, Predicted) or slot.predicted:
            self._lead(x, y)
        if isinstance(slot, Predicted):
            _guess(group, x + _INSET, y, slot, self._drawn)
            return y + _STEP
        if self._seen is not None:
            _arrow(self._lines, self._seen, (x + _ARROW, y), self._drawn)
        _box(group, x + _INSET, y, slot, self._drawn)
        self._seen = (x + _ARROW, y + _BOX)
        return y + _STEP

    def _lead(self, x: int, y: int) -> None:
        """Lead the prediction's line to a step."""
        end = (x + _GHOST, y + _BOX // 2)
        _ghost(self._lines, self._ghost, end, self._drawn)
        self._ghost = end


def _titles(part: _Part) -> Iterator[str]:
    packet, found = part.packet, part.comparison
    end = f" {packet.outcome} at {packet.where}" if packet.where else f" {packet.outcome}"
    why = f": {packet.why}" if packet.why else ""
    yield f"{packet.probe}. {packet.direction} {packet.name}:{end}{why}"
    if found is not None:
        how = "the packet went so" if found.agrees else "the packet left this way"
        yield f"Dashed: what podwire explain predicts ({found.probability:.1%}); {how}"
    if found is not None and found.as_wanted is not None:
        went = "went" if found.as_wanted else "did not go"
        yield f"It {went} as the API's objects want"


def _box(root: Element, x: int, y: int, one: Seen, number: int) -> None:
    step = one.step
    is_end = step.kind == "dropped" or step.verdict == "drop"
    group = _group(root, "step fail" if is_end else "step", number)
    first, second = _words(step)
    also = ", so far as predicted" if one.predicted else ""
    _name(group, f"{one.hop.place}: {first} {second}{also}")
    _rect(group, x, y)
    _text(group, x + 8, y + 16, first, "title")
    _text(group, x + 8, y + 33, second, "small")
    if step.before and step.ends:  # on the arrow that leaves the box
        _text(group, x + 28, y + _BOX + 14, f"now {_flow(step.ends)}", "warn")


def _parting(root: Element, x: int, y: int, one: Parting, number: int) -> None:
    group = _group(root, "step parting", number)
    predicted, seen = one.predicted or "nothing more", one.observed or "nothing more"
    _name(group, f"Here the ways part. Predicted: {predicted}. Seen: {seen}")
    _rect(group, x, y)
    _text(group, x + 8, y + 16, f"≠ predicted: {predicted}", "warn")
    _text(group, x + 8, y + 33, f"instead: {seen}", "warn")


def _guess(root: Element, x: int, y: int, one: Predicted, number: int) -> None:
    group = _group(root, "step ghost", number)
    _name(group, f"Predicted only: {one.place}: {one.text}")
    _rect(group, x, y)
    _text(group, x + 8, y + 16, "predicted only", "title")
    _text(group, x + 8, y + 33, one.text, "small")


def _want(root: Element, x: int, y: int, one: Wanted, number: int) -> None:
    group = _group(root, "step parting", number)
    _name(group, f"The API's objects want something else: {one.place}: {one.text}")
    _rect(group, x, y)
    _text(group, x + 8, y + 16, "≠ the API's objects want", "warn")
    _text(group, x + 8, y + 33, one.text, "warn")


def _group(parent: Element, sort: str, number: int) -> Element:
    return SubElement(parent, "g", {"class": sort, "data-step": str(number)})


def _name(group: Element, text: str) -> None:
    group.attrib |= {"role": "listitem", "aria-label": text.strip()}


def _rect(group: Element, x: int, y: int) -> None:
    size = {"width": str(_WIDE), "height": str(_BOX), "rx": "4"}
    SubElement(group, "rect", {"x": str(x), "y": str(y), **size})


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
    group = _group(root, "step", number)
    SubElement(group, "path", {"d": f"M{x} {y}V{to_y - 5}H{to_x}V{to_y}"})


def _ghost(root: Element, start: tuple[int, int] | None, end: tuple[int, int], number: int) -> None:
    x, y = end
    group = _group(root, "step ghost", number)
    if start is not None:
        from_x, from_y = start
        SubElement(group, "path", {"d": f"M{from_x} {from_y}V{y - _BOX // 2 - 11}H{x}V{y}"})
    SubElement(group, "circle", {"cx": str(x), "cy": str(y), "r": "4"})


def _text(parent: Element, x: int, y: int, words: str, sort: str, *, fits: bool = False) -> None:
    """Write a line; in a box only what fits there, the whole of it for who points at it."""
    made = SubElement(parent, "text", {"x": str(x), "y": str(y), "class": sort})
    fits = fits or len(words) <= _FITS[sort]
    made.text = words if fits else f"{words[: _FITS[sort] - 1]}…"
    if not fits:
        SubElement(made, "title").text = words
