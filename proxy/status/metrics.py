"""Metrics for Prometheus, under upstream's names if upstream has them."""

import bisect
import threading
from collections.abc import Iterator, Sequence

_BUCKETS = tuple(0.001 * 2**power for power in range(15))  # upstream's: 1 ms to 16 s


class Histogram:
    """A histogram of durations in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect.bisect_left(_BUCKETS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        """Yield the exposition, without its header."""
        total = 0
        for limit, count in zip((*map(str, _BUCKETS), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{limit}"}} {total}'
        yield f"{name}_sum {self._sum}"
        yield f"{name}_count {total}"


class ProxyMetrics:
    """All metrics of the proxy. Any thread may use them."""

    _COUNTERS = {
        "sync_proxy_rules_endpoint_changes_total": "Endpoint changes seen",
        "sync_proxy_rules_service_changes_total": "Service changes seen",
        "sync_failures_total": "Syncs that the kernel refused",
        "rules_disturbed_total": "Times that another program changed the rules",
        "other_proxies_total": "Times that another proxy's rules were found beside ours",
        "stale_conntrack_entries_deleted_total": "Conntrack entries of endpoints that are gone",
    }
    _GAUGES = {
        "sync_proxy_rules_last_timestamp_seconds": "When the last sync succeeded",
        "sync_proxy_rules_last_queued_timestamp_seconds": "When a sync was last asked for",
    }
    _HISTOGRAMS = {
        "sync_proxy_rules_duration_seconds": "Duration of a sync",
        "network_programming_duration_seconds": "From the first change seen to its rules",
    }

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, float] = dict.fromkeys((*self._COUNTERS, *self._GAUGES), 0.0)
        self._histograms = {name: Histogram() for name in self._HISTOGRAMS}

    def add(self, name: str, count: float = 1) -> None:
        """Raise a counter."""
        with self._lock:
            self._values[name] += count

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            self._values[name] = value

    def observe(self, name: str, seconds: float) -> None:
        """Count a duration."""
        with self._lock:
            self._histograms[name].observe(seconds)

    def text(self) -> str:
        """The Prometheus text format, version 0.0.4."""
        with self._lock:
            return "\n".join(
                [
                    *self._scalars(self._COUNTERS, "counter"),
                    *self._scalars(self._GAUGES, "gauge"),
                    *self._durations(),
                    "",
                ]
            )

    def _scalars(self, names: dict[str, str], kind: str) -> Iterator[str]:
        for name, meaning in names.items():
            yield from _header(name, meaning, kind)
            yield f"kubeproxy_{name} {self._values[name]:.15g}"

    def _durations(self) -> Iterator[str]:
        for name, meaning in self._HISTOGRAMS.items():
            yield from _header(name, meaning, "histogram")
            yield from self._histograms[name].lines(f"kubeproxy_{name}")


def _header(name: str, meaning: str, kind: str) -> Sequence[str]:
    return f"# HELP kubeproxy_{name} {meaning}.", f"# TYPE kubeproxy_{name} {kind}"
