"""Tables of a report: pure."""

from collections.abc import Iterable, Iterator, Sequence

from debug.output import with_port
from debug.views.report import EndpointView, FrontendView, NodeEntry, NodeReport, ServicesReport
from lab.report import columns

SERVICES = ("SERVICE", "KIND", "ADDRESS", "ENDPOINTS", "HOW", "NODES")
ENDPOINTS = ("SERVICE", "KIND", "ADDRESS", "ENDPOINT", "SHARE", "OWNER", "RUNS ON", "NODES")
_HOW = {"not-pods": "masquerades outsiders", "always": "masquerades", "this-node": "keeps sources"}


def services(report: ServicesReport) -> Iterator[str]:
    """Yield the lines of ``podwire services``: a row for each address of a Service."""
    rows = [row for one in report.frontends for row in _services(one, report)]
    yield from _table(SERVICES, rows, report)


def endpoints(report: ServicesReport) -> Iterator[str]:
    """Yield the lines of ``podwire endpoints``: a row for each endpoint of each address."""
    rows = [row for one in report.frontends for row in _endpoints(one, report)]
    yield from _table(ENDPOINTS, rows, report)


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], report: ServicesReport
) -> Iterator[str]:
    yield from (_node(one) for one in report.nodes)
    yield ""
    yield columns(header, rows) if rows else "no Service is there"
    wrong = [line for one in report.frontends for line in _wrong(one)]
    if wrong:
        yield from ("", "What differs:", *wrong)
    yield from (f"not read: {line}" for line in report.unread)


def _node(one: NodeReport) -> str:
    mode = one.mode or "no proxy answers"
    lines = [f"{one.node}: {mode}; installed: {', '.join(one.back_ends) or 'nothing'}"]
    return "\n".join([*lines, *(f"  ! {fault}" for fault in one.faults)])


def _services(one: FrontendView, report: ServicesReport) -> Iterator[Sequence[str]]:
    for entry, nodes in _grouped(one.nodes, report):
        mark = "! " if one.is_wrong else ""
        yield (
            mark + (one.service or "?"),
            one.kind,
            _at(one),
            _count(entry),
            ", ".join(_how(one, entry)),
            nodes,
        )


def _endpoints(one: FrontendView, report: ServicesReport) -> Iterator[Sequence[str]]:
    for entry, nodes in _grouped(one.nodes, report):
        head = (("! " if one.is_wrong else "") + (one.service or "?"), one.kind, _at(one))
        for each, of in _pools(entry):
            share = f"{each.share:.1%}{of}"
            where = with_port(each.address, each.port)
            yield *head, where, share, each.owner or "-", each.node or "-", nodes
        if not entry.endpoints:
            yield *head, _count(entry), "", "", "", nodes


def _pools(entry: NodeEntry) -> Iterator[tuple[EndpointView, str]]:
    yield from ((each, "") for each in entry.endpoints)
    if entry.inside is not None and entry.inside != entry.endpoints:
        yield from ((each, " from inside") for each in entry.inside)


def _grouped(
    entries: Sequence[NodeEntry], report: ServicesReport
) -> Iterator[tuple[NodeEntry, str]]:
    """Yield each different entry once, with the names of its nodes."""
    groups: dict[NodeEntry, list[str]] = {}
    for entry in entries:
        same = NodeEntry("", "", *(getattr(entry, name) for name in entry.__struct_fields__[2:]))
        groups.setdefault(same, []).append(entry.node)
    for entry, nodes in groups.items():
        yield entry, "all" if len(nodes) == len(report.nodes) > 1 else ", ".join(nodes)


def _at(one: FrontendView) -> str:
    name = f" {one.name}" if one.name else ""
    return f"{with_port(one.address or '*', one.port)}/{one.protocol}{name}"


def _count(entry: NodeEntry) -> str:
    count = str(len(entry.endpoints))
    if entry.inside is not None and len(entry.inside) != len(entry.endpoints):
        count += f" ({len(entry.inside)} from inside)"
    if entry.endpoints:
        return count
    return f"{count}, {entry.refusal}" if entry.refusal else f"{count}, missing"


def _how(one: FrontendView, entry: NodeEntry) -> Iterator[str]:
    if one.local:
        yield "local only"
    if entry.affinity:
        yield f"sticky {entry.affinity} s"
    if entry.sources is not None:
        yield f"admits {' '.join(entry.sources) or 'nobody'}"
    if entry.masquerade in _HOW:
        yield _HOW[entry.masquerade]
    if len({each.share for each in entry.endpoints}) > 1:
        yield "uneven"


def _wrong(one: FrontendView) -> Iterator[str]:
    about = f"{one.service or 'no Service'} {one.kind} {_at(one)}"
    for line, nodes in _by_line(one.nodes):
        yield f"  ! {about} on {', '.join(nodes)}: {line}"
    if one.differs and not any(entry.wrong for entry in one.nodes):
        yield f"  ! {about}: nodes differ"


def _by_line(entries: Iterable[NodeEntry]) -> Iterator[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for entry in entries:
        for line in entry.wrong:
            found.setdefault(line, []).append(entry.node)
    yield from found.items()
