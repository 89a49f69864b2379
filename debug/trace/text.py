"""A trace as text: a hop, and below it what happened there."""

from collections.abc import Iterator
from itertools import takewhile

from debug.output import with_port
from debug.trace.model import Comparison, Ends, PacketTrace, Step, Trace

_ARROW = "→"
_INDENT = "    "
_SHOWN = 4  # facts that are shown after two ways have parted


def lines(trace: Trace, *, every: bool = False) -> Iterator[str]:
    """Yield a trace's lines; ``every`` rule, or only those that decide or rewrite."""
    yield f"{trace.source} {_ARROW} {trace.destination}"
    for packet in trace.packets:
        yield ""
        yield from packet_lines(packet, every=every)
    yield ""
    yield from answers(trace)
    for one in trace.comparisons:
        yield from _comparison(one)
    if trace.unseen:
        yield ""
        yield from (f"unseen: {one}" for one in trace.unseen)


def _comparison(found: Comparison) -> Iterator[str]:
    """Yield whether a prediction came true; else where the ways part, and what follows on both."""
    about = "the answer" if found.direction == "reply" else "the probe"
    same = len(list(takewhile(lambda row: not row.parts, found.rows)))
    explained = f"({found.probability:.1%})"
    wanted = ", and as the API's objects want" if found.as_wanted else ""
    if found.agrees and found.as_wanted is not False:
        yield f"{about} went as explained {explained}, in all {same} places and rules{wanted}"
        return
    if found.agrees:
        yield f"{about} went as explained {explained}, but not as the API's objects want"
    else:
        yield f"{about} left the explained way {explained} after {same} places and rules{wanted}"
    yield from _table(found, max(same - 1, 0))


def _table(found: Comparison, first: int) -> Iterator[str]:
    """Yield the rows around the one where the ways part, as columns."""
    rows = [("predicted", "observed", "wanted", False)]
    rows += [
        (row.predicted, row.observed, row.wanted, row.parts)
        for row in found.rows[first : first + _SHOWN + 1]
    ]
    columns = 3 if found.as_wanted is not None else 2
    widths = [max(len(row[at]) for row in rows) for at in range(columns)]  # type: ignore[arg-type]
    for row in rows:
        cells = (f"{row[at]:{widths[at]}}" for at in range(columns))
        yield f"  {'≠' if row[3] else ' '} {'   '.join(cells)}".rstrip()
    if found.parts_at:
        yield f"  they part in {found.parts_at}"


def answers(trace: Trace) -> Iterator[str]:
    """Yield how each probe was answered."""
    for probe in dict.fromkeys(packet.probe for packet in trace.packets):
        ways = [one for one in trace.packets if one.probe == probe]
        back = [one for one in ways if one.direction == "reply" and one.outcome == "arrived"]
        first = _times(ways[0])[:1] + (_times(back[0])[-1:] if back else [])
        name = f"probe {probe}: " if probe > 1 else ""
        if len(first) == 2:
            yield f"{name}answered by {back[0].name} after {first[1] - first[0]:.3f} ms"
        else:
            yield f"{name}no answer came back"


def _times(packet: PacketTrace) -> list[float]:
    steps = (step for hop in packet.hops for step in hop.steps)
    return [step.time for step in steps if step.time is not None]


def packet_lines(packet: PacketTrace, *, every: bool) -> Iterator[str]:
    """Yield how a packet ended, and its hops."""
    number = f"probe {packet.probe}, " if packet.probe > 1 else ""
    answer = "answer " if packet.direction == "reply" else ""
    yield f"{number}{answer}{packet.name}: {outcome(packet)}"
    shown: Ends | None = None
    for hop in packet.hops:
        on = f" on {hop.node}" if hop.pod else ""
        yield f"  {hop.place}{on}"
        for step in hop.steps:
            if every or says_much(step):
                yield f"{_INDENT}{_time(step)} {in_words(step, shown)}"
            shown = step.ends if step.ends and step.kind != "connection" else shown


def outcome(packet: PacketTrace) -> str:
    """Return in words how a packet ended."""
    if packet.outcome == "arrived":
        return f"arrived at {packet.where}"
    if packet.outcome == "dropped":
        return f"dropped at {packet.where} by {packet.why}"
    return f"unknown after {packet.where or 'the source'}: {packet.why}"


def says_much(step: Step) -> bool:
    """Return False for a rule that only passes a packet on."""
    if step.kind not in ("rule", "policy"):
        return True
    if step.verdict in ("jump", "goto"):
        return step.named and "/" in step.rule  # of an object: NAMESPACE/NAME
    return bool(step.before) or step.verdict in ("drop", "queue", "stolen")


def _time(step: Step) -> str:
    return f"{step.time:9.3f} ms" if step.time is not None else " " * 12


def in_words(step: Step, shown: Ends | None = None) -> str:
    """Return a step in words; a flow that was shown before is not repeated."""
    if step.kind in ("in", "out"):
        tunnel = f" in {step.tunnel}" if step.tunnel else ""
        flow = "" if step.ends == shown else f"  {ends(step.ends)}"
        return f"{step.kind:3} {step.link}{tunnel}{flow}"
    if step.kind == "connection":
        flow = "" if step.ends == shown else f": {ends(step.ends)}"
        return f"connection tracked{f': {change(step)}' if step.before else flow}"
    tell = {"program": _by_program, "rewrite": _rewritten, "dropped": _dropped}
    return tell.get(step.kind, rule)(step)


def _by_program(step: Step) -> str:
    if step.verdict:
        return f"eBPF program: {step.verdict}, unchanged, to {step.rule} (direct server return)"
    return f"eBPF program: entered for {step.rule or 'a Service'}: {change(step)}"


def _rewritten(step: Step) -> str:
    return f"rewritten by {step.rule or 'unknown'}: {change(step)}"


def _dropped(step: Step) -> str:
    where = f" in {step.function}" if step.function else ""
    return f"dropped by the kernel: {step.reason}{where}"


def rule(step: Step) -> str:
    """Return a rule's step in words."""
    hook = f"{step.hook}: " if step.hook else ""
    where = f"{step.family} {step.table} {step.chain}"
    what = f" {step.rule!r}" if step.named else f" ({step.rule})" if step.rule else ""
    at = f" #{step.handle}" if step.handle else ""
    kind = " policy" if step.kind == "policy" else ""
    to = f" {step.target}" if step.target else ""
    changed = f", {change(step)}" if step.before else ""
    return f"{hook}{where}{at}{what}{kind} {_ARROW} {step.verdict}{to}{changed}"


def change(step: Step) -> str:
    """Return what a step rewrote."""
    if not step.before or not step.ends:
        return ""
    parts = []
    for side in ("source", "destination"):
        old, new = (_end(one, side) for one in (step.before, step.ends))
        if old != new:
            parts.append(f"{side} {old} becomes {new}")
    return ", ".join(parts)


def ends(flow: Ends | None) -> str:
    """Return a flow in words."""
    if flow is None:
        return ""
    return f"{flow.protocol} {_end(flow, 'source')} {_ARROW} {_end(flow, 'destination')}"


def _end(flow: Ends, side: str) -> str:
    address: str = getattr(flow, side)
    port: int | None = getattr(flow, f"{side}_port")
    name: str = getattr(flow, f"{side}_name")
    shown = with_port(address, port)
    return f"{shown} ({name})" if name else shown
