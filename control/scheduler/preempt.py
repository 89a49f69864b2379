"""Preemption: which less urgent Pods have to go so that a Pod gets a node. Pure.

Rules and texts are upstream's (pkg/scheduler/framework/preemption and plugins/defaultpreemption).
https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from control.api.pod import Pod
from control.api.policy import PodDisruptionBudget
from control.api.selectors import selects
from control.scheduler.decide import NoPlacement, unavailable
from control.scheduler.fit import Fit
from control.scheduler.model import NodeInfo, PodInfo, Refusal

_NEVER = "not eligible due to preemptionPolicy=Never."
_PATIENT = "not eligible due to a terminating pod on the nominated node."
_NO_VICTIMS = Refusal(("No preemption victims found for incoming pod",), final=True)
_NO_HELP = Refusal(("Preemption is not helpful for scheduling",), final=True)

# Of many nodes only a part is tried: a tenth, but at least so many, as upstream's defaults.
_TRY_ALL = 100
_PART = 10

DISRUPTED = "DisruptionTarget"
BY_SCHEDULER = "PreemptionByScheduler"


@dataclass(frozen=True, slots=True)
class Preemption:
    """The node that a Pod gets when its victims have gone, the most urgent victim first."""

    node: str
    victims: tuple[Pod, ...]
    violations: int = 0  # the victims whose budgets are spent


@dataclass(frozen=True, slots=True)
class NoPreemption:
    """Why no Pod is preempted; ``hopeless`` if the Pod's nomination, if any, is void."""

    message: str
    hopeless: bool = False


def preempt(
    failed: NoPlacement,
    nodes: Mapping[str, NodeInfo],
    start: int = 0,
    budgets: Iterable[PodDisruptionBudget] = (),
) -> Preemption | NoPreemption:
    """Return the node that costs least to be freed for a Pod that found none.

    ``start`` is the index of the first node to try, for clusters in which not all are tried.
    ``budgets`` are spared where another choice is left.
    """
    info = failed.fit.info
    if reason := _ineligible(info, failed.refusals, nodes):
        return NoPreemption(reason)
    refusals = dict.fromkeys(failed.refusals, _NO_HELP)
    found, spared = [], tuple(budgets)
    for name in _candidates(failed.refusals, start):
        freed = _freed(failed.fit, nodes[name], spared)
        if isinstance(freed, Refusal):
            refusals[name] = freed
        else:
            found.append(freed)
    if not found:
        return NoPreemption(unavailable(refusals.values()), hopeless=True)
    least = min(map(_cost, found))
    return max((it for it in found if _cost(it) == least), key=_started)


def _ineligible(
    info: PodInfo, refusals: Mapping[str, Refusal], nodes: Mapping[str, NodeInfo]
) -> str:
    """Return why a Pod may not preempt others (now), or nothing."""
    if info.pod.spec.preemption_policy == "Never":
        return _NEVER
    node = nodes.get(info.pod.status.nominated_node_name or "")
    if node is None or refusals[node.name].final:
        return ""
    return _PATIENT if any(_is_going(it, info) for it in node.pods.values()) else ""


def _is_going(victim: PodInfo, info: PodInfo) -> bool:
    """True if a Pod ends because the scheduler preempted it."""
    if victim.pod.metadata.deletion_timestamp is None or victim.priority >= info.priority:
        return False
    conditions = (it for it in victim.pod.status.conditions if it.type == DISRUPTED)
    return any(it.status == "True" and it.reason == BY_SCHEDULER for it in conditions)


def _candidates(refusals: Mapping[str, Refusal], start: int) -> Sequence[str]:
    names = [name for name, refusal in refusals.items() if not refusal.final]
    start = start % len(names) if names else 0
    return (names[start:] + names[:start])[: max(_TRY_ALL, len(names) // _PART)]


def _freed(
    fit: Fit, node: NodeInfo, budgets: Sequence[PodDisruptionBudget]
) -> Preemption | Refusal:
    """Return the fewest and least urgent Pods of a node that have to go, or why that is no help.

    All less urgent Pods are taken away; then each comes back, if the Pod still fits beside it:
    first those whose budgets are spent, and of these, as of the others, the most urgent first.
    """
    lower = [it for it in node.pods.values() if it.priority < fit.info.priority]
    if not lower:
        return _NO_VICTIMS
    lower.sort(key=_importance)
    with fit.changed(node, lower, -1) as freed:
        if against := fit.refusal(freed):
            return against
        guarded, others = _by_budget(lower, budgets)
        stay: list[PodInfo] = []
        violating = _not_reprieved(fit, freed, guarded, stay)
        victims = violating + _not_reprieved(fit, freed, others, stay)
        for other in stay:  # so that the counts can be put back
            fit.move(freed, other, -1)
    victims.sort(key=_importance)
    return Preemption(node.name, tuple(it.pod for it in victims), len(violating))


def _not_reprieved(
    fit: Fit, freed: NodeInfo, pods: Iterable[PodInfo], stay: list[PodInfo]
) -> list[PodInfo]:
    """Put Pods back on a node, into ``stay``; return those that have to go."""
    victims = []
    for other in pods:
        fit.move(freed, other, 1)
        if fit.refusal(freed) is None:
            stay.append(other)
        else:
            fit.move(freed, other, -1)
            victims.append(other)
    return victims


def _by_budget(
    pods: Iterable[PodInfo], budgets: Sequence[PodDisruptionBudget]
) -> tuple[list[PodInfo], list[PodInfo]]:
    """Return the Pods that a budget would miss if those before them went too, and the others."""
    left = {budget.key: budget.status.disruptions_allowed for budget in budgets}
    violating: list[PodInfo] = []
    others: list[PodInfo] = []
    for info in pods:
        spent = False
        for budget in budgets:
            if _guards(budget, info.pod):
                left[budget.key] -= 1
                spent = spent or left[budget.key] < 0
        (violating if spent else others).append(info)
    return violating, others


def _guards(budget: PodDisruptionBudget, pod: Pod) -> bool:
    """True if a Pod counts against a budget: one that was evicted is counted already."""
    if budget.metadata.namespace != pod.metadata.namespace or not pod.metadata.labels:
        return False
    if pod.metadata.name in budget.status.disrupted_pods:
        return False
    selector = budget.spec.selector
    named = selector is not None and (selector.match_labels or selector.match_expressions)
    return bool(named) and selects(selector, pod.metadata.labels)


def _importance(info: PodInfo) -> tuple[int, str]:
    """The order of Pods that stay: by priority, then by the time that they run."""
    return -info.priority, info.pod.status.start_time or "~"


def _cost(found: Preemption) -> tuple[int, int, int, int]:
    """The order of nodes to free, by upstream's rules, the cheapest first."""
    priorities = [victim.spec.priority or 0 for victim in found.victims]
    # Each victim counts for more than any negative priority takes off.
    total = sum(priority + 2**31 for priority in priorities)
    return found.violations, max(priorities), total, len(priorities)


def _started(found: Preemption) -> str:
    """The earliest start of the most urgent victims: RFC 3339 in UTC, so texts sort as times."""
    highest = max(victim.spec.priority or 0 for victim in found.victims)
    urgent = (it for it in found.victims if (it.spec.priority or 0) == highest)
    return min(it.status.start_time or "" for it in urgent)
