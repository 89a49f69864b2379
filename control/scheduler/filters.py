"""Which nodes a Pod can run on, and the reasons why not on the others. Pure.

In upstream's order and words (pkg/scheduler/framework/plugins); the first filter that refuses
decides what is said about a node.
"""

from collections.abc import Callable, Iterable, Sequence

from control.api.node import Taint
from control.api.placement import Toleration
from control.api.scheduling import allows, tolerates, untolerated
from control.scheduler.model import NodeInfo, PodInfo

Reasons = tuple[str, ...]
Filter = Callable[[PodInfo, NodeInfo], Reasons]

_CORDON = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


def unschedulable(info: PodInfo, node: NodeInfo) -> Reasons:
    """The node is cordoned, and the Pod does not tolerate that."""
    if node.node.spec.unschedulable and not _tolerated(info.pod.spec.tolerations, _CORDON):
        return ("node(s) were unschedulable",)
    return ()


def _tolerated(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    return any(tolerates(toleration, taint) for toleration in tolerations)


def taints(info: PodInfo, node: NodeInfo) -> Reasons:
    """A taint that keeps it away."""
    spec = info.pod.spec
    taint = untolerated(node.node.spec.taints, spec.tolerations, "NoSchedule", "NoExecute")
    if taint is None:
        return ()
    return (f"node(s) had untolerated taint {{{taint.key}: {taint.value or ''}}}",)


def affinity(info: PodInfo, node: NodeInfo) -> Reasons:
    """nodeSelector and required node affinity."""
    if allows(info.pod, node.node):
        return ()
    return ("node(s) didn't match Pod's node affinity/selector",)


def ports(info: PodInfo, node: NodeInfo) -> Reasons:
    """Host ports that are taken."""
    if info.ports and any(w.conflicts(u) for u in node.used_ports() for w in info.ports):
        return ("node(s) didn't have free ports for the requested pod ports",)
    return ()


def resources(info: PodInfo, node: NodeInfo) -> Reasons:
    """Requests beyond what is free; only what a Pod requests can be missing."""
    missing = []
    if len(node.pods) + 1 > node.allocatable.get("pods", 0):
        missing.append("Too many pods")
    for name, amount in sorted(info.requests.items()):
        free = node.allocatable.get(name, 0) - node.requested.get(name, 0)
        if amount > 0 and amount > free:
            missing.append(f"Insufficient {name}")
    return tuple(missing)


FILTERS: Sequence[Filter] = (unschedulable, taints, affinity, ports, resources)


def refusals(info: PodInfo, node: NodeInfo) -> Reasons:
    """Why a Pod cannot run on a node; nothing if it can, as far as the node alone says."""
    for refuse in FILTERS:
        reasons = refuse(info, node)
        if reasons:
            return reasons
    return ()
