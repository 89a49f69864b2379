"""The table's rows as objects of one cluster: each row in Kubernetes namespaces of its own.

A row comes three times: with all of its Pods on the node, with one of them on another node, and
with all but that one there. So each direction is asked alone too.
"""

import functools
import itertools
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from msgspec import convert

from proxy.model.values import Address, Protocol
from proxy.objects.parse import Complaints
from proxy.policy import wire
from proxy.policy.parse import parse_namespace, parse_pod, parse_policy
from proxy.policy.tiers.parse import parse_cluster_policy
from proxy.policy.values import ClusterPolicy, Policy
from tests.support.proxy.cluster_table import CLUSTER_TABLE, random_cluster
from tests.support.proxy.evaluate import Cluster, Packet, evaluate
from tests.support.proxy.policy_table import (
    ENDS,
    NAMESPACES,
    OUTSIDE,
    PODS,
    TABLE,
    random_policy,
)

NODE_IN_TABLE, NODE = "10.9.9.9", "10.244.1.1"
RANGES = ("10.60.0.0/16", "fdaa::/16")  # where the worlds' Pods are
HALVES = ("all", "without db", "only db")
_PORTS = ("", ":80", ":8080", ":80/UDP", ":80/SCTP", ":100", ":9001", ":100/UDP")


@dataclass
class PolicyWorld:
    """One set of policies with its Pods. ``flows`` are texts of the table and their fate."""

    name: str
    number: int
    half: str
    pods: list[dict]
    namespaces: list[dict]
    policies: list[dict]
    flows: dict[str, bool] = field(default_factory=dict)

    def place(self, name: str) -> Address:
        """Return the address of an end as the table writes it."""
        version = 6 if name.endswith("6") else 4
        name = name.removesuffix("6")
        named = {"out": OUTSIDE, "node": (NODE,)}
        pods = {one["metadata"]["name"]: one["status"]["podIPs"] for one in self.pods}
        texts = named[name] if name in named else [one["ip"] for one in pods[name]]
        return next(one for one in map(ip_address, texts) if one.version == version)

    def is_local(self, name: str) -> bool:
        """Return True if an end is a Pod of the node."""
        pods = {one["metadata"]["name"]: one["spec"]["nodeName"] for one in self.pods}
        return pods.get(name.removesuffix("6")) == "n1"

    def packet(self, flow: str) -> Packet:
        """Return the flow's first packet."""
        ends, port, protocol = parts(flow)
        kind = Protocol(protocol) if protocol else None
        return Packet(*map(self.place, ends), port, kind)

    def foresee(self, flows: list[str]) -> None:
        """Ask the evaluator about flows; a side has a say if its Pod is the node's."""
        pods = [one for w in self.pods if (one := parse_pod(convert(w, wire.Pod), "n1"))]
        spaces = [parse_namespace(convert(one, wire.Namespace)) for one in self.namespaces]
        found = [*map(_parsed, self.policies)]
        nodes = {one.key: frozenset({ip_address(NODE)}) for one in pods if one.is_local}
        local = {one.key for one in pods if one.is_local}
        known = {one.name: one for one in spaces}
        mine = [one for one in found if isinstance(one, Policy)]
        above = [one for one in found if isinstance(one, ClusterPolicy)]
        cluster = Cluster(pods, known, mine, nodes, above)
        for flow in flows:
            ends = parts(flow)[0]
            if any(map(self.is_local, ends)):
                sides = evaluate(cluster, self.packet(flow)).sides
                self.flows[flow] = all(one.passes for one in sides if one.pod in local)


def _parsed(one: dict) -> Policy | ClusterPolicy | None:
    complaints = Complaints("policy")
    if one["kind"] == "NetworkPolicy":
        return parse_policy(convert(one, wire.NetworkPolicy), complaints)
    return parse_cluster_policy(convert(one, wire.ClusterNetworkPolicy), complaints)


