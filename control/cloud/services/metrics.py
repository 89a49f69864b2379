"""The metrics of the service controller, by upstream's names.

Source: k8s.io/cloud-provider/controllers/service/metrics.go
"""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from control.client.cache import Key
from control.metrics import Registry, exponential

_BUCKETS = exponential(1, 2, 15)


class ServiceMetrics:
    """Counts updates of load balancers after changes of nodes, and how long they take."""

    def __init__(self, registry: Registry) -> None:
        self._synced = registry.counter(
            "service_controller_loadbalancer_sync_total",
            "A metric counting the amount of times any load balancer has been configured, as an "
            "effect of service/node changes on the cluster",
        )
        self._failed = registry.counter(
            "service_controller_nodesync_error_total",
            "A metric counting the amount of times any load balancer has been configured and "
            "errored, as an effect of node changes on the cluster",
        )
        self._round = registry.histogram(
            "service_controller_nodesync_latency_seconds",
            "A metric measuring the latency for nodesync which updates loadbalancer hosts on "
            "cluster node updates.",
            buckets=_BUCKETS,
        )
        self._one = registry.histogram(
            "service_controller_update_loadbalancer_host_latency_seconds",
            "A metric measuring the latency for updating each load balancer hosts.",
            buckets=_BUCKETS,
        )
        self._behind: set[Key] = set()  # Services that must still hear of the last change of nodes
        self._began = 0.0

    def nodes_changed(self, keys: Collection[Key]) -> None:
        """Note a change of nodes, which these Services must hear of."""
        if not self._behind:
            self._began = time.monotonic()
        self._behind.update(keys)

    def done(self, key: Key) -> None:
        """Note that a Service has heard of all changes; after the last one a round is over."""
        if key in self._behind:
            self._behind.discard(key)
            if not self._behind:
                self._round.observe(value=time.monotonic() - self._began)

    @contextmanager
    def update(self) -> Iterator[None]:
        """Count and time one update of a load balancer's nodes."""
        began = time.monotonic()
        self._synced.add()
        try:
            yield
        except Exception:
            self._failed.add()
            raise
        finally:
            self._one.observe(value=time.monotonic() - began)
