"""Counts Service ports that policy Local leaves without an endpoint on this node."""

from collections import Counter
from collections.abc import Iterator

from proxy.desired.desired import Desired, Portals
from proxy.model.values import Family, Key
from proxy.status.metrics import ProxyMetrics

_NAME = "sync_proxy_rules_no_local_endpoints_total"
Gap = tuple[Family, str]  # a family and a traffic policy


class LocalGaps:
    """Keeps the count up to date, Service by Service."""

    def __init__(self, metrics: ProxyMetrics) -> None:
        self._metrics = metrics
        self._have = Desired()
        self._gaps: dict[Key, list[Gap]] = {}
        self._totals: Counter[Gap] = Counter()

    def update(self, want: Desired) -> None:
        """Count ``want`` from now on."""
        for key in want.changed_since(self._have):
            if before := self._gaps.pop(key, None):
                self._totals.subtract(before)
            if found := [*_gaps(want.portals_of(key))]:
                self._gaps[key] = found
                self._totals.update(found)
        self._have = want
        for family in Family:
            for policy in ("internal", "external"):
                count = self._totals[(family, policy)]
                self._metrics.set(_NAME, count, policy, family)


def _gaps(portals: Portals) -> Iterator[Gap]:
    """Yield the gaps of one Service: there are endpoints, but none here. Few have policy Local."""
    for portal in portals:
        if portal.anywhere and not portal.local:
            if portal.internal_local:
                yield portal.family, "internal"
            if portal.external_local and portal.is_external:
                yield portal.family, "external"
