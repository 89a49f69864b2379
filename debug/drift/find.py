"""Finds all drift of a snapshot. Rules are compared as a kernel lists them, for which it asks."""

from collections.abc import Iterator

from control.node_network.render import TABLE as NODE_TABLE
from debug.doctor.look import Look, NodeLook, look_at
from debug.drift import wanted
from debug.drift.admissions import admission_drift
from debug.drift.model import Drift, State
from debug.drift.network import network_drift
from debug.drift.node import pod_drift, policy_drift
from debug.drift.policies import (
    PolicyOwners,
    admissions,
    bridge_table,
    policy_index,
    policy_tables,
    with_ports,
)
from debug.drift.policy_rules import policy_rule_drift
from debug.drift.rules import iptables_drift, nft_drift
from debug.drift.scratch import ScratchError, listed, saved
from debug.drift.tables import service_drift
from debug.machine.values import MachineState
from debug.snapshot import Snapshot
from proxy.backends.iptables.tool import Flavor, IptablesTool
from proxy.backends.nftables.objects import TABLE
from proxy.linux.netlink import BRIDGE
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family
from proxy.policy.render import TABLE as POLICY_TABLE

_PROXY_TABLES = {("ip", TABLE), ("ip6", TABLE)}
_NODE_TABLES = {("inet", NODE_TABLE)}
_FAMILIES = ("ip", "ip6")
_PINS = ("maps/frontends", "maps/endpoints")


def find(snapshot: Snapshot, node: str = "") -> tuple[Drift, ...]:
    """Return what differs on every node, or on one. Without the API's objects nothing is known."""
    if snapshot.cluster is None:
        why = "the API's objects were not read, so nobody knows what should be there"
        return (Drift(node, State.UNKNOWN, "snapshot", why),)
    look = look_at(snapshot)
    if why := look.why_no_nodes:
        return (Drift(node, State.UNKNOWN, "snapshot", why),)
    found = (drift for one in look.nodes if node in ("", one.name) for drift in _of_node(look, one))
    return tuple(sorted(set(found)))


def _of_node(look: Look, node: NodeLook) -> Iterator[Drift]:
    machine = node.machine
    if machine is None:
        yield Drift(node.name, State.UNKNOWN, "node", "it was not read beside its network")
        return
    for part, why in machine.unread.items():
        yield Drift(node.name, State.UNKNOWN, part, f"it could not be read: {why}")
    served = wanted.services(look, node)
    try:
        yield from _rules(look, node, machine, served)
    except (ScratchError, KernelRefusedError, ValueError) as err:  # of objects and settings, too
        yield Drift(node.name, State.UNKNOWN, "rule", str(err))
    yield from pod_drift(look, node, machine)
    try:
        yield from _policies(look, node, machine, served)
    except (ScratchError, ValueError) as err:
        yield Drift(node.name, State.UNKNOWN, "policy", str(err))


def _rules(
    look: Look, node: NodeLook, machine: MachineState, served: wanted.Served
) -> Iterator[Drift]:
    plan = wanted.network(look, node)
    if plan is not None:
        yield from network_drift(look, node, plan)
        want = listed(wanted.masquerading(plan))
        yield from nft_drift(node.name, want, machine.objects, _NODE_TABLES, look.names)
    if machine.proxy is None:
        yield Drift(node.name, State.UNKNOWN, "proxy", "it does not answer: its mode is not known")
    elif machine.proxy.foreign:
        why = "another program's rules: drift knows how podwire's proxy writes them"
        yield Drift(node.name, State.UNKNOWN, "proxy", f"{why}; podwire services compares them")
    elif node.mode == "iptables":
        yield from _iptables(look, node, machine, served)
    else:
        want = listed(wanted.nft_tables(node, served))
        yield from nft_drift(node.name, want, machine.objects, _PROXY_TABLES, look.names)
        if node.mode == "ebpf":
            yield from _maps(look, node, machine, served)


def _iptables(
    look: Look, node: NodeLook, machine: MachineState, served: wanted.Served
) -> Iterator[Drift]:
    texts = machine.iptables
    used = {name.split()[0] for name, text in texts.items() if ":KUBE-SERVICES" in text}
    flavor = Flavor.LEGACY if used == {"legacy"} else Flavor.NFT
    for family in Family:
        want = saved(IptablesTool(family, flavor), wanted.iptables_rules(node, served, family))
        have = texts.get(f"{flavor} {int(family)}", "")
        yield from iptables_drift(node.name, flavor, want, have, look.names)


def _maps(
    look: Look, node: NodeLook, machine: MachineState, served: wanted.Served
) -> Iterator[Drift]:
    """Yield what differs in what the programs balance by."""
    yield from _pins(node, machine)
    if machine.maps.get("settings"):
        want, owners = wanted.service_tables(node, served, machine.maps)
        yield from service_drift(node.name, want, machine.maps, look.names, owners)


def _policies(
    look: Look, node: NodeLook, machine: MachineState, served: wanted.Served
) -> Iterator[Drift]:
    """Yield what differs of policies: whether there are rules, then each of them."""
    yield from policy_drift(look, node, machine)
    tables = machine.tables()
    if not (look.cluster.policies or look.cluster.cluster_policies) or machine.proxy is None:
        return
    index = policy_index(look, node)
    owners, settings = PolicyOwners(look, index), wanted.settings(node)
    view = served[1]
    text = policy_tables(index, node, settings, view)
    by_programs = (BRIDGE, POLICY_TABLE) in tables
    if by_programs:
        text += bridge_table()
    want = with_ports(listed(text), node, settings, view)
    for family in (*_FAMILIES, *([BRIDGE] if by_programs else [])):
        where = family, POLICY_TABLE
        if where in tables:
            yield from policy_rule_drift(node.name, want, machine.objects, where, owners.of)
    if by_programs:
        yield from admission_drift(node.name, admissions(index), machine.maps, owners.of)


def _pins(node: NodeLook, machine: MachineState) -> Iterator[Drift]:
    for name in _PINS:
        if name not in machine.pinned:
            why = "sockets and packets are balanced by nftables' rules alone, or not at all"
            what = f"/sys/fs/bpf/podwire-proxy/{name}"
            yield Drift(node.name, State.MISSING, "map", what, "every Service", why)
