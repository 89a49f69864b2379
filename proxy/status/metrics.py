"""Metrics for Prometheus: kube-proxy 1.36's, with its labels and buckets, and some of our own."""

import bisect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from proxy.model.values import Family

_SYNC_BUCKETS = tuple(0.001 * 2**power for power in range(15))  # 1 ms to 16 s
_PROGRAMMING_BUCKETS = (
    *(0.25, 0.5),
    *map(float, range(1, 60)),
    *map(float, range(60, 120, 5)),
    *map(float, range(120, 301, 30)),
)
_FAMILY = ("ip_family",)
_TABLE = ("ip_family", "table")
_NFTABLES = frozenset({"nftables", "ebpf"})  # ebpf stands on nftables' table
_IPTABLES = frozenset({"iptables"})


class Metric(Struct, frozen=True):
    """What a metric is. ``modes`` are those that have it; None means all."""

    kind: str
    meaning: str
    labels: tuple[str, ...] = ()
    modes: frozenset[str] | None = None
    buckets: tuple[float, ...] = ()


METRICS: Mapping[str, Metric] = {
    "sync_proxy_rules_duration_seconds": Metric(
        "histogram", "Duration of a sync", _FAMILY, None, _SYNC_BUCKETS
    ),
    "sync_full_proxy_rules_duration_seconds": Metric(
        "histogram", "Duration of a sync that writes all rules", _FAMILY, None, _SYNC_BUCKETS
    ),
    "sync_partial_proxy_rules_duration_seconds": Metric(
        "histogram", "Duration of a sync that writes changes", _FAMILY, None, _SYNC_BUCKETS
    ),
    "sync_proxy_rules_last_timestamp_seconds": Metric(
        "gauge", "When the last sync succeeded", _FAMILY
    ),
    "sync_proxy_rules_last_queued_timestamp_seconds": Metric(
        "gauge", "When a sync was last asked for", _FAMILY
    ),
    "network_programming_duration_seconds": Metric(
        "histogram",
        "From the change that the EndpointSlice names to its rules",
        _FAMILY,
        None,
        _PROGRAMMING_BUCKETS,
    ),
    "sync_proxy_rules_endpoint_changes_pending": Metric(
        "gauge", "Services whose endpoints wait for a sync"
    ),
    "sync_proxy_rules_endpoint_changes_total": Metric("counter", "Endpoint changes seen"),
    "sync_proxy_rules_service_changes_pending": Metric("gauge", "Services that wait for a sync"),
    "sync_proxy_rules_service_changes_total": Metric("counter", "Service changes seen"),
    "sync_proxy_rules_no_local_endpoints_total": Metric(
        "gauge",
        "Service ports with a Local traffic policy and endpoints on other nodes only",
        ("ip_family", "traffic_policy"),
    ),
    "sync_proxy_rules_iptables_restore_failures_total": Metric(
        "counter", "Failed writes by iptables-restore", _FAMILY, _IPTABLES
    ),
    "sync_proxy_rules_iptables_partial_restore_failures_total": Metric(
        "counter", "Failed writes of changes by iptables-restore", _FAMILY, _IPTABLES
    ),
    "sync_proxy_rules_nftables_sync_failures_total": Metric(
        "counter", "Failed writes of nftables' table", _FAMILY, _NFTABLES
    ),
    "sync_proxy_rules_iptables_total": Metric(
        "gauge", "Rules of the proxy in iptables' tables", _TABLE, _IPTABLES
    ),
    "sync_proxy_rules_iptables_last": Metric(
        "gauge", "Rules that the last sync wrote by iptables-restore", _TABLE, _IPTABLES
    ),
    "sync_proxy_rules_nftables_cleanup_failures_total": Metric(
        "counter", "Failed removals of what other modes and earlier runs left", _FAMILY, _NFTABLES
    ),
    "iptables_ct_state_invalid_dropped_packets_total": Metric(
        "counter", "Packets dropped because conntrack calls them INVALID", (), _IPTABLES
    ),
    "iptables_localhost_nodeports_accepted_packets_total": Metric(
        "counter", "First packets of flows to NodePorts at 127.0.0.1", (), _IPTABLES
    ),
    "conntrack_reconciler_deleted_entries_total": Metric(
        "counter", "Conntrack entries of endpoints that are gone", _FAMILY
    ),
    "conntrack_reconciler_sync_duration_seconds": Metric(
        "histogram", "Duration of looking for such entries", _FAMILY, None, _SYNC_BUCKETS
    ),
    "proxy_healthz_total": Metric("counter", "Answers of /healthz", ("code",)),
    "proxy_livez_total": Metric("counter", "Answers of /livez", ("code",)),
    # Our own.
    "sync_failures_total": Metric("counter", "Syncs that the kernel refused"),
    "rules_disturbed_total": Metric("counter", "Times that another program changed the rules"),
    "other_proxies_total": Metric("counter", "Times that another proxy's rules were found"),
    "stale_conntrack_entries_deleted_total": Metric(
        "counter", "Conntrack entries of endpoints that are gone, of both families"
    ),
}
FAILURES: Mapping[str, str] = {  # by mode: the counter of failed writes
    "iptables": "sync_proxy_rules_iptables_restore_failures_total",
    "nftables": "sync_proxy_rules_nftables_sync_failures_total",
    "ebpf": "sync_proxy_rules_nftables_sync_failures_total",
}
CLEANUP_FAILURES: Mapping[str, str] = {  # by mode: the counter of failed removals
    "nftables": "sync_proxy_rules_nftables_cleanup_failures_total",
    "ebpf": "sync_proxy_rules_nftables_cleanup_failures_total",
}
COUNTED: Mapping[str, str] = {  # by the kernel's name of a counter: the metric
    "ct_state_invalid_dropped_pkts": "iptables_ct_state_invalid_dropped_packets_total",
    "localhost_nps_accepted_pkts": "iptables_localhost_nodeports_accepted_packets_total",
}
PARTIAL_FAILURES: Mapping[str, str] = {  # by mode: of those, the counter of failed changes
    "iptables": "sync_proxy_rules_iptables_partial_restore_failures_total",
}

