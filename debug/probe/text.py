"""What a probe found, as text. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from debug.probe.connects import Connect, ConnectRow
from debug.probe.drops import DropRow
from debug.probe.histogram import Latency, bars
from debug.probe.retransmits import Retransmit
from lab.report import columns

_CONNECTS = (
    *("CLIENT", "CALLED", "ANSWERS", "OUTCOME"),
    *("COUNT", "MEDIAN", "P99", "LONGEST"),
)
_RETRANSMITS = ("SENDER", "TO", "SERVICE", "WHAT", "PACKETS")
_DROPS = ("PLACE", "FUNCTION", "REASON", "FOR", "PACKETS", "BYTES")
_HEADERS = {"connects": _CONNECTS, "retransmits": _RETRANSMITS, "drops": _DROPS}
_NONE = {
    "connects": "no connect ended, and none waits",
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
        lines += ["", f"{service}: {latency.count} answered, in milliseconds", *bars(latency)]
    return "\n".join(lines)


def _cells(row: Struct) -> tuple[str, ...]:
    if isinstance(row, ConnectRow):
        times = (row.latency.median_ms, row.latency.p99_ms, row.latency.most_ms)
        return (*_ends(row), row.outcome, str(row.latency.count), *map(milliseconds, times))
    if isinstance(row, Retransmit):
        sender = _at(row.sender, row.node)
        return sender, _named(row.peer, row.owner), row.service or "-", row.what, str(row.packets)
    assert isinstance(row, DropRow)  # noqa: S101  # there are no others
    place = _at(row.place, row.node)
    counts = str(row.packets), str(row.bytes)
    return place, row.function or "?", row.reason, _destination(row), *counts


def line(one: Struct) -> str:
    """Return what happened as one line, of -f."""
    if isinstance(one, Connect):
        client, called, server = _ends(one)
        who = f" by {one.command} ({one.pid})" if one.command else ""
        answers = f" → {server}" if server != "-" else ""
        return f"{client} → {called}{answers}: {one.outcome}, {milliseconds(one.took_ms)}{who}"
    if isinstance(one, Retransmit):
        sender, to, service, what, _ = _cells(one)
        return f"{sender} → {to}: {what} again{f' (Service {service})' if service != '-' else ''}"
    place, function, reason, destination, packets, size = _cells(one)
    return f"{place}: {reason} at {function}, for {destination}: {packets} packets, {size} bytes"


def _ends(one: Connect | ConnectRow) -> Iterable[str]:
    server = _named(one.server, one.server_owner) if one.server else "-"
    name = f"Service {one.service}" if one.service and not one.owner else one.owner
    service = f", of {one.service}" if one.service and one.owner else ""
    return _at(one.client, one.node), _named(one.called, f"{name}{service}"), server


def _destination(row: DropRow) -> str:
    service = f", of {row.service}" if row.service and row.owner else ""
    name = f"{row.owner}{service}" if row.owner else row.service and f"Service {row.service}"
    return f"{row.protocol} {_named(row.destination, name)}"


def _at(place: str, node: str) -> str:
    return place if place == f"Node {node}" else f"{place} on {node}"


def _named(end: str, name: str) -> str:
    return f"{end} ({name})" if name else end


def milliseconds(value: float) -> str:
    """Return a time, with three digits that matter."""
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"
