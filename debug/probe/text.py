"""What a probe found, as text. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from debug.flows.show import size
from debug.probe.connects import Connect, ConnectRow
from debug.probe.drops import DropRow
from debug.probe.histogram import Latency, bars
from debug.probe.retransmits import Retransmit
from debug.probe.sockets import Connection, ConnectionRow
from lab.report import columns

_CONNECTS = (
    *("CLIENT", "CALLED", "ANSWERS", "OUTCOME"),
    *("COUNT", "MEDIAN", "P99", "LONGEST"),
)
_SOCKETS = (
    *("PLACE", "ROLE", "WITH", "ANSWERS", "COUNT", "TRIP", "LONGEST TRIP", "OPEN"),
    *("SENT", "RECEIVED", "AGAIN"),
)
_RETRANSMITS = ("SENDER", "TO", "SERVICE", "WHAT", "PACKETS")
_DROPS = ("PLACE", "FUNCTION", "REASON", "FOR", "PACKETS", "BYTES")
_HEADERS = {
    "connects": _CONNECTS,
    "sockets": _SOCKETS,
    "retransmits": _RETRANSMITS,
    "drops": _DROPS,
}
_TIMED = {"connects": "answered", "sockets": "round trips of clients"}
_NONE = {
    "connects": "no connect ended, and none waits",
    "sockets": "no connection ended",
    "retransmits": "nothing was sent again",
    "drops": "the kernel dropped nothing",
}


def tables(name: str, rows: Sequence[Struct], services: Mapping[str, Latency], most: int) -> str:
    """Return the table with at most so many rows, and the histograms of connects."""
    if not rows:
        return _NONE[name]
    lines = [columns(_HEADERS[name], map(_cells, rows[:most]))]
    if len(rows) > most:
        lines.append(f"and {len(rows) - most} more rows: --lines shows more of them")
    for service, latency in list(services.items())[:most]:
        lines += ["", f"{service}: {latency.count} {_TIMED[name]}, in milliseconds", *bars(latency)]
    return "\n".join(lines)


def _cells(row: Struct) -> tuple[str, ...]:
    if isinstance(row, ConnectRow):
        times = (row.latency.median_ms, row.latency.p99_ms, row.latency.most_ms)
        return (*_ends(row), row.outcome, str(row.latency.count), *map(milliseconds, times))
    if isinstance(row, ConnectionRow):
        return *_connection(row), str(row.count), *_times(row), *_passed(row)
    if isinstance(row, Retransmit):
        sender = _at(row.sender, row.node)
        return sender, _named(row.peer, row.owner), row.service or "-", row.what, str(row.packets)
    assert isinstance(row, DropRow)  # noqa: S101  # there are no others
    place = _at(row.place, row.node)
    counts = str(row.packets), str(row.bytes)
    return place, row.function or "?", row.reason, _destination(row), *counts


def _connection(one: Connection | ConnectionRow) -> tuple[str, ...]:
    server = _named(one.server, one.server_owner) if one.server else "-"
    return _at(one.place, one.node), one.role, _named(one.end, _service(one)), server


def _times(row: ConnectionRow) -> tuple[str, ...]:
    trip = (row.trip.median_ms, row.trip.most_ms) if row.trip else ()
    opened = milliseconds(row.open.median_ms) if row.open else "-"
    return *(map(milliseconds, trip) if trip else ("-", "-")), opened


def _passed(one: Connection | ConnectionRow) -> tuple[str, str, str]:
    return f"{size(one.sent)}B", f"{size(one.received)}B", str(one.again)


def line(one: Struct) -> str:
    """Return what happened as one line, of -f."""
    if isinstance(one, Connect):
        client, called, server = _ends(one)
        who = f" by {one.command} ({one.pid})" if one.command else ""
        return (
            f"{client} → {called}{_arrow(server)}: {one.outcome}, {milliseconds(one.took_ms)}{who}"
        )
    if isinstance(one, Connection):
        place, role, end, server = _connection(one)
        passed = "sent {}, received {}, {} again".format(*_passed(one))
        times = f"trip {milliseconds(one.trip_ms)}, open {milliseconds(one.open_ms)}"
        return f"{place}, {role} of {end}{_arrow(server)}: {times}; {passed}"
    if isinstance(one, Retransmit):
        sender, to, service, what, _ = _cells(one)
        return f"{sender} → {to}: {what} again{f' (Service {service})' if service != '-' else ''}"
    place, function, reason, destination, packets, size = _cells(one)
    return f"{place}: {reason} at {function}, for {destination}: {packets} packets, {size} bytes"


def _ends(one: Connect | ConnectRow) -> Iterable[str]:
    server = _named(one.server, one.server_owner) if one.server else "-"
    return _at(one.client, one.node), _named(one.called, _service(one)), server


def _destination(row: DropRow) -> str:
    return f"{row.protocol} {_named(row.destination, _service(row))}"


def _service(one: Connect | ConnectRow | Connection | ConnectionRow | DropRow) -> str:
    """Return who an end is: a Service, or one of its endpoints."""
    if one.service and one.owner:
        return f"{one.owner}, of {one.service}"
    return one.owner or (one.service and f"Service {one.service}")


def _arrow(server: str) -> str:
    return f" → {server}" if server != "-" else ""


def _at(place: str, node: str) -> str:
    return place if place == f"Node {node}" else f"{place} on {node}"


def _named(end: str, name: str) -> str:
    return f"{end} ({name})" if name else end


def milliseconds(value: float) -> str:
    """Return a time, with three digits that matter."""
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"
