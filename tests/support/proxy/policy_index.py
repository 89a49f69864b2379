"""The worlds of the policy table, as the evaluator's cluster and as the index."""

from ipaddress import ip_address

from msgspec import convert

from proxy.model.values import Address, Protocol
from proxy.objects.parse import Complaints
from proxy.policy import wire
from proxy.policy.index import PolicyIndex
from proxy.policy.parse import parse_namespace, parse_pod, parse_policy
from proxy.policy.tiers.parse import parse_cluster_policy
from proxy.policy.values import ClusterPolicy, Policy
from tests.support.proxy.evaluate import Cluster, Packet
from tests.support.proxy.policy_table import (
    NAMESPACES,
    OUTSIDE,
    PODS,
)

PLACES = {one["metadata"]["name"]: one["status"]["podIPs"] for one in PODS}


NODE = "10.9.9.9"


def parsed_cluster(wires: list[dict]) -> list[ClusterPolicy]:
    found = []
    for one in wires:
        if one["kind"] == "ClusterNetworkPolicy":
            value = convert(one, wire.ClusterNetworkPolicy)
            policy_ = parse_cluster_policy(value, Complaints("policy"))
            found += [policy_] if policy_ else []
    return found


def parsed(wires: list[dict]) -> list[Policy]:
    found = []
    for one in wires:
        if one["kind"] != "NetworkPolicy":
            continue
        policy_ = parse_policy(convert(one, wire.NetworkPolicy), Complaints("policy"))
        found += [policy_] if policy_ else []
    return found


def cluster(wires: list[dict]) -> Cluster:
    pods = [parse_pod(convert(one, wire.Pod), "n1") for one in PODS]
    spaces = [parse_namespace(convert(one, wire.Namespace)) for one in NAMESPACES]
    nodes = {one.key: frozenset({ip_address(NODE)}) for one in pods if one}
    known = [one for one in pods if one]
    namespaces = {one.name: one for one in spaces}
    return Cluster(known, namespaces, parsed(wires), nodes, parsed_cluster(wires))


def index(world: Cluster) -> PolicyIndex:
    """Return the index of a world. Every Pod counts as this node's, to see both sides."""
    made = PolicyIndex()
    for name, one in world.namespaces.items():
        made.set_namespace(name, one)
    for one in world.pods:
        made.set_pod(one.key, one)
    for one in world.policies:
        made.set_policy(one.key, one)
    for one in world.cluster_policies:
        made.set_cluster_policy(one.name, one)
    made.take()
    return made


def packet(text: str) -> tuple[str, Packet]:
    flow, _, protocol = text.partition("/")
    ends, _, number = flow.partition(":")
    source, destination = (place(name) for name in ends.split(">"))
    kind = Protocol(protocol or "TCP") if number else None
    return text, Packet(source, destination, int(number or 0), kind)


def place(name: str) -> Address:
    version = 6 if name.endswith("6") else 4
    name = name.removesuffix("6")
    known = {"out": OUTSIDE, "node": (NODE,)}
    texts = known[name] if name in known else [one["ip"] for one in PLACES[name]]
    return next(one for one in map(ip_address, texts) if one.version == version)
