"""Reconciles StatefulSets."""

from collections.abc import Iterator, Sequence

from control.api import kinds
from control.api.meta import Object
from control.api.pod import Pod
from control.api.workload import ControllerRevision, StatefulSet, StatefulSetStatus
from control.client.cache import Key
from control.controllers.actions import Action, Again, UpdateStatus
from control.controllers.claim import claim, interested
from control.controllers.history import expendable, history, recorded
from control.controllers.loop import Source, itself
from control.controllers.pods import available_in, is_ready
from control.controllers.state import ClusterState
from control.controllers.statefulset.plan import ROLLING, Ordered, due
from control.controllers.statefulset.pods import CLAIM, ordinal_of, revision_of
from control.controllers.statefulset.retention import retained


def _by_name(cluster: ClusterState, item: Object) -> Iterator[Key]:
    """Yield the sets to whose numbers a claim's name belongs."""
    for the_set in cluster[kinds.STATEFUL_SET].within(item.metadata.namespace):
        if f"-{the_set.metadata.name}-" in item.metadata.name:
            yield the_set.key


class StatefulSetController:
    """Makes, replaces and removes numbered Pods, and their claims."""

    component = "statefulset-controller"
    sources = (
        Source(kinds.STATEFUL_SET, itself),
        Source(kinds.POD, lambda cluster, pod: interested(kinds.STATEFUL_SET, pod, cluster)),
        Source(kinds.CONTROLLER_REVISION, lambda w, item: interested(kinds.STATEFUL_SET, item, w)),
        Source(CLAIM, _by_name),
    )

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Return the next step; its effects come back as changes, and lead to the next one."""
        the_set = cluster[kinds.STATEFUL_SET].get(*key)
        if the_set is None:
            return
        held = claim(cluster[kinds.POD], kinds.STATEFUL_SET, the_set, the_set.spec.selector)
        moved = [it for it in held.actions if ordinal_of(the_set, it.object) is not None]
        owned = cluster[kinds.CONTROLLER_REVISION].controlled_by(the_set.metadata.uid)
        past = history(the_set, owned)
        pods = [pod for pod in held.owned if ordinal_of(the_set, pod) is not None]
        ends = the_set.metadata.deletion_timestamp is not None
        steps: list[Action] = [] if ends else [*moved, *recorded(the_set, past)]
        if steps or past.current is None:
            yield from steps
            return
        state = _ordered(the_set, pods, owned, past.current, now)
        if not ends:
            steps = list(retained(state, lambda name: cluster[CLAIM].get(key[0], name)))
        if not ends and not steps:
            steps = due(state, lambda name: cluster[CLAIM].get(key[0], name) is not None)
        if steps:
            yield from steps
            return
        used = {revision_of(pod) for pod in pods} | {state.current.metadata.name}
        yield from expendable(the_set, past, used)
        yield from _reported(state, pods)


def _ordered(
    the_set: StatefulSet,
    pods: Sequence[Pod],
    owned: Sequence[ControllerRevision],
    update: ControllerRevision,
    now: float,
) -> Ordered:
    wanted = the_set.status.current_revision
    current = next((it for it in owned if it.metadata.name == wanted), update)
    numbered = {ordinal_of(the_set, pod) or 0: pod for pod in pods}
    return Ordered(the_set, numbered, current, update, now)


def _reported(state: Ordered, pods: Sequence[Pod]) -> Iterator[Action]:
    """Yield the status if it changed, and when to look for the next available Pod."""
    status = _status(state, pods)
    if status != state.set.status:
        changed = state.set.model_copy(update={"status": status})
        yield UpdateStatus(kinds.STATEFUL_SET, changed)
    least = state.set.spec.min_ready_seconds or 0
    waits = [available_in(pod, least, state.now) for pod in pods]
    if later := [wait for wait in waits if wait]:
        yield Again(min(later))


def _status(state: Ordered, pods: Sequence[Pod]) -> StatefulSetStatus:
    staying = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
    ready = [pod for pod in pods if pod.status.phase == "Running" and is_ready(pod)]
    least = state.set.spec.min_ready_seconds or 0
    counts: dict[str, object] = {
        "observed_generation": state.set.metadata.generation,
        "replicas": len(pods),
        "ready_replicas": len(ready),
        "available_replicas": sum(available_in(pod, least, state.now) == 0 for pod in ready),
        "current_replicas": _of(staying, state.current),
        "updated_replicas": _of(staying, state.update),
        "current_revision": state.current.metadata.name,
        "update_revision": state.update.metadata.name,
        "collision_count": state.set.status.collision_count or 0,
    }
    complete = counts["updated_replicas"] == len(ready) == len(pods) == state.replicas
    if complete and state.set.spec.update_strategy.type == ROLLING:
        counts["current_revision"] = state.update.metadata.name
        counts["current_replicas"] = counts["updated_replicas"]
    return state.set.status.model_copy(update=counts)


def _of(pods: Sequence[Pod], revision: ControllerRevision) -> int:
    return sum(revision_of(pod) == revision.metadata.name for pod in pods)
