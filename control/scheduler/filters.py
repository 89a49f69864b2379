"""Filters the nodes that can run a Pod, and gives the reasons against the others. Pure.

Order and texts are upstream's (pkg/scheduler/framework/plugins); the first filter that refuses a
node gives the reason.
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
    """Refuse a cordoned node, unless the Pod tolerates that."""
    if node.node.spec.unschedulable and not _tolerated(info.pod.spec.tolerations, _CORDON):
        return ("node(s) were unschedulable",)
    return ()


def _tolerated(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    return any(tolerates(toleration, taint) for toleration in tolerations)


def taints(info: PodInfo, node: NodeInfo) -> Reasons:
    """Refuse a node with a taint that the Pod does not tolerate."""
    spec = info.pod.spec
    taint = untolerated(node.node.spec.taints, spec.tolerations, "NoSchedule", "NoExecute")
    if taint is None:
        return ()
    return (f"node(s) had untolerated taint {{{taint.key}: {taint.value or ''}}}",)


def affinity(info: PodInfo, node: NodeInfo) -> Reasons:
    """Refuse a node that does not match nodeSelector or required node affinity."""
    if allows(info.pod, node.node):
        return ()
    return ("node(s) didn't match Pod's node affinity/selector",)


def ports(info: PodInfo, node: NodeInfo) -> Reasons:
    """Refuse a node on which a wanted host port is taken."""
    if info.ports and any(w.conflicts(u) for u in node.used_ports() for w in info.ports):
        return ("node(s) didn't have free ports for the requested pod ports",)
    return ()


def resources(info: PodInfo, node: NodeInfo) -> Reasons:
    """Refuse a node with less free of a resource than the Pod requests."""
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
    """Return the reasons against a node; none if no filter refuses it."""
    for refuse in FILTERS:
        reasons = refuse(info, node)
        if reasons:
            return reasons
    return ()
