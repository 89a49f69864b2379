"""Filters the nodes that can run a Pod, and gives the reasons against the others. Pure.

Order and texts are upstream's (pkg/scheduler/framework/plugins); the first filter that refuses a
node gives the reason.
"""

from collections.abc import Callable, Iterable, Sequence

from control.api.node import Taint
from control.api.placement import Toleration
from control.api.scheduling import allows, tolerates, untolerated
from control.scheduler.model import NodeInfo, PodInfo, Refusal

Filter = Callable[[PodInfo, NodeInfo], Refusal | None]

_CORDON = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


def unschedulable(info: PodInfo, node: NodeInfo) -> Refusal | None:
    """Refuse a cordoned node, unless the Pod tolerates that."""
    if node.node.spec.unschedulable and not _tolerated(info.pod.spec.tolerations, _CORDON):
        return Refusal(("node(s) were unschedulable",), final=True)
    return None


def _tolerated(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    return any(tolerates(toleration, taint) for toleration in tolerations)


def taints(info: PodInfo, node: NodeInfo) -> Refusal | None:
    """Refuse a node with a taint that the Pod does not tolerate."""
    spec = info.pod.spec
    taint = untolerated(node.node.spec.taints, spec.tolerations, "NoSchedule", "NoExecute")
    if taint is None:
        return None
    text = f"node(s) had untolerated taint {{{taint.key}: {taint.value or ''}}}"
    return Refusal((text,), final=True)


def affinity(info: PodInfo, node: NodeInfo) -> Refusal | None:
    """Refuse a node that does not match nodeSelector or required node affinity."""
    if allows(info.pod, node.node):
        return None
    return Refusal(("node(s) didn't match Pod's node affinity/selector",), final=True)


def ports(info: PodInfo, node: NodeInfo) -> Refusal | None:
    """Refuse a node on which a wanted host port is taken."""
    if info.ports and any(w.conflicts(u) for u in node.used_ports() for w in info.ports):
        return Refusal(("node(s) didn't have free ports for the requested pod ports",))
    return None


def resources(info: PodInfo, node: NodeInfo) -> Refusal | None:
    """Refuse a node with less free of a resource than the Pod requests."""
    missing, final = [], False
    if len(node.pods) + 1 > node.allocatable.get("pods", 0):
        missing.append("Too many pods")
    for name, amount in sorted(info.requests.items()):
        whole = node.allocatable.get(name, 0)
        if amount > 0 and amount > whole - node.requested.get(name, 0):
            missing.append(f"Insufficient {name}")
            final = final or amount > whole
    return Refusal(tuple(missing), final) if missing else None


FILTERS: Sequence[Filter] = (unschedulable, taints, affinity, ports, resources)


def refusal(info: PodInfo, node: NodeInfo) -> Refusal | None:
    """Return why the first filter that refuses a node does so; None if no filter does."""
    return next((found for refuse in FILTERS if (found := refuse(info, node))), None)
