"""Flows as lines for people: pure."""

from collections.abc import Iterable, Iterator

from debug.flows.naming import NamedFlow
from debug.kernel.conntrack import Direction
from debug.output import with_port
from lab.report import columns

_HEADER = ("NODE", "PROTOCOL", "STATE", "LEFT", "CLIENT", "CALLED", "ANSWERS", "THERE", "BACK")
_UNITS = ("", "k", "M", "G", "T")


def shown(flows: Iterable[NamedFlow]) -> str:
    """Return a table."""
    rows = [tuple(_cells(one)) for one in flows]
    return columns(_HEADER, rows) if rows else "no flow is tracked"


def line(one: NamedFlow) -> str:
    """Return an event as one line."""
    _, protocol, state, _, client, called, answers, *counted = _cells(one)
    about = f"{one.time} {one.node} {one.event:<6} {protocol:<4} {state:<11}"
    traffic = f"  there {counted[0]}, back {counted[1]}" if counted[0] != "-" else ""
    return f"{about} {client} → {called} → {answers}{traffic}"


def _cells(one: NamedFlow) -> Iterator[str]:
    flow, first, back = one.flow, one.flow.original, one.flow.reply
    yield one.node
    yield flow.protocol
    yield flow.state or ("replied" if flow.replied else "unreplied")
    yield f"{flow.timeout} s"
    yield _end(first.source, first.source_port, one.client)
    service = f"Service {one.service}" + (f" {one.port}" if one.port else "")
    yield _end(first.destination, first.destination_port, service if one.service else one.called)
    masked = f", sees {back.destination}" if flow.masqueraded else ""
    stale = ", STALE: no endpoint of it" if one.stale else ""
    yield _end(back.source, back.source_port, one.server) + masked + stale
    yield from (_counted(first), _counted(back))


def _end(address: str, port: int, name: str) -> str:
    where = with_port(address, port or None)
    return f"{where} ({name})" if name else where


def _counted(one: Direction) -> str:
    if one.packets is None or one.bytes is None:
        return "-"
    return f"{one.packets} packets, {size(one.bytes)}B"


def size(count: float) -> str:
    """Return a number with a unit: 1.5k."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.1f}{unit}" if unit else f"{count:.0f}"
        count /= 1000
    return f"{count:.1f}{_UNITS[-1]}"
