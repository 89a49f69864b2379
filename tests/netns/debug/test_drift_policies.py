"""Policies rule by rule: what a kernel lists of a proxy that has lived long, and damage."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from debug.doctor.look import look_at
from debug.drift import wanted
from debug.drift.find import find
from debug.drift.model import Drift, State
from debug.drift.policies import policy_index, policy_tables
from debug.drift.scratch import listed
from debug.machine.values import objects_of
from debug.snapshot import Snapshot
from proxy.policy.wire import ClusterNetworkPolicy, Namespace, NetworkPolicy
from tests.support.debug.healthy import pod, with_objects

pytestmark = pytest.mark.netns

Edit = Callable[[list[Any]], None]
TABLE = {"family": "ip", "table": "podwire-policy"}


def policy(name: str, **spec: Any) -> NetworkPolicy:
    meta = {"name": name, "namespace": "default"}
    return NetworkPolicy.read({"metadata": meta, "spec": spec})


def friends(*names: str) -> dict[str, Any]:
    chosen = {"matchExpressions": [{"key": "name", "operator": "In", "values": [*names]}]}
    return {"podSelector": chosen}


def named(name: str, number: int) -> Any:
    labels = {"app": "web", "name": name}
    return pod(name, number, metadata={"name": name, "namespace": "default", "labels": labels})


POLICIES = (
    policy(
        "front",
        podSelector={"matchLabels": {"name": "web-1"}},
        ingress=[
            {"from": [friends("web-2")], "ports": [{"port": 80, "protocol": "TCP"}]},
            {"from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.8/32"]}}]},
        ],
        egress=[
            {"to": [friends("web-2")], "ports": [{"port": "http"}]},
            {"to": [friends("web-1")], "ports": [{"port": "dns", "protocol": "UDP"}]},
        ],
        policyTypes=["Ingress", "Egress"],
    ),
)
RANKED = ClusterNetworkPolicy.read(
    {
        "metadata": {"name": "admin"},
        "spec": {
            "tier": "Admin",
            "priority": 1,
            "subject": {"namespaces": {}},
            "ingress": [
                {"action": "Deny", "from": [{"namespaces": {"matchLabels": {"team": "other"}}}]}
            ],
        },
    }
)
SPACES = (Namespace.read({"metadata": {"name": "default", "labels": {"team": "own"}}}),)
PORTS = [{"ports": [{"name": "http", "containerPort": 8080}]}]


def world(**more: Any) -> Snapshot:
    first, second = (named(f"web-{number}", number) for number in (1, 2))
    pods = first, replace(second, spec=replace(second.spec, containers=_ports(second)))
    return with_objects(pods=pods, namespaces=SPACES, policies=POLICIES, **more)


def _ports(one: Any) -> Any:
    meta, wire = {"name": "x", "namespace": "default"}, type(one)
    return wire.read({"metadata": meta, "spec": {"containers": PORTS}}).spec.containers


def installed(snapshot: Snapshot) -> Snapshot:
    """Node1 with what its proxy wrote, with numbers of a proxy that has written others before."""
    look = look_at(snapshot)
    node = look.nodes[0]
    assert node.machine
    plan = wanted.network(look, node)
    assert plan
    index, view = policy_index(look, node), wanted.services(look, node)[1]
    text = policy_tables(index, node, wanted.settings(node), view)
    older = re.sub(r"\b([a-z][a-z-]*)-(\d+)\b(?=[ \n;,}])", _later, text)
    assert older != text
    whole = wanted.nft_tables(node, wanted.services(look, node)) + wanted.masquerading(plan) + older
    items = [{sort: one} for sort, one in listed(whole)]
    first, *rest = snapshot.machines
    changed = replace(first, nft=json.dumps({"nftables": items}))
    return replace(snapshot, machines=(changed, *rest))


def _later(found: re.Match[str]) -> str:
    ours = ("eg", "in", "pods", "blocks", "ports", "named", "exact", "doors", "deny", "accept")
    sort = found[1].split("-")[0]
    return f"{found[1]}-{int(found[2]) + 70}" if sort in ours else found[0]


@pytest.fixture(scope="module")
def node() -> Snapshot:
    return installed(world())


def edited(snapshot: Snapshot, edit: Edit) -> list[Drift]:
    first, *rest = snapshot.machines
    items = json.loads(first.nft or "")["nftables"]
    edit(items)
    changed = replace(first, nft=json.dumps({"nftables": items}))
    return [
        one
        for one in find(replace(snapshot, machines=(changed, *rest)), "node1")
        if "podwire-policy" in one.what
    ]


def store(items: list[Any], name: str, holding: str = "") -> Any:
    """The first store with such a name, which has a text in it."""
    for item in items:
        for sort in ("set", "map"):
            one = item.get(sort, {})
            is_ours = TABLE.items() <= one.items() and one["name"].startswith(name)
            if is_ours and holding in json.dumps(one.get("elem", [])):
                return one
    raise AssertionError(name)


def test_numbers_of_another_life_are_no_drift(node: Snapshot) -> None:
    assert find(node, "node1") == ()
    ranked = installed(world(cluster_policies=(RANKED,)))
    assert find(ranked, "node1") == ()


def test_a_peer_that_is_taken_out_is_missing_with_its_policy(node: Snapshot) -> None:
    def edit(items: list[Any]) -> None:
        members = store(items, "pods-", "10.244.2.2")
        members["elem"] = []

    (found,) = edited(node, edit)
    assert (found.state, found.sort) == (State.MISSING, "element")
    assert found.what.endswith(": 10.244.2.2") and "pods-7" in found.what
    assert found.owner == "Pod default/web-2 for Pod default/web-1, by NetworkPolicy default/front"
    assert found.consequence == "connections that policies admit are dropped"


def test_a_stranger_who_is_let_in_is_stale(node: Snapshot) -> None:
    def edit(items: list[Any]) -> None:
        blocks = store(items, "blocks-", "192.0.2.9")
        blocks["elem"].append({"prefix": {"addr": "198.51.100.0", "len": 24}})

    (found,) = edited(node, edit)
    assert (found.state, found.sort) == (State.STALE, "element")
    assert found.consequence == "connections pass that no policy admits"


def test_a_pod_that_was_opened_by_hand_is_told_twice(node: Snapshot) -> None:
    """What should be at its address is missing, and what is there instead is stale."""

    def edit(items: list[Any]) -> None:
        (element,) = store(items, "ingress")["elem"]
        element[1] = {"accept": None}

    found = {one.state: one for one in edited(node, edit)}
    where = "map ip podwire-policy ingress: 10.244.1.2 : "
    assert found.keys() == {State.MISSING, State.STALE}
    assert found[State.MISSING].what.startswith(f"{where}goto in-")
    assert found[State.STALE].what == f"{where}accept"
    owners = {one.owner for one in found.values()}
    assert owners == {"Pod default/web-1, by NetworkPolicy default/front"}


def test_a_rule_by_hand_and_a_rule_that_is_gone(node: Snapshot) -> None:
    def edit(items: list[Any]) -> None:
        rules = [one["rule"] for one in items if TABLE.items() <= one.get("rule", {}).items()]
        (last,) = (one for one in rules if re.fullmatch(r"in-\d+", one["chain"]) and drops(one))
        last["expr"] = [{"accept": None}]

    def drops(rule: Any) -> bool:
        return "dropped-ingress" in json.dumps(rule["expr"])

    gone, foreign = sorted(edited(node, edit), key=lambda one: one.state, reverse=True)
    assert (gone.state, foreign.state) == (State.MISSING, State.FOREIGN)
    assert "goto dropped-ingress" in gone.what and foreign.what.endswith(": accept")
    assert foreign.consequence == "connections pass that no policy admits"
    assert foreign.owner == "Pod default/web-1, by NetworkPolicy default/front"


def test_doors_that_are_alike_are_told_apart_by_what_is_in_them(node: Snapshot) -> None:
    """Two named ports of egress have rules that differ in the numbers of their sets alone."""

    def edit(items: list[Any]) -> None:
        rules = (one["rule"] for one in items if TABLE.items() <= one.get("rule", {}).items())
        first, second = (one for one in rules if "@named-" in json.dumps(one["expr"]))
        first["expr"], second["expr"] = second["expr"], first["expr"]

    assert edited(node, edit) == []


def test_what_should_be_there_is_listed_by_the_kernel(node: Snapshot) -> None:
    """The test's own world has what its edits need."""
    objects = objects_of(node.machines[0].nft or "")
    names = {one["name"] for sort, one in objects if sort in ("set", "map") and "elem" in one}
    assert any(name.startswith("pods-7") for name in names)
