"""What Pods mean to their controllers: which count, which are ready, which go first. Pure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control.api.meta import Condition
from control.api.pod import Pod
from control.api.times import seconds_of

_COST = "controller.kubernetes.io/pod-deletion-cost"


def is_active(pod: Pod) -> bool:
    """Counts as a replica: neither ended nor on its way out."""
    return (
        pod.status.phase not in ("Succeeded", "Failed") and pod.metadata.deletion_timestamp is None
    )


def condition(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of a type."""
    return next((item for item in conditions if item.type == kind), None)


def is_ready(pod: Pod) -> bool:
    """Its Ready condition is True."""
    found = condition(pod.status.conditions, "Ready")
    return found is not None and found.status == "True"


def ready_since(pod: Pod) -> float | None:
    """When it became ready, in seconds since the epoch; None if it is not."""
    found = condition(pod.status.conditions, "Ready")
    if found is None or found.status != "True":
        return None
    return seconds_of(found.last_transition_time)


def available_in(pod: Pod, min_ready_seconds: int, now: float) -> float | None:
    """In how many seconds it will have been ready long enough: 0 if it has; None if not ready."""
    if not is_ready(pod):
        return None
    since = ready_since(pod)
    if min_ready_seconds == 0:
        return 0.0
    return max(0.0, (since if since is not None else now) + min_ready_seconds - now)


@dataclass(frozen=True, slots=True)
class PodTally:
    """How many Pods of a set there are, are ready, and have been for long enough."""

    active: int
    ready: int
    available: int
    next_available: float | None  # seconds until one more is available by mere waiting


def tally(pods: Iterable[Pod], min_ready_seconds: int, now: float) -> PodTally:
    """Count Pods."""
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
    """Pods, the most dispensable first.

    As upstream's ActivePodsWithRanks: unassigned, pending, not ready, of lower deletion cost, on
    nodes with more of their kin (``per_node``), ready for a shorter time, restarted more often,
    younger. Times count by powers of two (KEP-2185), so that not always the same Pod goes.
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
    """The power of two of an age in seconds."""
    return int(math.log2(max(1.0, now - since))) if since is not None else 0
