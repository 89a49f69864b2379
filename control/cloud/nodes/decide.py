"""What a Node gets of the cloud: labels, providerID, addresses, and fewer or more taints. Pure.

Source: k8s.io/cloud-provider/controllers/node, and k8s.io/cloud-provider/node/helpers.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from control.api.node import Node, NodeAddress, Taint
from control.cloud.provider import CloudError, Instance

UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
SHUTDOWN = "node.cloudprovider.kubernetes.io/shutdown"
NODE_IP = "alpha.kubernetes.io/provided-node-ip"  # kubelet's --node-ip, IP[,IP6]
# The older label of each pair decides, upstream too: kubelets before 1.17 know only that one.
ZONE = ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone")
REGION = ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region")
TYPE = ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type")


def waits(node: Node) -> bool:
    """True if a Node waits for the cloud: Pods stay away from it."""
    return any(taint.key == UNINITIALIZED for taint in node.spec.taints)


def initialized(node: Node, instance: Instance) -> dict[str, Any]:
    """Return the merge patch that initializes a Node, if it is as it was; raises CloudError."""
    if not instance.provider_id and not node.spec.provider_id:
        raise CloudError(f"cloud provider does not set node provider ID for node {_name(node)}")
    enforced(node, instance.addresses)  # a --node-ip that the machine has not keeps the taint
    spec: dict[str, Any] = {"taints": _wire(t for t in node.spec.taints if t.key != UNINITIALIZED)}
    if not node.spec.provider_id:
        spec["providerID"] = instance.provider_id
    pairs = (TYPE, instance.type), (ZONE, instance.zone), (REGION, instance.region)
    labels = {key: value for keys, value in pairs if value for key in keys}
    return {"metadata": _same(node) | {"labels": labels}, "spec": spec}


def relabeled(node: Node) -> dict[str, str]:
    """Return the newer labels that differ from the older ones."""
    have = node.metadata.labels
    return {
        new: have[old]
        for old, new in (ZONE, REGION, TYPE)
        if old in have and have.get(new) != have[old]
    }


def addressed(node: Node, given: Iterable[NodeAddress]) -> list[NodeAddress] | None:
    """Return the addresses that a Node must get; None if it has them. Raises CloudError.

    A cloud without addresses changes none; one without the host's name keeps the kubelet's.
    """
    wanted = list(given)
    if not wanted:
        return None
    if not any(each.type == "Hostname" for each in wanted):
        wanted += [each for each in node.status.addresses if each.type == "Hostname"]
    wanted = enforced(node, wanted)
    return None if wanted == node.status.addresses else wanted


def enforced(node: Node, given: Iterable[NodeAddress]) -> list[NodeAddress]:
    """Return addresses with those of the kubelet's --node-ip first, and alone of their type.

    Raises CloudError if the cloud's machine has none of these addresses.
    """
    found = list(given)
    first: list[NodeAddress] = []
    for text in filter(None, node.metadata.annotations.get(NODE_IP, "").split(",")):
        same = [each for each in found if _equal(each.address, text)]
        if not same:
            raise CloudError(
                f"provided node ip for node {_name(node)} is not valid: failed to get node address "
                f"from cloud provider that matches ip: {text}; give the node's agent an address "
                "of its machine as --node-ip"
            )
        first += same
    types = {each.type for each in first}
    return first + [each for each in found if each.type not in types]


def _equal(address: str, text: str) -> bool:
    try:
        return ip_address(address) == ip_address(text.strip())
    except ValueError:  # a host's name
        return False


def with_shutdown(node: Node) -> dict[str, Any] | None:
    """Return the patch that marks a machine as off; None if it is marked."""
    if any(taint.key == SHUTDOWN for taint in node.spec.taints):
        return None
    taints = [*node.spec.taints, Taint(key=SHUTDOWN, effect="NoSchedule")]
    return {"metadata": _same(node), "spec": {"taints": _wire(taints)}}


def without_shutdown(node: Node) -> dict[str, Any] | None:
    """Return the patch that takes the mark off; None if there is none."""
    rest = [taint for taint in node.spec.taints if taint.key != SHUTDOWN]
    if len(rest) == len(node.spec.taints):
        return None
    return {"metadata": _same(node), "spec": {"taints": _wire(rest)}}


def ready(node: Node) -> bool:
    """True if a Node's condition Ready is True."""
    return any((c.type, c.status) == ("Ready", "True") for c in node.status.conditions)


def _wire(taints: Iterable[Taint]) -> list[dict[str, Any]] | None:
    return [taint.wire() for taint in taints] or None


def _same(node: Node) -> dict[str, Any]:
    """Let the server refuse the patch if the Node has changed: a list of taints is replaced."""
    return {"resourceVersion": node.metadata.resource_version, "uid": node.metadata.uid}


def _name(node: Node) -> str:
    return node.metadata.name
