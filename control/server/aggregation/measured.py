"""What the aggregator counts, by upstream's names and labels.

Source: pkg/controllers/status/metrics of k8s.io/kube-aggregator.
"""

from collections.abc import Mapping
from typing import Any

from control.api.kinds import API_SERVICE
from control.metrics import Counter
from control.server.state.extensions import condition_of
from control.server.state.server import ServerState


class AvailabilityCounts:
    """The availability of each APIService, and how often one became unavailable."""

    def __init__(self, state: ServerState) -> None:
        registry = state.metrics
        registry.measured(
            "aggregator_unavailable_apiservice",
            "Gauge of APIServices which are marked as unavailable broken down by APIService name.",
            "name",
            read=lambda: _unavailable(state),
        )
        self._total: Counter = registry.counter(
            "aggregator_unavailable_apiservice_total",
            "Counter of APIServices which are marked as unavailable broken down by APIService name"
            " and reason.",
            "name",
            "reason",
        )

    def changed(self, name: str, before: Mapping[str, Any], reason: str, *, good: bool) -> None:
        """Count an APIService that was available, if it is not any more."""
        if condition_of(before).get("status") == "True" and not good:
            self._total.add(name, reason)


def _unavailable(state: ServerState) -> dict[tuple[str, ...], float]:
    """Return 1 or 0 for each APIService that has been checked."""
    found: dict[tuple[str, ...], float] = {}
    for item in state.cache.of(API_SERVICE).items():
        if status := condition_of(item.wire).get("status"):
            found[(item.wire["metadata"]["name"],)] = float(status != "True")
    return found
