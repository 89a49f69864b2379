"""Changes that wait for a sync, and how old they are when their rules are in force."""

import time
from datetime import UTC, datetime

from msgspec import Struct

from proxy.model.values import Key
from proxy.status.metrics import ProxyMetrics

_SERVICES = "sync_proxy_rules_service_changes_pending"
_ENDPOINTS = "sync_proxy_rules_endpoint_changes_pending"


class Batch(Struct):
    """Changes that one sync takes: Services by what changed, and when endpoints began to change."""

    services: set[Key] = set()
    endpoints: set[Key] = set()
    triggers: list[float] = []  # Unix times


class PendingChanges:
    """Counts changes on their way into the kernel. Call it on the event loop."""

    def __init__(self, metrics: ProxyMetrics) -> None:
        self._metrics = metrics
        self._waiting = Batch()
        # Older changes waited for this process, not for its rules; upstream leaves them out too.
        self._since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")

    def service(self, key: Key) -> None:
        """Note a Service's change."""
        self._waiting.services.add(key)
        self._metrics.add("sync_proxy_rules_service_changes_total")
        self._metrics.set(_SERVICES, len(self._waiting.services))

    def endpoints(self, key: Key, trigger: str) -> None:
        """Note a change of a Service's endpoints. ``trigger`` is when it began, in RFC 3339."""
        self._waiting.endpoints.add(key)
        self._metrics.add("sync_proxy_rules_endpoint_changes_total")
        self._metrics.set(_ENDPOINTS, len(self._waiting.endpoints))
        if trigger > self._since and (began := _seconds(trigger)):
            self._waiting.triggers.append(began)

    def take(self) -> Batch:
        """Return what waits; nothing waits then."""
        taken, self._waiting = self._waiting, Batch()
        self._show()
        return taken

    def failed(self, batch: Batch) -> None:
        """Let a batch wait again: it was not written after all."""
        self._waiting.services |= batch.services
        self._waiting.endpoints |= batch.endpoints
        self._waiting.triggers += batch.triggers
        self._show()

    def written(self, batch: Batch) -> None:
        """Note that a batch is in force."""
        now = time.time()
        for began in batch.triggers:
            self._metrics.observe("network_programming_duration_seconds", max(now - began, 0))

    def _show(self) -> None:
        self._metrics.set(_SERVICES, len(self._waiting.services))
        self._metrics.set(_ENDPOINTS, len(self._waiting.endpoints))


def _seconds(text: str) -> float:
    """Return a Unix time; 0 for a text that is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
