"""Reconciles DaemonSets: one Pod on every node that fits."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from control.api import kinds
from control.api.meta import Object
from control.api.node import Node
from control.api.pod import Pod
from control.api.workload import DaemonSet, DaemonSetStatus
from control.client.cache import Key
from control.controllers.actions import Action, Again, Create, Delete, Report, UpdateStatus
from control.controllers.claim import claim, interested
from control.controllers.daemonset.rollout import DaemonChanges, NodeDaemons, manage, pace, update
from control.controllers.daemonset.template import (
    daemon,
    may_stay,
    node_of,
    should_run,
)
from control.controllers.history import REVISION_HASH, expendable, hash_of, history, recorded
from control.controllers.loop import Source, itself
from control.controllers.pods import is_ready, tally
from control.controllers.state import ClusterState


def _all(cluster: ClusterState, _: Object) -> Iterator[Key]:
    for daemon_set in cluster[kinds.DAEMON_SET]:
        yield daemon_set.key


def _moved(old: Node | None, new: Node | None) -> bool:
    """True for a change that can affect where daemons run; heartbeats cannot."""
    if old is None or new is None:
        return True
    return (old.metadata.labels, old.spec.taints) != (new.metadata.labels, new.spec.taints)


class DaemonSetController:
    """Creates daemons on nodes, and updates them."""

    component = "daemonset-controller"
    sources = (
        Source(kinds.DAEMON_SET, itself),
        Source(kinds.POD, lambda cluster, pod: interested(kinds.DAEMON_SET, pod, cluster)),
        Source(kinds.CONTROLLER_REVISION, lambda w, item: interested(kinds.DAEMON_SET, item, w)),
        Source(kinds.NODE, _all, _moved),
    )

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Return the next step; its effects come back as changes, and lead to the next one."""
        daemon_set = cluster[kinds.DAEMON_SET].get(*key)
        if daemon_set is None or daemon_set.metadata.deletion_timestamp is not None:
            return
        selector = daemon_set.spec.selector
        pods = claim(cluster[kinds.POD], kinds.DAEMON_SET, daemon_set, selector)
        owned = cluster[kinds.CONTROLLER_REVISION].controlled_by(daemon_set.metadata.uid)
        past = history(daemon_set, owned)
        steps: list[Action] = [*pods.actions, *recorded(daemon_set, past)]
        if not steps and past.current is not None:
            digest = hash_of(past.current)
            entries = _entries(cluster, daemon_set, pods.owned, digest)
            steps = _changes(daemon_set, entries, digest, now)
        if steps:
            yield from steps
            return
        yield from expendable(daemon_set, past, {_hash(pod) for pod in pods.owned})
        yield from _report(daemon_set, entries, now)


def _hash(pod: Pod) -> str:
    return pod.metadata.labels.get(REVISION_HASH, "")


def _entries(
    cluster: ClusterState, daemon_set: DaemonSet, pods: Iterable[Pod], digest: str
) -> list[NodeDaemons]:
    """Return every node with its daemons, also nodes that are gone."""
    on: dict[str, list[Pod]] = defaultdict(list)
    for pod in pods:
        on[node_of(pod) or ""].append(pod)
    nodes = {node.metadata.name: node for node in cluster[kinds.NODE]}
    entries = []
    for name in sorted(nodes.keys() | on.keys()):
        node, daemons = nodes.get(name), on.get(name, [])
        entries.append(
            NodeDaemons(
                node=name,
                wanted=node is not None and should_run(daemon_set, node),
                # The Pod garbage collector ends the Pods of a node that is gone.
                tolerated=node is None or may_stay(daemon_set, node),
                new=tuple(pod for pod in daemons if _hash(pod) == digest),
                old=tuple(pod for pod in daemons if _hash(pod) != digest),
            )
        )
    return entries


def _changes(
    daemon_set: DaemonSet, entries: Sequence[NodeDaemons], digest: str, now: float
) -> list[Action]:
    steps = _actions(daemon_set, manage(entries), digest)
    speed = pace(daemon_set, sum(entry.wanted for entry in entries))
    if not steps and speed.automatic:
        steps = _actions(daemon_set, update(entries, speed, now), digest)
    return steps


def _actions(daemon_set: DaemonSet, changes: DaemonChanges, digest: str) -> list[Action]:
    reports = [_farewell(daemon_set, pod) for pod in changes.failed]
    made = [
        Create(kinds.POD, daemon(daemon_set, node, digest), announce=daemon_set)
        for node in changes.create
    ]
    gone = [Delete(kinds.POD, pod, announce=daemon_set) for pod in changes.delete]
    return [*reports, *gone, *made]


def _farewell(daemon_set: DaemonSet, pod: Pod) -> Report:
    namespace, name = pod.key
    failed = pod.status.phase == "Failed"
    word, verb = ("failed", "kill") if failed else ("succeeded", "delete")
    text = f"Found {word} daemon pod {namespace}/{name} on node {pod.spec.node_name}, "
    return Report(
        daemon_set,
        "Warning" if failed else "Normal",
        "FailedDaemonPod" if failed else "SucceededDaemonPod",
        f"{text}will try to {verb} it",
    )


def _report(daemon_set: DaemonSet, entries: Sequence[NodeDaemons], now: float) -> Iterator[Action]:
    status, wait = _status(daemon_set, entries, now)
    if status != daemon_set.status:
        yield UpdateStatus(kinds.DAEMON_SET, daemon_set.model_copy(update={"status": status}))
    if wait is not None:
        yield Again(wait)


def _status(
    daemon_set: DaemonSet, entries: Sequence[NodeDaemons], now: float
) -> tuple[DaemonSetStatus, float | None]:
    wait = daemon_set.spec.min_ready_seconds or 0
    wanted = [entry for entry in entries if entry.wanted]
    counts = [tally(entry.daemons, wait, now) for entry in wanted]
    available = sum(count.available > 0 for count in counts)
    numbers = {
        "observed_generation": daemon_set.metadata.generation,
        "desired_number_scheduled": len(wanted),
        "current_number_scheduled": sum(bool(entry.daemons) for entry in wanted),
        "number_misscheduled": sum(bool(p.daemons) for p in entries if not p.wanted),
        "number_ready": sum(any(map(is_ready, entry.daemons)) for entry in wanted),
        "updated_number_scheduled": sum(bool(entry.new) for entry in wanted) or None,
        "number_available": available or None,
        "number_unavailable": len(wanted) - available or None,
    }
    nexts = [count.next_available for count in counts if count.next_available is not None]
    return daemon_set.status.model_copy(update=numbers), min(nexts, default=None)
