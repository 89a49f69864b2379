"""What the server counts of its requests, by upstream's names and labels.

Source: k8s.io/apiserver/pkg/endpoints/metrics
"""

from functools import lru_cache

from control.api.kinds import Kind
from control.metrics import Registry
from control.server.state.watch_cache import WatchCache
from control.server.wire.info import RequestInfo

_VERBS = {"create": "POST", "update": "PUT"}
_CHANGES = ("create", "update", "patch", "delete", "deletecollection")
_BUCKETS = (
    *(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0),
    *(4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
_LABELS = (
    "component",
    "dry_run",
    "group",
    "resource",
    "scope",
    "subresource",
    "verb",
    "version",
)


class RequestCounts:
    """Counters of requests on kinds; a request begins, and is answered."""

    def __init__(self, registry: Registry, cache: WatchCache) -> None:
        total = "Counter of apiserver requests broken out for each verb, dry run value, group,"
        self._total = registry.counter(
            "apiserver_request_total",
            f"{total} version, resource, scope, component, and HTTP response code.",
            "code",
            *_LABELS,
        )
        self._seconds = registry.histogram(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds for each verb, dry run value, group,"
            " version, resource, subresource, scope and component.",
            *_LABELS,
            buckets=_BUCKETS,
        )
        self._inflight = {"mutating": 0, "readOnly": 0}
        self._long: dict[tuple[str, ...], int] = {}
        registry.measured(
            "apiserver_current_inflight_requests",
            "Maximal number of currently used inflight request limit of this apiserver per"
            " request kind in last second.",
            "request_kind",
            read=lambda: {(kind,): count for kind, count in self._inflight.items()},
        )
        registry.measured(
            "apiserver_longrunning_requests",
            "Gauge of all active long-running apiserver requests broken out by verb, group,"
            " version, resource, scope and component.",
            *_LABELS,
            read=lambda: dict(self._long),
        )
        registry.measured(
            "apiserver_storage_objects",
            "Number of stored objects at the time of last check split by kind.",
            "resource",
            read=lambda: {(name,): count for name, count in cache.counts().items()},
        )

    def begin(self, info: RequestInfo, *, long: bool) -> None:
        """Count a request that has begun."""
        if long:
            labels = _labels(info, dry_run=False)
            self._long[labels] = self._long.get(labels, 0) + 1
        else:
            self._inflight[_sort(info)] += 1

    def end(
        self, info: RequestInfo, code: int, seconds: float, *, long: bool, dry_run: bool
    ) -> None:
        """Count a request that has been answered; those that run long have no duration."""
        labels = _labels(info, dry_run=dry_run)
        self._total.add(str(code), *labels)
        if long:
            self._long[_labels(info, dry_run=False)] -= 1
            return
        self._inflight[_sort(info)] -= 1
        self._seconds.observe(*labels, value=seconds)


def _sort(info: RequestInfo) -> str:
    return "mutating" if info.verb in _CHANGES else "readOnly"


def _labels(info: RequestInfo, *, dry_run: bool) -> tuple[str, ...]:
    scope = "resource" if info.name else "namespace" if info.namespace else "cluster"
    if info.verb == "create":
        scope = "resource"
    return _known_labels(info.kind, info.verb, info.subresource, scope, dry_run)


@lru_cache(maxsize=1024)
def _known_labels(
    kind: Kind, verb: str, subresource: str, scope: str, dry_run: bool
) -> tuple[str, ...]:
    """Return the labels of requests, which are few."""
    return (
        "apiserver",
        "All" if dry_run else "",
        kind.group,
        kind.plural,
        scope,
        subresource,
        _VERBS.get(verb, verb.upper()),
        kind.version,
    )
