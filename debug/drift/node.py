"""Compares what Pods have on a node: leases, links, namespaces, flows, policies. Pure."""

from collections.abc import Iterator
from dataclasses import replace

from debug.doctor.checks.pods import leaks
from debug.doctor.checks.tracking import stale_flows
from debug.doctor.look import Look, NodeLook
from debug.drift.model import Drift, State
from debug.machine.values import MachineState
from debug.model import Level
from proxy.policy.render import TABLE


def pod_drift(look: Look, node: NodeLook, machine: MachineState) -> Iterator[Drift]:
    """Yield what differs between the Pods of a node and what it holds for them."""
    yield from _leases(node, machine)
    yield from _links(node, machine)
    yield from _namespaces(look, node, machine)
    for one in stale_flows(replace(look, nodes=(node,))):
        if one.level is Level.FAIL:
            what = one.evidence[0]
            yield Drift(node.name, State.STALE, "flow", what, one.about, one.consequence)


def _leases(node: NodeLook, machine: MachineState) -> Iterator[Drift]:
    for lease in leaks(machine):
        what = f"/var/lib/cni/networks/{lease.network}/{lease.address}"
        owner = f"container {lease.container[:12]}, which is gone"
        yield Drift(node.name, State.STALE, "lease", what, owner, "no Pod can get this address")
    reserved = {lease.address for lease in machine.reservations}
    for at in machine.attachments if machine.reservations else ():
        for cidr in at.addresses if at.exists else ():
            address = cidr.partition("/")[0]
            if address not in reserved:
                what = f"/var/lib/cni/networks/{at.network}/{address}"
                why = "another Pod may get the same address"
                yield Drift(node.name, State.MISSING, "lease", what, f"Pod {at.pod}", why)


def _links(node: NodeLook, machine: MachineState) -> Iterator[Drift]:
    named = {name: at.pod for at in machine.attachments if at.exists for name in at.host_links}
    for name, pod in named.items():
        if node.space.named(name) is None:
            why = "the Pod reaches nobody, and nobody reaches it"
            yield Drift(node.name, State.MISSING, "link", name, f"Pod {pod}", why)
    bridge = node.bridge
    for link in node.space.links if bridge and named else ():
        if bridge and link.master == bridge.index and link.name not in named:
            why = "it gets what the bridge floods, and may answer for a Pod"
            yield Drift(node.name, State.FOREIGN, "link", link.name, "no Pod", why)


def _namespaces(look: Look, node: NodeLook, machine: MachineState) -> Iterator[Drift]:
    alive = {"/".join(pod.key) for pod in node.pods}
    for at in machine.attachments:
        if not at.exists:
            is_alive = at.pod in alive
            state = State.MISSING if is_alive else State.STALE
            why = "the Pod has no network" if is_alive else "its lease and its link may be left"
            yield Drift(node.name, state, "namespace", at.netns, f"Pod {at.pod}", why)
        elif look.has_api and at.pod and at.pod not in alive:
            why = "a Pod that the API does not know has a network"
            yield Drift(node.name, State.FOREIGN, "namespace", at.netns, f"Pod {at.pod}", why)


def policy_drift(look: Look, node: NodeLook, machine: MachineState) -> Iterator[Drift]:
    """Yield policies without rules, and rules without policies.

    Only whether there are rules is compared, and not what they say: policies' chains have numbers
    that depend on what came first.
    """
    policies = [*look.cluster.policies, *look.cluster.cluster_policies]
    has_table = any(name == TABLE for _, name in machine.tables())
    if policies and not has_table:
        names = ", ".join("/".join(filter(None, one.key)) for one in policies[:5])
        why = "every Pod of this node is open to all"
        what = f"nft table {TABLE}"
        yield Drift(node.name, State.MISSING, "policy", what, f"NetworkPolicy {names}", why)
    elif has_table and not policies:
        why = "Pods may refuse connections that nothing forbids"
        yield Drift(node.name, State.STALE, "policy", f"nft table {TABLE}", "no policy", why)
