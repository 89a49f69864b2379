"""The proxy's health: the responses of /healthz and /livez, as upstream's (KEP-3836)."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

TIMEOUT = 60.0  # seconds that a change may wait before the proxy counts as unhealthy


class HealthResponse(Struct, frozen=True):
    """An HTTP status, and the members of its JSON object."""

    status: int
    body: dict[str, str | bool]


class ProxyHealth:
    """Remembers how long a change has been waiting, and when the kernel was last updated."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting_since: float | None = None
        self._updated: float | None = None
        self.eligible = True  # False if load balancers should leave this node

    def queued(self) -> None:
        """Note that a change waits for a sync. Only the oldest counts."""
        with self._lock:
            if self._waiting_since is None:
                self._waiting_since = self._clock()

    def taken(self) -> float | None:
        """Note that waiting changes are being synced; return the time of the oldest."""
        with self._lock:
            since, self._waiting_since = self._waiting_since, None
            return since

    def failed(self, since: float | None) -> None:
        """Note that they were not synced after all."""
        with self._lock:
            if since is not None:
                self._waiting_since = since

    def updated(self) -> None:
        """Note that the kernel holds the desired state."""
        with self._lock:
            self._updated = self._clock()

    @property
    def alive(self) -> bool:
        """True after a first sync, if no change has waited for too long."""
        with self._lock:
            if self._updated is None:
                return False
            return self._waiting_since is None or self._clock() - self._waiting_since < TIMEOUT

    def healthz(self) -> HealthResponse:
        """Return the response for load balancers: alive, and the node stays."""
        return self._response(self.alive and self.eligible, nodeEligible=self.eligible)

    def livez(self) -> HealthResponse:
        """Return the response for supervisors that restart proxies: alive."""
        return self._response(self.alive)

    def _response(self, good: bool, **more: bool) -> HealthResponse:
        now = self._clock()
        # As in upstream, a healthy proxy is up to date now, whenever its last change was.
        updated = now if self.alive else self._updated or 0.0
        body: dict[str, str | bool] = {
            "lastUpdated": _rfc3339(updated),
            "currentTime": _rfc3339(now),
            **more,
        }
        return HealthResponse(200 if good else 503, body)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
