"""Metrics of a process for Prometheus: counters, gauges and histograms by labels, and their text.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import os
import platform
import resource
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from control.version import PODWIRE

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PROC = Path("/proc/self")
_BEGAN = time.time()
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
Labels = tuple[str, ...]
Read = Callable[[], Mapping[Labels, float]]


class Counter:
    """A number for each combination of labels; a gauge is one that may also be set."""

    def __init__(self, kind: str, name: str, meaning: str, labels: Labels) -> None:
        self._kind, self._name, self._meaning, self._labels = kind, name, meaning, labels
        self._values: dict[Labels, float] = {}

    def add(self, *labels: str, value: float = 1.0) -> None:
        """Add to the number of these labels."""
        self._values[labels] = self._values.get(labels, 0.0) + value

    def set(self, *labels: str, value: float) -> None:
        """Set the number of these labels."""
        self._values[labels] = value

    def lines(self) -> Iterator[str]:
        """Yield the text."""
        yield from _head(self._name, self._kind, self._meaning)
        for labels, value in self._values.items():
            yield f"{self._name}{_shown(self._labels, labels)} {value:.15g}"


class Measured:
    """A gauge, or a counter, that is read when somebody asks."""

    def __init__(self, kind: str, name: str, meaning: str, labels: Labels, read: Read) -> None:
        self._kind, self._name, self._meaning = kind, name, meaning
        self._labels, self._read = labels, read

    def lines(self) -> Iterator[str]:
        """Yield the text."""
        yield from _head(self._name, self._kind, self._meaning)
        for labels, value in self._read().items():
            yield f"{self._name}{_shown(self._labels, labels)} {value:.15g}"


class Histogram:
    """The durations of something, counted in buckets, for each combination of labels."""

    def __init__(self, name: str, meaning: str, labels: Labels, buckets: Iterable[float]) -> None:
        self._name, self._meaning, self._labels = name, meaning, labels
        self._bounds = tuple(buckets)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, *labels: str, value: float) -> None:
        """Count one value."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + value

    def lines(self) -> Iterator[str]:
        """Yield the text."""
        yield from _head(self._name, "histogram", self._meaning)
        names = (*self._labels, "le")
        for labels, counts in self._counts.items():
            total = 0
            for bound, count in zip((*self._bounds, None), counts, strict=True):
                total += count
                edge = "+Inf" if bound is None else f"{bound:g}"
                yield f"{self._name}_bucket{_shown(names, (*labels, edge))} {total}"
            own = _shown(self._labels, labels)
            yield f"{self._name}_sum{own} {self._sums[labels]:.15g}"
            yield f"{self._name}_count{own} {total}"


class Registry:
    """All metrics of a process."""

    def __init__(self) -> None:
        self._all: list[Counter | Measured | Histogram] = []
        self._lasting: list[Counter | Measured | Histogram] = []

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """Make a counter."""
        return self._keep(Counter("counter", name, meaning, labels))

    def gauge(self, name: str, meaning: str, *labels: str) -> Counter:
        """Make a gauge that is set."""
        return self._keep(Counter("gauge", name, meaning, labels))

    def measured(
        self, name: str, meaning: str, *labels: str, read: Read, kind: str = "gauge"
    ) -> None:
        """Make a metric that is read when somebody asks; ``read`` returns values by labels."""
        self._all.append(Measured(kind, name, meaning, labels, read))

    def lasting(self, name: str, meaning: str, *labels: str, read: Read) -> None:
        """Make a gauge that is read when somebody asks, and that ``reset`` keeps."""
        self._lasting.append(Measured("gauge", name, meaning, labels, read))

    def keep(self, *metrics: Counter | Histogram) -> None:
        """Show metrics that something else counts; ``reset`` keeps them."""
        self._lasting += metrics

    def reset(self) -> None:
        """Forget the metrics that are not lasting: what counted them has begun anew."""
        self._all.clear()

    def histogram(
        self, name: str, meaning: str, *labels: str, buckets: Iterable[float]
    ) -> Histogram:
        """Make a histogram."""
        made = Histogram(name, meaning, labels, buckets)
        self._all.append(made)
        return made

    def text(self) -> str:
        """Return the text of all metrics, and of the process."""
        return self.own_text() + "".join(f"{line}\n" for line in _process())

    def own_text(self) -> str:
        """Return the text of all metrics, without the process."""
        lines = (line for metric in (*self._lasting, *self._all) for line in metric.lines())
        return "".join(f"{line}\n" for line in lines)

    def _keep(self, made: Counter) -> Counter:
        self._all.append(made)
        return made


def exponential(start: float, factor: float, count: int) -> tuple[float, ...]:
    """Return buckets as Prometheus' clients make them."""
    return tuple(start * factor**power for power in range(count))


def _head(name: str, kind: str, meaning: str) -> tuple[str, str]:
    return f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"


def _shown(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    pairs = zip(names, values, strict=True)
    return "{" + ",".join(f'{name}="{it.translate(_ESCAPES)}"' for name, it in pairs) + "}"


def _process() -> Iterator[str]:
    """Yield ``process_*`` by the names of Prometheus' clients, and the build."""
    pages = [int(number) for number in (_PROC / "statm").read_text().split()]
    used = resource.getrusage(resource.RUSAGE_SELF)
    for name, kind, value in (
        ("process_cpu_seconds_total", "counter", used.ru_utime + used.ru_stime),
        ("process_open_fds", "gauge", float(len(list((_PROC / "fd").iterdir())))),
        ("process_max_fds", "gauge", float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])),
        ("process_virtual_memory_bytes", "gauge", float(pages[0] * resource.getpagesize())),
        ("process_resident_memory_bytes", "gauge", float(pages[1] * resource.getpagesize())),
        ("process_start_time_seconds", "gauge", _BEGAN),
    ):
        yield f"# TYPE {name} {kind}"
        yield f"{name} {value:.15g}"
    major, minor, *_ = PODWIRE.split(".")
    names = ("major", "minor", "git_version", "compiler", "platform")
    compiler = f"{platform.python_implementation()} {platform.python_version()}"
    build = (major, minor, f"v{PODWIRE}", compiler, f"linux/{os.uname().machine}")
    yield "# TYPE kubernetes_build_info gauge"
    yield f"kubernetes_build_info{_shown(names, build)} 1"