Labels = tuple[str, ...]  # the values of a metric's labels, in their order


class Histogram:
    """A histogram of durations in seconds."""

    def __init__(self, buckets: Sequence[float]) -> None:
        self._buckets = buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect.bisect_left(self._buckets, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Yield the exposition, without its header. ``labels`` are written already."""
        total, first = 0, f"{labels}," if labels else ""
        for limit, count in zip((*map(_number, self._buckets), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{{first}le="{limit}"}} {total}'
        yield f"{name}_sum{_braced(labels)} {self._sum}"
        yield f"{name}_count{_braced(labels)} {total}"


class ProxyMetrics:
    """All metrics of the proxy in one mode. Any thread may use them."""

    def __init__(self, mode: str = "nftables", families: Iterable[Family] = tuple(Family)) -> None:
        self._families = [f"IPv{family}" for family in families]
        self._metrics = {
            name: metric
            for name, metric in METRICS.items()
            if metric.modes is None or mode in metric.modes
        }
        # Brings up to date what the kernel counts. It may block.
        self.refresh: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._values: dict[str, dict[Labels, float]] = {name: {} for name in self._metrics}
        self._histograms: dict[str, dict[Labels, Histogram]] = {name: {} for name in self._metrics}
        for name, metric in self._metrics.items():
            if metric.labels in ((), _FAMILY):
                self._prepare(name, metric)

    def _prepare(self, name: str, metric: Metric) -> None:
        """Show a metric from the beginning, so that rates have a first value."""
        for labels in self._labels(metric, None, ()):
            if metric.kind == "histogram":
                self._histograms[name][labels] = Histogram(metric.buckets)
            else:
                self._values[name][labels] = 0.0

    def add(self, name: str, count: float = 1, label: str = "", family: int | None = None) -> None:
        """Raise a counter: of one family, or of all that are served. ``label`` is the other one."""
        with self._lock:
            for labels in self._labels(self._metrics[name], family, (label,) if label else ()):
                self._values[name][labels] = self._values[name].get(labels, 0.0) + count

    def set(self, name: str, value: float, label: str = "", family: int | None = None) -> None:
        """Set a gauge; see ``add``."""
        with self._lock:
            for labels in self._labels(self._metrics[name], family, (label,) if label else ()):
                self._values[name][labels] = value

    def observe(self, name: str, seconds: float, family: int | None = None) -> None:
        """Count a duration: of one family, or of all that are served."""
        with self._lock:
            for labels in self._labels(self._metrics[name], family, ()):
                self._histograms[name][labels].observe(seconds)

    def _labels(self, metric: Metric, family: int | None, others: Labels) -> list[Labels]:
        if "ip_family" not in metric.labels:
            return [others]
        families = self._families if family is None else [f"IPv{family}"]
        return [(one, *others) for one in families]

    def text(self) -> str:
        """The Prometheus text format, version 0.0.4."""
        with self._lock:
            return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for name, metric in self._metrics.items():
            full = f"kubeproxy_{name}"
            yield f"# HELP {full} {metric.meaning}."
            yield f"# TYPE {full} {metric.kind}"
            for labels, histogram in self._histograms[name].items():
                yield from histogram.lines(full, _written(metric.labels, labels))
            for labels, value in self._values[name].items():
                yield f"{full}{_braced(_written(metric.labels, labels))} {value:.15g}"


def _written(names: Labels, values: Labels) -> str:
    return ",".join(f'{name}="{value}"' for name, value in zip(names, values, strict=True))


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _number(limit: float) -> str:
    """Write a bucket's limit as Go does: 1, not 1.0."""
    return f"{limit:.15g}"
