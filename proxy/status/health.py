"""Whether the proxy keeps up: what /healthz and /livez answer, as upstream does (KEP-3836)."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

TIMEOUT = 60.0  # seconds that a change may wait before the proxy counts as unhealthy


@dataclass(frozen=True, slots=True)
class HealthResponse:
    """An HTTP status, and the members of the JSON object that goes with it."""

    status: int
    body: dict[str, str | bool]


class ProxyHealth:
    """Remembers since when a change waits, and when the kernel was last brought up to date."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting_since: float | None = None
        self._updated: float | None = None
        self.eligible = True  # whether load balancers should use this node

    def queued(self) -> None:
        """A change waits to be synced; only the oldest counts."""
        with self._lock:
            if self._waiting_since is None:
                self._waiting_since = self._clock()

    def taken(self) -> float | None:
        """The waiting changes are being synced; returns since when the oldest waited."""
        with self._lock:
            since, self._waiting_since = self._waiting_since, None
            return since

    def failed(self, since: float | None) -> None:
        """They were not synced after all."""
        with self._lock:
            if since is not None:
                self._waiting_since = since

    def updated(self) -> None:
        """The kernel holds what it should."""
        with self._lock:
            self._updated = self._clock()

    @property
    def alive(self) -> bool:
        """Whether a first sync was made and no change has waited for too long."""
        with self._lock:
            if self._updated is None:
                return False
            return self._waiting_since is None or self._clock() - self._waiting_since < TIMEOUT

    def healthz(self) -> HealthResponse:
        """For load balancers: alive, and the node is here to stay."""
        return self._answer(self.alive and self.eligible, nodeEligible=self.eligible)

    def livez(self) -> HealthResponse:
        """For whoever restarts proxies: alive."""
        return self._answer(self.alive)

    def _answer(self, good: bool, **more: bool) -> HealthResponse:
        now = self._clock()
        # What is healthy is up to date now, whenever the last change was; upstream says it so.
        updated = now if self.alive else self._updated or 0.0
        body: dict[str, str | bool] = {
            "lastUpdated": _rfc3339(updated),
            "currentTime": _rfc3339(now),
            **more,
        }
        return HealthResponse(200 if good else 503, body)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
