"""Pods as their controllers see them: active, ready, available, order of deletion. Pure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control.api.meta import Condition
from control.api.pod import Pod
from control.api.times import seconds_of

_COST = "controller.kubernetes.io/pod-deletion-cost"


def is_active(pod: Pod) -> bool:
    """True if the Pod counts as a replica: it has not ended, and is not being deleted."""
    return (
        pod.status.phase not in ("Succeeded", "Failed") and pod.metadata.deletion_timestamp is None
    )


def condition(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """Return the condition of a type, if there is one."""
    return next((item for item in conditions if item.type == kind), None)


def is_ready(pod: Pod) -> bool:
    """True if the Pod's Ready condition is True."""
    found = condition(pod.status.conditions, "Ready")
    return found is not None and found.status == "True"


def ready_since(pod: Pod) -> float | None:
    """Return when the Pod became ready, in seconds since the epoch; None if it is not ready."""
    found = condition(pod.status.conditions, "Ready")
    if found is None or found.status != "True":
        return None
    return seconds_of(found.last_transition_time)


def available_in(pod: Pod, min_ready_seconds: int, now: float) -> float | None:
    """Return the seconds until a ready Pod is available; None if it is not ready."""
    if not is_ready(pod):
        return None
    since = ready_since(pod)
    if min_ready_seconds == 0:
        return 0.0
    return max(0.0, (since if since is not None else now) + min_ready_seconds - now)


@dataclass(frozen=True, slots=True)
class PodTally:
    """The numbers of active, ready and available Pods of a set."""

    active: int
    ready: int
    available: int
    next_available: float | None  # seconds until one more ready Pod is available


def tally(pods: Iterable[Pod], min_ready_seconds: int, now: float) -> PodTally:
    """Count the Pods of a set."""
    pods = list(pods)
    active = [pod for pod in pods if is_active(pod)]
    waits = [
        wait for pod in active if (wait := available_in(pod, min_ready_seconds, now)) is not None
    ]
    return PodTally(
        active=len(active),
        ready=len(waits),
        available=sum(wait == 0 for wait in waits),
        next_available=min((wait for wait in waits if wait > 0), default=None),
    )


def deletion_order(pods: Iterable[Pod], per_node: Mapping[str, int], now: float) -> list[Pod]:
    """Return Pods in the order in which to delete them.

    As upstream's ActivePodsWithRanks: unassigned, pending, not ready, of lower deletion cost, on
    nodes with more Pods of the set (``per_node``), ready for a shorter time, restarted more often,
    younger. Times are compared by powers of two (KEP-2185), so that the choice is not always the
    same.
    """

    def rank(pod: Pod) -> tuple[object, ...]:
        node = pod.spec.node_name
        ready = is_ready(pod)
        return (
            bool(node),
            {"Pending": 0, "Unknown": 1, "Running": 2}.get(pod.status.phase or "", 0),
            ready,
            _deletion_cost(pod),
            -per_node.get(node or "", 0),
            _magnitude(ready_since(pod), now) if ready else 0,
            -sum(status.restart_count for status in pod.status.container_statuses),
            _magnitude(seconds_of(pod.metadata.creation_timestamp), now),
            pod.metadata.uid,
        )

    return sorted(pods, key=rank)


def _deletion_cost(pod: Pod) -> int:
    try:
        return int(pod.metadata.annotations.get(_COST, "0"))
    except ValueError:
        return 0


def _magnitude(since: float | None, now: float) -> int:
    """Return the binary logarithm of an age in seconds, rounded down."""
    return int(math.log2(max(1.0, now - since))) if since is not None else 0
