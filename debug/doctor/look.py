"""A snapshot as checks see it: each node with its namespace, its rules, its object and its Pods."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_interface, ip_network

from control.node_network.plan import Peer
from debug.cluster import ClusterState, Names
from debug.kernel.values import Link, SpaceState
from debug.machine.values import MachineState
from debug.model import Finding, Level
from debug.places import SWITCH
from debug.snapshot import Snapshot
from proxy.backends.nftables.objects import TABLE
from proxy.model.values import Address, Network
from proxy.objects.wire import Node, Service
from proxy.policy.wire import Pod

LINK = "docs/debug/doctor.md#{}"
_ENDED = ("Succeeded", "Failed")
_KUBE_PROXY = "kube-proxy"  # the table of kube-proxy's mode nftables


@dataclass(frozen=True)
class NodeLook:
    """One node. ``machine`` and ``api`` are None if they were not read."""

    name: str
    space: SpaceState
    machine: MachineState | None
    api: Node | None
    pods: tuple[Pod, ...]  # that run there, in networks of their own
    spaces: tuple[tuple[tuple[str, str], SpaceState], ...]  # of Pods, with their names

    @cached_property
    def peer(self) -> Peer:
        """The node's addresses and Pod ranges; none without its object."""
        return peer_of(self.api) if self.api else Peer(self.name, (), ())

    @cached_property
    def local(self) -> frozenset[Address]:
        """The addresses of this node's own links."""
        return frozenset(ip_interface(one.ip).ip for one in self.space.addresses)

    @cached_property
    def uplink(self) -> Link | None:
        """The link with the node's address."""
        wanted = set(self.peer.addresses)
        for one in self.space.addresses:
            if ip_interface(one.ip).ip in wanted:
                return self.space.link(one.link)
        return None

    @cached_property
    def bridge(self) -> Link | None:
        """The bridge where Pods meet: one with an address in the node's Pod ranges."""
        for one in self.space.addresses:
            link = self.space.link(one.link)
            address = ip_interface(one.ip).ip
            if link and link.kind == "bridge" and any(address in net for net in self.peer.cidrs):
                return link
        return None

    @cached_property
    def tunnels(self) -> tuple[Link, ...]:
        """The VXLAN devices."""
        return tuple(link for link in self.space.links if link.kind == "vxlan")

    @cached_property
    def mode(self) -> str:
        """The proxy's mode: as it tells, else by its rules; empty if neither shows one."""
        if self.machine is None:
            return ""
        if self.machine.proxy is not None:
            return self.machine.proxy.mode
        names = {name for _, name in self.machine.tables()}
        if names & {TABLE, _KUBE_PROXY}:
            return "ebpf" if self.machine.pinned else "nftables"
        has_chains = any(":KUBE-SERVICES" in text for text in self.machine.iptables.values())
        return "iptables" if has_chains else ""

    def sysctl(self, name: str) -> str:
        """A setting of the node's network; empty if it was not read."""
        return self.space.sysctls.get(name, "")


@dataclass(frozen=True)
class Look:
    """The whole snapshot. Without the API's objects ``cluster`` is empty and ``has_api`` false."""

    nodes: tuple[NodeLook, ...]
    cluster: ClusterState
    has_api: bool
    switch: SpaceState | None = None  # a lab's
    strangers: tuple[str, ...] = ()  # machines that were read, and have no Node

    @property
    def why_no_nodes(self) -> str:
        """Why there is no node to look at; empty if there is one."""
        if self.nodes:
            return ""
        names = ", ".join(self.strangers) or "no machine"
        return f"no Node of the API has the name of a machine that was read: {names}"

    @cached_property
    def names(self) -> Names:
        """The names of addresses."""
        return Names(self.cluster)

    @cached_property
    def ranges(self) -> tuple[Network, ...]:
        """The Pod ranges of all nodes."""
        return tuple(cidr for node in self.cluster.nodes for cidr in peer_of(node).cidrs)

    @cached_property
    def pods(self) -> dict[str, Pod]:
        """The living Pods by their addresses."""
        found = {}
        for pod in self.cluster.pods:
            if is_alive(pod):
                for one in pod.status.pod_ips:
                    found[one.ip or ""] = pod
        return found

    def served(self) -> Iterator[Service]:
        """The Services that have addresses."""
        for one in self.cluster.services:
            if one.spec.type != "ExternalName" and one.spec.cluster_ip not in (None, "", "None"):
                yield one


def look_at(snapshot: Snapshot) -> Look:
    """Join a snapshot by node. A lab's machines that are no nodes are left out."""
    cluster = snapshot.cluster or ClusterState()
    objects = {node.metadata.name: node for node in cluster.nodes}
    nodes, strangers = [], []
    for one in snapshot.nodes():
        if one.node == SWITCH:
            continue
        if snapshot.cluster and one.node not in objects:
            strangers.append(one.node)
            continue
        inside = ((at.pod, at.state) for at in snapshot.spaces if at.node == one.node)
        nodes.append(
            NodeLook(
                one.node,
                one.state,
                snapshot.machine(one.node),
                objects.get(one.node),
                tuple(pod for pod in cluster.pods if _is_on(pod, one.node)),
                tuple((pod, state) for pod, state in inside if pod is not None),
            )
        )
    has_api, switch = snapshot.cluster is not None, snapshot.node(SWITCH)
    return Look(tuple(nodes), cluster, has_api, switch, tuple(strangers))


def peer_of(node: Node) -> Peer:
    """Read a node's part in the network; invalid addresses and ranges are left out."""
    texts = (one.address for one in node.status.addresses if one.type == "InternalIP")
    ranges = node.spec.pod_cidrs or [node.spec.pod_cidr or ""]
    return Peer(node.metadata.name, tuple(_addresses(texts)), tuple(_networks(ranges)))


def is_alive(pod: Pod) -> bool:
    """True if a Pod has addresses of its own that nobody else may have."""
    return not pod.spec.host_network and pod.status.phase not in _ENDED


def _is_on(pod: Pod, node: str) -> bool:
    return pod.spec.node_name == node and is_alive(pod)


def _addresses(texts: Iterator[str]) -> Iterator[Address]:
    for text in texts:
        try:
            yield ip_address(text)
        except ValueError:
            continue


def _networks(texts: list[str]) -> Iterator[Network]:
    for text in texts:
        try:
            yield ip_network(text, strict=False)
        except ValueError:
            continue


def ok(check: str, node: str, summary: str, *evidence: str) -> Finding:
    """Say that nothing is wrong, and what was read."""
    return Finding(check, Level.OK, summary, node, evidence=evidence)


def unknown(check: str, node: str, summary: str, *evidence: str, fix: str = "") -> Finding:
    """Say what could not be seen."""
    return Finding(check, Level.UNKNOWN, summary, node, evidence=evidence, fix=fix)


def found(
    check: str,
    level: Level,
    node: str,
    summary: str,
    *evidence: str,
    about: str = "",
    cause: str = "",
    consequence: str = "",
    fix: str = "",
) -> Finding:
    """Say what is wrong."""
    link = LINK.format(check)
    return Finding(check, level, summary, node, about, evidence, cause, consequence, fix, link)


def unread(check: str, node: NodeLook, part: str) -> Finding | None:
    """Say that a part of a node could not be read; None if it could."""
    if node.machine is None:
        return unknown(check, node.name, "the node was not read beside its network")
    if (why := node.machine.unread.get(part)) is None:
        return None
    return unknown(check, node.name, f"{part} could not be read", why, fix="run it as root there")
