"""What policies want on a node, by the functions of those who enforce them: pure."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

from debug.doctor.look import Look, NodeLook
from debug.drift.scratch import Objects
from debug.kernel.values import Link as SpaceLink
from proxy.backends.ebpf.installed.tables import Tables
from proxy.backends.ebpf.policy import GUARDED
from proxy.backends.nftables.transaction import table_name
from proxy.linux.bridges import pod_bridges
from proxy.linux.links import Link
from proxy.linux.netlink import BRIDGE
from proxy.model.settings import ProxySettings
from proxy.model.values import NodeView
from proxy.objects.parse import Complaints
from proxy.policy.bridge.admissions import AdmissionTable
from proxy.policy.bridge.rules import FOREIGN, BridgeRules
from proxy.policy.index import PolicyIndex
from proxy.policy.parse import parse_namespace, parse_pod, parse_policy
from proxy.policy.render import TABLE
from proxy.policy.ruleset import PolicyRuleset
from proxy.policy.tiers.parse import parse_cluster_policy
from proxy.policy.values import Direction, Pod, Tier


def policy_index(look: Look, node: NodeLook) -> PolicyIndex:
    """Return the objects as a node's proxy holds them for policies."""
    found = PolicyIndex()
    for space in look.cluster.namespaces:
        found.set_namespace(space.metadata.name, parse_namespace(space))
    for pod in look.cluster.pods:
        found.set_pod(pod.key, parse_pod(pod, node.name))
    for one in look.cluster.policies:
        found.set_policy(one.key, parse_policy(one, Complaints(one.metadata.name)))
    for other in look.cluster.cluster_policies:
        name = other.metadata.name
        found.set_cluster_policy(name, parse_cluster_policy(other, Complaints(name)))
    return found


def policy_tables(
    index: PolicyIndex, node: NodeLook, settings: ProxySettings, view: NodeView
) -> str:
    """Return the text that makes the tables of policies."""
    everything, bridges = index.everything(), _bridges(node, settings, view)
    return "".join(
        f"add table {table_name(family, TABLE)}\n"
        + PolicyRuleset(family, index).restart(everything, view.pod_cidrs, bridges)
        for family in settings.families
    )


def bridge_table() -> str:
    """Return the text that makes the rules of bridges where programs decide, without ports."""
    return BridgeRules().restart(frozenset(), frozenset())


def with_ports(want: Objects, node: NodeLook, settings: ProxySettings, view: NodeView) -> Objects:
    """Return the rules of bridges with their ports: those of Pods' bridges, and all others.

    Another namespace has no ports of these names, so they cannot be written there.
    """
    own = {one.index for one in node.space.links if one.name in _bridges(node, settings, view)}
    ports = [one for one in node.space.links if one.master]
    names = {
        GUARDED: [one.name for one in ports if one.master in own],
        FOREIGN: [one.name for one in ports if one.master not in own and _is_port(node, one)],
    }
    return tuple(
        (sort, {**one, "elem": names[one["name"]]})
        if sort == "set" and one.get("family") == BRIDGE and one["name"] in names
        else (sort, one)
        for sort, one in want
    )


def _is_port(node: NodeLook, link: SpaceLink) -> bool:
    bridge = node.space.link(link.master)
    return bridge is not None and bridge.kind == "bridge"


def admissions(index: PolicyIndex) -> Tables:
    """Return what the programs of bridges should admit, by the maps' names."""
    found: dict[str, list[tuple[bytes, bytes]]] = {}
    for at, value in AdmissionTable(index).restart(index.everything()).items():
        found.setdefault(at.store, []).append((at.key, value))
    return {name: tuple(entries) for name, entries in found.items()}


def _bridges(node: NodeLook, settings: ProxySettings, view: NodeView) -> list[str]:
    """The bridges where a node's Pods meet."""
    links = (
        Link(one.index, one.name, b"", one.master, one.kind == "bridge", True, False, ())
        for one in node.space.links
    )
    addresses = ((one.link, ip_interface(one.ip).ip) for one in node.space.addresses)
    return [one.name for one in pod_bridges(settings.pods, view.pod_cidrs, links, addresses)]


class PolicyOwners:
    """Names addresses: the Pod there, and the policies that select it."""

    def __init__(self, look: Look, index: PolicyIndex) -> None:
        self._names, self._index = look.names, index
        self._known: dict[str, str] = {}

    def of(self, address: str) -> str:
        """Return "Pod default/web, by NetworkPolicy default/deny"; "" for what is no Pod's."""
        if address not in self._known:
            self._known[address] = self._of(address)
        return self._known[address]

    def _of(self, address: str) -> str:
        try:
            pod = self._index.holder(ip_address(address))
        except ValueError:
            return ""
        if pod is None:
            return self._names.of(address)
        policies = ", ".join(dict.fromkeys(_policies(self._index, pod)))
        return f"Pod {'/'.join(pod.key)}" + (f", by {policies}" if policies else "")


def _policies(index: PolicyIndex, pod: Pod) -> Iterator[str]:
    for direction in Direction:
        yield from (f"NetworkPolicy {'/'.join(one.key)}" for one in index.guards(pod, direction))
    for tier in Tier:
        yield from (f"ClusterNetworkPolicy {one.name}" for one in index.ranked(pod, tier))