def parts(flow: str) -> tuple[tuple[str, str], int, str]:
    """Return both ends, the port, and the protocol of a flow, empty for a ping."""
    flow, _, protocol = flow.partition("/")
    ends, _, port = flow.partition(":")
    source, destination = ends.split(">")
    return (source, destination), int(port or 0), (protocol or "TCP") if port else ""


# Sets of random policies beside the rows, each met by packets in three modes. A long run has more.
RANDOM = int(os.environ.get("PODWIRE_RANDOM_POLICIES", "14"))


@functools.cache
def worlds() -> tuple[PolicyWorld, ...]:
    """Return every row of the table, then random sets of policies, each with its flows."""
    return tuple(_worlds(itertools.count(1), TABLE, RANDOM, _random_policies))


@functools.cache
def cluster_worlds() -> tuple[PolicyWorld, ...]:
    """Return those of ClusterNetworkPolicies. Their subjects are Pods of one world."""
    return tuple(_worlds(itertools.count(1), CLUSTER_TABLE, RANDOM, random_cluster))


def _random_policies(dice: random.Random) -> list[dict]:
    return [random_policy(dice, number) for number in range(dice.randint(1, 5))]


def _worlds(
    numbers: Iterator[int],
    table: dict[str, tuple[list[dict], str, str]],
    seeds: int,
    some: Callable[[random.Random], list[dict]],
) -> Iterator[PolicyWorld]:
    for name, (policies, good, bad) in table.items():
        flows = [*good.split(), *bad.split()]
        for half in HALVES:
            world = _world(next(numbers), name, half, policies)
            world.foresee(flows)
            if half == "all":
                said = dict.fromkeys(good.split(), True) | dict.fromkeys(bad.split(), False)
                assert world.flows == said, name
            yield world
    for seed in range(seeds):
        dice = random.Random(seed)
        policies = some(dice)
        world = _world(next(numbers), f"random {seed}", dice.choice(HALVES), policies)
        world.foresee([one for one in _grid(dice) if not one.startswith("node")])
        yield world


def _grid(dice: random.Random) -> Iterator[str]:
    for source in ENDS:
        for destination in ENDS:
            same = source == destination or source.endswith("6") != destination.endswith("6")
            if not same and "node" not in (source, destination):
                yield f"{source}>{destination}{dice.choice(_PORTS)}"


def _world(number: int, name: str, half: str, policies: list[dict]) -> PolicyWorld:
    """Write the objects anew for namespaces and addresses of the world's own."""
    far = {"all": set(), "without db": {"db"}, "only db": {"web", "old", "far"}}[half]

    def moved(wires: list[dict]) -> list[dict]:
        text = json.dumps(wires)
        for old, new in (
            ('"ns"', f'"w{number}"'),
            ('"other"', f'"w{number}o"'),
            ("10.0.0.", f"10.60.{number}."),
            ("fd00::", f"fdaa:{number:x}::"),
        ):
            text = text.replace(old, new)
        found: list[dict] = json.loads(text)
        return found

    pods = moved(list(PODS))
    for one in pods:
        if one["metadata"]["name"] in far:
            one["spec"]["nodeName"] = "n2"
    spaces = moved(list(NAMESPACES))
    for one in spaces:
        one["metadata"]["labels"]["world"] = f"w{number}"
    own = [_confined(one, f"w{number}") for one in moved(policies)]
    return PolicyWorld(name, number, half, pods, spaces, own)


def _confined(policy: dict, world: str) -> dict:
    """Name a ClusterNetworkPolicy after its world, and keep its subject and peers there."""
    if policy["kind"] == "ClusterNetworkPolicy":
        meta, spec = policy["metadata"], policy["spec"]
        meta["name"] = meta["uid"] = f"{world}-{meta['name']}"
        rules = (*spec.get("ingress", ()), *spec.get("egress", ()))
        peers = (one for rule in rules for one in (*rule.get("from", ()), *rule.get("to", ())))
        for one in (spec["subject"], *peers):
            selector = one.get("namespaces", one.get("pods", {}).get("namespaceSelector"))
            if selector is not None:
                selector.setdefault("matchLabels", {})["world"] = world
    return policy
