"""What a node's status says once nobody has heard of the node for too long. Pure."""

from control.api.meta import Condition
from control.api.node import Node
from control.api.times import rfc3339

# The conditions that an agent reports; they are Unknown when it is silent.
_REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def silent(node: Node, now: float) -> Node | None:
    """Return the node with all conditions Unknown; None if they are Unknown already."""
    known = {c.type: c for c in node.status.conditions}
    if all(kind in known and known[kind].status == "Unknown" for kind in _REPORTED):
        return None
    marked = {kind: _unknown(kind, known.get(kind), now) for kind in _REPORTED}
    conditions = list((known | marked).values())
    status = node.status.model_copy(update={"conditions": conditions})
    return node.model_copy(update={"status": status})


def _unknown(kind: str, known: Condition | None, now: float) -> Condition:
    if known is not None and known.status == "Unknown":
        return known
    never = known is None
    return Condition(
        type=kind,
        status="Unknown",
        reason="NodeStatusNeverUpdated" if never else "NodeStatusUnknown",
        message="Kubelet never posted node status."
        if never
        else "Kubelet stopped posting node status.",
        last_heartbeat_time=known.last_heartbeat_time if known else rfc3339(now),
        last_transition_time=rfc3339(now),
    )
