"""Counts queries by CoreDNS' names. A cell is counted in by one thread, and read by another."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import dns.rcode
import dns.rdatatype

from control.dns.message import Query, read_query
from control.dns.names import Name, show

_SECONDS = tuple(0.00025 * 2**power for power in range(16))
_BYTES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000)
QUICK = _SECONDS[0]
_MOST_EXACT = 10_000  # cells; then sizes count as their bucket's bound, for who sends every size
_SERVER = 'server="dns://:53"'
# The types that have a label of their own, as in CoreDNS; each other is "other".
_TYPES = frozenset(
    (
        *("A", "AAAA", "MX", "SOA", "CNAME", "PTR", "TXT", "NS", "SRV", "DS", "DNSKEY", "RRSIG"),
        *("NSEC", "NSEC3", "HTTPS", "SVCB", "IXFR", "AXFR", "ANY"),
    )
)


@dataclass(frozen=True, slots=True)
class Labels:
    """What the queries of one cell have in common. Sizes are in bytes."""

    proto: str
    family: int
    zone: Name
    kind: str
    rcode: int
    dnssec: bool
    asked: int
    answered: int
    plugin: str


@dataclass(slots=True)
class Cell:
    """The count of equal queries, and how long their answers took.

    ``slow`` has the counts of the buckets after the first one.
    """

    labels: Labels
    count: int = 0
    seconds: float = 0.0
    slow: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        """Count a query."""
        self.count += 1
        self.seconds += seconds
        if seconds > QUICK:
            self.slow[bisect_left(_SECONDS, seconds)] += 1


class Cells:
    """The cells of one thread."""

    def __init__(self, proto: str, family: int) -> None:
        self._proto, self._family = proto, family
        self._cells: dict[Labels, Cell] = {}

    def of(
        self, packet: bytes, zone: Name, rcode: int, answered: int, plugin: str = "kubernetes"
    ) -> Cell:
        """Return the cell of a query and its response's size; ``plugin`` is who answered."""
        query = read_query(packet)
        kind, dnssec = "other", False
        if isinstance(query, Query):
            name = dns.rdatatype.to_text(dns.rdatatype.RdataType.make(query.kind))
            kind = name if name in _TYPES else "other"
            dnssec = query.edns is not None and query.edns.dnssec
        sizes = len(packet), answered
        if len(self._cells) >= _MOST_EXACT:
            sizes = _coarse(sizes[0]), _coarse(sizes[1])
        labels = Labels(self._proto, self._family, zone, kind, rcode, dnssec, *sizes, plugin)
        return self._cells.get(labels) or self._cells.setdefault(labels, Cell(labels))

    def snapshot(self) -> list[Cell]:
        """Return the cells so far."""
        return list(self._cells.values())


def _coarse(size: int) -> int:
    return _BYTES[min(bisect_left(_BYTES, size), len(_BYTES) - 1)]


def render(cells: Iterable[Cell], upkeep: Iterable[str] = ()) -> str:
    """Return the metrics in Prometheus' text format; ``upkeep`` are lines about something else."""
    every = list(cells)
    lines = [
        *_requests(every),
        *_responses(every),
        *_durations(every),
        *_sizes(every, "request", "asked"),
        *_sizes(every, "response", "answered"),
        *upkeep,
    ]
    return "".join(f"{line}\n" for line in lines)


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _common(labels: Labels) -> str:
    zone = show(labels.zone) if labels.zone else "dropped"
    return f'{_SERVER},zone="{zone}",view=""'


def _requests(cells: list[Cell]) -> Iterator[str]:
    name = "coredns_dns_requests_total"
    yield from _head(name, "counter", "Counter of DNS requests made per zone, protocol and family.")
    requests: Counter[str] = Counter()
    dnssec: Counter[str] = Counter()
    for cell in cells:
        labels = cell.labels
        common = _common(labels)
        requests[
            f'{common},proto="{labels.proto}",family="{labels.family}",type="{labels.kind}"'
        ] += cell.count
        dnssec[common] += cell.count * labels.dnssec
    yield from _samples(name, requests)
    name = "coredns_dns_do_requests_total"
    yield from _head(name, "counter", "Counter of DNS requests with DO bit set per zone.")
    yield from _samples(name, dnssec)


def _responses(cells: list[Cell]) -> Iterator[str]:
    name = "coredns_dns_responses_total"
    yield from _head(name, "counter", "Counter of response status codes.")
    counts: Counter[str] = Counter()
    for cell in cells:
        rcode = dns.rcode.to_text(dns.rcode.Rcode.make(cell.labels.rcode))
        counts[f'{_common(cell.labels)},rcode="{rcode}",plugin="{cell.labels.plugin}"'] += (
            cell.count
        )
    yield from _samples(name, counts)


def _samples(name: str, counts: Counter[str]) -> Iterator[str]:
    for labels, count in sorted(counts.items()):
        yield f"{name}{{{labels}}} {count}"


def _durations(cells: list[Cell]) -> Iterator[str]:
    name = "coredns_dns_request_duration_seconds"
    yield from _head(name, "histogram", "Histogram of the time each request took per zone.")
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(_common(cell.labels), []).append(cell)
    for labels, group in sorted(groups.items()):
        counts: Counter[int] = Counter()
        for cell in group:
            slow = Counter(dict(cell.slow))
            counts += slow
            counts[0] += cell.count - slow.total()
        yield from _histogram(name, labels, _SECONDS, counts, sum(c.seconds for c in group))


def _sizes(cells: list[Cell], which: str, attribute: str) -> Iterator[str]:
    name = f"coredns_dns_{which}_size_bytes"
    yield from _head(name, "histogram", f"Size of the {which} in bytes.")
    groups: dict[str, Counter[int]] = {}
    for cell in cells:
        labels = f'{_common(cell.labels)},proto="{cell.labels.proto}"'
        groups.setdefault(labels, Counter())[getattr(cell.labels, attribute)] += cell.count
    for labels, sizes in sorted(groups.items()):
        counts: Counter[int] = Counter()
        for size, count in sizes.items():
            counts[bisect_left(_BYTES, size)] += count
        total = sum(size * count for size, count in sizes.items())
        yield from _histogram(name, labels, _BYTES, counts, total)


def _histogram(
    name: str, labels: str, bounds: tuple[float, ...], counts: Counter[int], total: float
) -> Iterator[str]:
    reached = 0
    for place, bound in enumerate(bounds):
        reached += counts[place]
        yield f'{name}_bucket{{{labels},le="{bound:g}"}} {reached}'
    reached += counts[len(bounds)]
    yield f'{name}_bucket{{{labels},le="+Inf"}} {reached}'
    yield f"{name}_sum{{{labels}}} {total:g}"
    yield f"{name}_count{{{labels}}} {reached}"
