"""Disruption: the status of PodDisruptionBudgets."""

from collections.abc import Iterable, Iterator
from typing import Any

from control.api import kinds
from control.api.meta import Condition, Object
from control.api.pod import Pod
from control.api.policy import (
    ALLOWED,
    SYNC_FAILED,
    PodDisruptionBudget,
    PodDisruptionBudgetStatus,
    allowed_condition,
    with_condition,
)
from control.api.selectors import format_labels, selects
from control.api.times import seconds_of
from control.client.cache import Key
from control.controllers.actions import Action, Again, Report, UpdateStatus
from control.controllers.disruption.expected import (
    SCALED,
    Expected,
    UncountableError,
    expected,
)
from control.controllers.loop import Source, itself
from control.controllers.pods import is_ready
from control.controllers.state import ClusterState

# A Pod that was to be evicted, and is not even being deleted after this time, stays.
_DELETION = 120.0
_UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a"
    " result, the status of the PDB cannot be calculated correctly, which may result in undefined"
    ' behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an'
    " integer value."
)


def _of_pod(cluster: ClusterState, pod: Pod) -> Iterable[Key]:
    for budget in cluster[kinds.DISRUPTION_BUDGET].within(pod.metadata.namespace):
        if selects(budget.spec.selector, pod.metadata.labels):
            yield budget.key


def _in_namespace(cluster: ClusterState, workload: Object) -> Iterable[Key]:
    budgets = cluster[kinds.DISRUPTION_BUDGET].within(workload.metadata.namespace)
    return [budget.key for budget in budgets]


def _rescaled(old: Any, new: Any) -> bool:
    return old is None or new is None or _replicas(old) != _replicas(new)


def _replicas(workload: Object) -> Any:
    return (workload.wire().get("spec") or {}).get("replicas")


class DisruptionController:
    """Says of each budget how many of its Pods may be evicted."""

    component = "disruption-controller"
    sources = (
        Source(kinds.DISRUPTION_BUDGET, itself),
        Source(kinds.POD, _of_pod),
        *(Source(kind, _in_namespace, _rescaled) for kind in (kinds.DEPLOYMENT, *SCALED.values())),
    )

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Count the Pods of the budget ``key``, and write what changed."""
        budget = cluster[kinds.DISRUPTION_BUDGET].get(*key)
        if budget is None:
            return
        pods = _pods(cluster, budget)
        if not pods:
            yield Report(budget, "Normal", "NoPods", "No matching pods found")
        try:
            wanted = expected(cluster, budget, pods)
        except UncountableError as err:
            why = f"Failed to calculate the number of expected pods: {err}"
            yield Report(budget, "Warning", "CalculateExpectedPodCountFailed", why)
            yield from _written(budget, _failed(budget.status, str(err), now))
            return
        if wanted.unmanaged and budget.spec.selector is not None:
            text = _UNMANAGED.format(format_labels(budget.spec.selector))
            yield Report(budget, "Warning", "UnmanagedPods", text)
        going, staying = _disrupted(budget, pods, now)
        for pod in staying:
            why = f"Pod was expected by PDB {'/'.join(key)} to be deleted but it wasn't"
            yield Report(pod, "Warning", "NotDeleted", why)
        yield from _written(budget, _counted(budget, pods, wanted, going, now))
        if times := [seconds_of(text) or now for text in going.values()]:
            yield Again(min(times) + _DELETION - now + 1)


def _pods(cluster: ClusterState, budget: PodDisruptionBudget) -> list[Pod]:
    return [
        pod
        for pod in cluster[kinds.POD].within(budget.metadata.namespace)
        if selects(budget.spec.selector, pod.metadata.labels)
    ]


def _disrupted(
    budget: PodDisruptionBudget, pods: Iterable[Pod], now: float
) -> tuple[dict[str, str], list[Pod]]:
    """Return the evicted Pods that will still be deleted, and those that nobody deletes."""
    noted = budget.status.disrupted_pods
    waiting = [
        pod
        for pod in pods
        if pod.metadata.name in noted and pod.metadata.deletion_timestamp is None
    ]
    late = [pod for pod in waiting if (seconds_of(noted[pod.metadata.name]) or 0) + _DELETION < now]
    names = {pod.metadata.name for pod in waiting} - {pod.metadata.name for pod in late}
    return {name: noted[name] for name in sorted(names)}, late


def _counted(
    budget: PodDisruptionBudget,
    pods: Iterable[Pod],
    wanted: Expected,
    going: dict[str, str],
    now: float,
) -> PodDisruptionBudgetStatus:
    healthy = sum(
        pod.metadata.deletion_timestamp is None and pod.metadata.name not in going and is_ready(pod)
        for pod in pods
    )
    # Nothing may go while nothing is expected: the first Pods appear before they are counted.
    allowed = max(healthy - wanted.healthy, 0) if wanted.pods > 0 else 0
    status = PodDisruptionBudgetStatus(
        observed_generation=budget.metadata.generation,
        disrupted_pods=going,
        disruptions_allowed=allowed,
        current_healthy=healthy,
        desired_healthy=wanted.healthy,
        expected_pods=wanted.pods,
        conditions=budget.status.conditions,
    )
    return status.model_copy(update={"conditions": allowed_condition(status, now)})


def _failed(status: PodDisruptionBudgetStatus, why: str, now: float) -> PodDisruptionBudgetStatus:
    """Return a status that allows no eviction, because nobody can count."""
    failure = Condition(
        type=ALLOWED,
        status="False",
        reason=SYNC_FAILED,
        message=why,
        observed_generation=status.observed_generation,
    )
    conditions = with_condition(status.conditions, failure, now)
    return status.model_copy(update={"disruptions_allowed": 0, "conditions": conditions})


def _written(
    budget: PodDisruptionBudget, status: PodDisruptionBudgetStatus
) -> Iterator[UpdateStatus]:
    if status != budget.status:
        changed = budget.model_copy(update={"status": status})
        yield UpdateStatus(kinds.DISRUPTION_BUDGET, changed)
