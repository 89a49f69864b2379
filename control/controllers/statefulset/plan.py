"""What is due for the Pods of a StatefulSet: which is made, which has to go, what is waited for.

In order (OrderedReady), one Pod is made or deleted at a time, and only when all others are
available.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from control.api import kinds
from control.api.pod import Pod
from control.api.workload import ControllerRevision, StatefulSet
from control.controllers.actions import Action, Create, Delete
from control.controllers.deployment.limits import scaled
from control.controllers.pods import available_in
from control.controllers.statefulset.pods import CLAIM, claims, numbered_pod, revision_of

PARALLEL, ROLLING = "Parallel", "RollingUpdate"


@dataclass(frozen=True, slots=True)
class Ordered:
    """A set, its Pods by number, and its revisions: the one before and the one of the template."""

    set: StatefulSet
    pods: Mapping[int, Pod]
    current: ControllerRevision
    update: ControllerRevision
    now: float

    @property
    def start(self) -> int:
        """The first number."""
        return self.set.spec.ordinals.start if self.set.spec.ordinals else 0

    @property
    def replicas(self) -> int:
        """The wanted number of Pods."""
        wanted = self.set.spec.replicas
        return 1 if wanted is None else wanted

    @property
    def wanted(self) -> range:
        """The numbers that there should be."""
        return range(self.start, self.start + self.replicas)

    @property
    def condemned(self) -> list[int]:
        """The numbers that should not be there, the highest first."""
        return sorted((it for it in self.pods if it not in self.wanted), reverse=True)

    @property
    def partition(self) -> int:
        """How many of the first numbers keep their version."""
        rolling = self.set.spec.update_strategy.rolling_update
        return (rolling.partition or 0) if rolling else 0

    def revision_for(self, ordinal: int) -> ControllerRevision:
        """Return the version of a new Pod."""
        if self.set.spec.update_strategy.type != ROLLING:
            return self.update
        if self.set.spec.update_strategy.rolling_update is None:
            kept = self.set.status.current_replicas or 0
        else:
            kept = self.partition
        return self.current if ordinal < self.start + kept else self.update

    def is_available(self, ordinal: int) -> bool:
        """True if a Pod is there, runs, has been ready for long enough, and does not end."""
        pod = self.pods.get(ordinal)
        if pod is None or pod.metadata.deletion_timestamp or pod.status.phase != "Running":
            return False
        return available_in(pod, self.set.spec.min_ready_seconds or 0, self.now) == 0


def due(state: Ordered, has_claim: Callable[[str], bool]) -> list[Action]:
    """Return the next actions; none if the set is as wanted, or if it has to wait."""
    in_order = state.set.spec.pod_management_policy != PARALLEL
    made: list[Action] = []
    for ordinal in state.wanted:
        actions, waits = _kept(state, ordinal, has_claim)
        made += actions
        if in_order and (actions or waits):
            return made
    gone = list(_condemned(state, in_order))
    made += gone
    if made or (in_order and state.condemned):
        return made
    return list(_rolled(state))


def _kept(
    state: Ordered, ordinal: int, has_claim: Callable[[str], bool]
) -> tuple[list[Action], bool]:
    """Return what a wanted number needs, and whether those after it have to wait."""
    pod = state.pods.get(ordinal)
    if pod is not None and pod.status.phase in ("Failed", "Succeeded"):
        going = pod.metadata.deletion_timestamp is not None
        return ([] if going else [_delete(state.set, pod)]), True
    missing: list[Action] = [
        Create(CLAIM, claim, state.set)
        for claim in claims(state.set, ordinal)
        if not has_claim(claim.metadata.name)
    ]
    if pod is None:
        new = numbered_pod(state.set, state.revision_for(ordinal), ordinal)
        return [*missing, Create(kinds.POD, new, state.set)], True
    return (missing if pod.status.phase == "Pending" else []), not state.is_available(ordinal)


def _condemned(state: Ordered, in_order: bool) -> Iterator[Action]:
    """Yield the deletions of numbers too many: in order, the highest alone."""
    unavailable = [it for it in sorted(state.condemned) if not state.is_available(it)]
    for ordinal in state.condemned:
        pod = state.pods[ordinal]
        if pod.metadata.deletion_timestamp is None:
            blocked = not state.is_available(ordinal) and ordinal != unavailable[0]
            if in_order and blocked:
                return
            yield _delete(state.set, pod)
        if in_order:
            return


def _rolled(state: Ordered) -> Iterator[Action]:
    """Yield the deletions of old versions, the highest number first."""
    if state.set.spec.update_strategy.type != ROLLING:
        return
    away = sum(not state.is_available(ordinal) for ordinal in state.wanted)
    for ordinal in reversed(state.wanted[state.partition :]):
        pod = state.pods[ordinal]
        if revision_of(pod) != state.update.metadata.name:
            if pod.metadata.deletion_timestamp is None:
                if away - (not state.is_available(ordinal)) >= _most_away(state):
                    return
                yield _delete(state.set, pod)
                away += state.is_available(ordinal)
        elif _most_away(state) == 1 and not state.is_available(ordinal):
            return


def _most_away(state: Ordered) -> int:
    rolling = state.set.spec.update_strategy.rolling_update
    most = rolling.max_unavailable if rolling else None
    return 1 if most is None else max(1, scaled(most, state.replicas, up=True))


def _delete(the_set: StatefulSet, pod: Pod) -> Delete:
    return Delete(kinds.POD, pod, announce=the_set)
