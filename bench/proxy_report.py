"""What was measured of the proxy, kept in files and shown."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles

from bench.common import draw

_DIRECT = "straight to the pod"


def _pair() -> list[list[float]]:
    return [[], []]


@dataclass
class Result:
    """What was measured of one backend with some number of Services."""

    backend: str
    services: int
    loads: list[float] = field(default_factory=list)  # seconds
    load_busy: float = 0.0  # processor seconds of the last of them
    changes: list[float] = field(default_factory=list)  # seconds
    memory: float = 0.0  # megabytes
    most_memory: float = 0.0
    busy: float = 0.0  # processors at 50 changes a second
    connect: list[list[float]] = field(default_factory=_pair)  # seconds: to the pod, the Service
    bare: list[float] = field(default_factory=list)  # to a pod, on a node without a proxy
    transfer: list[list[float]] = field(default_factory=_pair)  # bytes a second, as connect

    @property
    def label(self) -> str:
        """Which it is, in a chart."""
        return f"{self.backend:16} {self.services:6,}"

    @property
    def load(self) -> float:
        """The median."""
        return median(self.loads) if self.loads else 0.0

    @property
    def p50(self) -> float:
        """Of the changes: milliseconds."""
        return median(self.changes) * 1e3 if self.changes else 0.0

    @property
    def p99(self) -> float:
        """Of the changes: milliseconds."""
        return quantiles(self.changes, n=100)[98] * 1e3 if len(self.changes) > 1 else self.p50

    @property
    def cost(self) -> float:
        """A new connection to the Service, as a multiple of one to the pod."""
        return _ratio(self.connect)

    @property
    def whole_cost(self) -> float:
        """The same as a multiple of one to a pod on a node without a proxy."""
        return _ratio([self.bare, self.connect[1]])

    @property
    def rate(self) -> float:
        """Throughput to the Service, as a share of that to the pod."""
        return _ratio(self.transfer)


def _ratio(pair: list[list[float]]) -> float:
    return median(pair[1]) / median(pair[0]) if pair[0] else 0.0


def save(results: Iterable[Result], path: Path) -> None:
    """Keep results, to be shown with those of other runs."""
    path.write_text(json.dumps([asdict(one) for one in results]))


def read(paths: Iterable[Path]) -> list[Result]:
    """Results that were kept."""
    return [Result(**one) for path in paths for one in json.loads(path.read_text())]


def show(results: list[Result]) -> None:
    """The figures, and each kind of them drawn."""
    results = sorted(results, key=lambda one: (one.services, one.backend))
    _table(results)
    for title, value, text in _CHARTS:
        draw(title, [(one.label, value(one), text(one)) for one in results])


_CHARTS: tuple[tuple[str, Callable[[Result], float], Callable[[Result], str]], ...] = (
    (
        "first load, from the process's start to its last rule",
        lambda one: one.load,
        lambda one: f"{one.load:.2f} s",
    ),
    (
        "one endpoint changed, from the API's write to the kernel",
        lambda one: one.p50,
        lambda one: f"{one.p50:.1f} ms, p99 {one.p99:.1f} ms",
    ),
    ("processor at 50 changes a second", lambda one: one.busy, lambda one: f"{one.busy:.0%}"),
    (
        "memory",
        lambda one: one.memory,
        lambda one: f"{one.memory:.0f} MB, at most {one.most_memory:.0f} MB",
    ),
    (
        f"a new connection, beside one {_DIRECT}",
        lambda one: one.cost,
        lambda one: f"{one.cost:.2f} x",
    ),
    (
        "a new connection, beside one on a node without a proxy",
        lambda one: one.whole_cost,
        lambda one: f"{one.whole_cost:.2f} x",
    ),
    (f"throughput, beside that {_DIRECT}", lambda one: one.rate, lambda one: f"{one.rate:.2f} x"),
)


def _table(results: list[Result]) -> None:
    head = (
        "backend",
        "Services",
        "first load",
        "of that busy",
        "change p50",
        "p99",
        "memory",
        "at most",
        "50/s takes",
        "connect",
        "to bare",
        "throughput",
    )
    print(
        "{:16} {:>8} {:>11} {:>13} {:>11} {:>10} {:>7} {:>7} {:>11} {:>8} {:>8} {:>11}".format(
            *head
        )
    )
    for one in results:
        print(
            f"{one.backend:16} {one.services:8,} {one.load:9.2f} s {one.load_busy:11.2f} s"
            f" {one.p50:8.1f} ms {one.p99:7.1f} ms {one.memory:4.0f} MB {one.most_memory:4.0f} MB"
            f" {one.busy:11.0%} {one.cost:7.2f}x {one.whole_cost:7.2f}x {one.rate:10.2f}x"
        )
