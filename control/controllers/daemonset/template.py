"""The Pods of a DaemonSet: makes them, and finds the node of each. Pure."""

from control.api import kinds
from control.api.meta import ObjectMeta
from control.api.node import Node
from control.api.placement import (
    Affinity,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Toleration,
)
from control.api.pod import Pod, PodSpec
from control.api.scheduling import allows, untolerated
from control.api.workload import DaemonSet
from control.controllers.history import REVISION_HASH
from control.controllers.state import owner_reference

_NAME_FIELD = "metadata.name"
# The taints that every daemon tolerates: it belongs to its node, in whatever state that is.
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


def daemon(daemon_set: DaemonSet, node: str, digest: str) -> Pod:
    """Return the Pod for a node, without a name; its affinity makes the scheduler bind it there."""
    template = daemon_set.spec.template
    meta = template.metadata
    affinity = template.spec.affinity or Affinity()
    bound = affinity.model_copy(update={"node_affinity": _only(affinity.node_affinity, node)})
    spec = template.spec.model_copy(
        update={"affinity": bound, "tolerations": _tolerations(template.spec)}
    )
    return Pod(
        metadata=ObjectMeta(
            generate_name=f"{daemon_set.metadata.name}-",
            namespace=daemon_set.metadata.namespace,
            labels=meta.labels | {REVISION_HASH: digest},
            annotations=meta.annotations,
            finalizers=meta.finalizers,
            owner_references=[owner_reference(kinds.DAEMON_SET, daemon_set)],
        ),
        spec=spec,
    )


def _only(affinity: NodeAffinity | None, node: str) -> NodeAffinity:
    name = NodeSelectorRequirement(key=_NAME_FIELD, operator="In", values=[node])
    # The template's own terms were checked when the node was chosen.
    required = NodeSelector(node_selector_terms=[NodeSelectorTerm(match_fields=[name])])
    return (affinity or NodeAffinity()).model_copy(update={"required": required})


def _tolerations(spec: PodSpec) -> list[Toleration]:
    wanted = [*_TOLERATED, _HOST_NETWORK] if spec.host_network else _TOLERATED
    added = [Toleration(key=key, operator="Exists", effect=effect) for key, effect in wanted]
    return [*spec.tolerations, *(item for item in added if item not in spec.tolerations)]


def node_of(pod: Pod) -> str | None:
    """Return the node of a daemon, bound or not."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    terms = affinity.required.node_selector_terms if affinity and affinity.required else []
    for term in terms:
        for field in term.match_fields:
            if field.key == _NAME_FIELD and field.operator == "In" and len(field.values) == 1:
                return field.values[0]
    return None


def should_run(daemon_set: DaemonSet, node: Node) -> bool:
    """True if a node should have a daemon."""
    return _fits(daemon_set, node, "NoSchedule", "NoExecute")


def may_stay(daemon_set: DaemonSet, node: Node) -> bool:
    """True if a running daemon may stay: new NoSchedule taints do not evict it."""
    return _fits(daemon_set, node, "NoExecute")


def _fits(daemon_set: DaemonSet, node: Node, *effects: str) -> bool:
    spec = daemon_set.spec.template.spec
    if spec.node_name and spec.node_name != node.metadata.name:
        return False
    if not allows(Pod(spec=spec), node):
        return False
    return untolerated(node.spec.taints, _tolerations(spec), *effects) is None
