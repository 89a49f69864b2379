"""Counts flows by Service and endpoint, and makes rates of two readings: pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from debug.flows.naming import FlowNames
from debug.kernel.conntrack import Direction, Tracked
from debug.output import with_port

MOST = 500_000  # flows of a node that are remembered from reading to reading, some 100 MB


class Row(Struct, frozen=True, omit_defaults=True):
    """A Service's port, or one of its endpoints, over all nodes.

    ``packets`` and ``bytes`` a second are None where no node counts them.
    """

    service: str  # namespace/name:port
    endpoint: str = ""  # ADDRESS:PORT; "" of all
    owner: str = ""  # "Pod default/web-1"
    open: int = 0  # flows that are tracked
    new: float = 0.0  # connections a second
    packets: float | None = None
    bytes: float | None = None

    @property
    def rank(self) -> tuple[float, float, int, str]:
        """The sort key; the greatest comes first."""
        return self.new, self.bytes or 0.0, self.open, self.service


@dataclass(slots=True)
class Sum:
    """What one interval added to a Service or an endpoint."""

    open: int = 0
    new: int = 0
    packets: int = 0
    bytes: int = 0
    counted: bool = False

    def add(self, other: "Sum") -> None:
        """Add another one."""
        self.open += other.open
        self.new += other.new
        self.packets += other.packets
        self.bytes += other.bytes
        self.counted = self.counted or other.counted


Place = tuple[str, str]  # a Service's port, an endpoint; "" is all of them
Sums = dict[Place, Sum]
Traffic = tuple[int, int]  # packets, bytes


@dataclass(slots=True)
class NodeCounter:
    """The flows of a node at the last reading, and the connections that its programs counted."""

    _seen: dict[int, Traffic] = field(default_factory=dict)
    _programs: dict[str, int] = field(default_factory=dict)
    _began: bool = False
    left_out: int = 0  # flows of the last reading that there was no room for

    def take(
        self, flows: Iterable[Tracked], programs: Mapping[str, int], names: FlowNames
    ) -> tuple[Sums, dict[Place, str]]:
        """Take a reading; return what it added, and the addresses of endpoints."""
        sums: Sums = {}
        owners: dict[Place, str] = {}
        now: dict[int, Traffic] = {}
        self.left_out = 0
        for flow in flows:
            called = names.called(flow) if flow.translated else None
            if called is None:
                continue
            if len(now) >= MOST:
                self.left_out += 1
                continue
            service = "/".join(called.service) + (f":{called.port}" if called.port else "")
            at = service, _where(flow.reply)
            owners[at] = flow.reply.source
            sums.setdefault(at, Sum()).add(self._grown(flow))
            now[flow.id] = _traffic(flow)
        self._add_programs(programs, sums)
        self._seen, self._programs, self._began = now, dict(programs), True
        return sums, owners

    def _grown(self, flow: Tracked) -> Sum:
        packets, size = _traffic(flow)
        before = self._seen.get(flow.id)
        was = before or ((0, 0) if self._began else (packets, size))
        is_new = self._began and before is None
        more = max(packets - was[0], 0), max(size - was[1], 0)
        return Sum(1, int(is_new), *more, flow.original.packets is not None)

    def _add_programs(self, programs: Mapping[str, int], sums: Sums) -> None:
        """Count the connections of mode ebpf, of which conntrack sees only some."""
        for service, count in programs.items():
            more = count - self._programs.get(service, 0 if self._began else count)
            tracked = [one for (of, _), one in sums.items() if of == service]
            unseen = more - sum(one.new for one in tracked)
            if unseen > 0:
                sums.setdefault((service, ""), Sum()).add(Sum(new=unseen))


def _traffic(flow: Tracked) -> Traffic:
    there, back = flow.original, flow.reply
    packets = (there.packets or 0) + (back.packets or 0)
    return packets, (there.bytes or 0) + (back.bytes or 0)


def _where(reply: Direction) -> str:
    return with_port(reply.source, reply.source_port)


def rows(sums: Sums, owners: Mapping[Place, str], names: FlowNames, seconds: float) -> list[Row]:
    """Return a row for each Service's port with its endpoints after it, the busiest first."""
    totals: dict[str, Sum] = {}
    for (service, _), one in sums.items():
        totals.setdefault(service, Sum()).add(one)
    parts: dict[str, list[Row]] = {}
    for (service, endpoint), one in sums.items():
        if endpoint:
            owner = names.owner(owners.get((service, endpoint), ""))
            parts.setdefault(service, []).append(_row(service, endpoint, owner, one, seconds))
    whole = (_row(service, "", "", one, seconds) for service, one in totals.items())
    found: list[Row] = []
    for row in sorted(whole, key=lambda one: one.rank, reverse=True):
        found += [row, *sorted(parts.get(row.service, ()), key=lambda one: one.rank, reverse=True)]
    return found


def _row(service: str, endpoint: str, owner: str, one: Sum, seconds: float) -> Row:
    packets = one.packets / seconds if one.counted else None
    size = one.bytes / seconds if one.counted else None
    return Row(service, endpoint, owner, one.open, one.new / seconds, packets, size)


def merged(parts: Iterable[Sums]) -> Sums:
    """Add up what nodes counted: only the node that translates a flow counts it."""
    found: Sums = {}
    for part in parts:
        for at, one in part.items():
            found.setdefault(at, Sum()).add(one)
    return found
