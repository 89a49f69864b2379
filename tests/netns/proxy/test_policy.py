"""NetworkPolicies by packets: the proxy as a process, its API server, and Pods of two nodes."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.groups import group
from tests.support.proxy import fake_api
from tests.support.proxy.lab import call_filter
from tests.support.proxy.newcomers import Newcomers, talking
from tests.support.proxy.policies import cluster_policy, namespace, policy
from tests.support.proxy.policy_calls import (
    A6,
    B6,
    C6,
    P6,
    PODS,
    RANGES,
    A,
    B,
    C,
    P,
    asked,
    until_silent,
)
from tests.support.proxy.policy_packets import PacketTable
from tests.support.proxy.policy_worlds import PolicyWorld, cluster_worlds, worlds
from tests.support.proxy.prober import UDP, go_on, talk, traffic
from tests.support.proxy.process import NODE, PATIENCE, RunningProxy, service, slices
from tests.support.space import Space

MODES = ("iptables-nft", "nftables", "ebpf")


@pytest.fixture(scope="module", params=MODES)
def world(spaces, tmp_path_factory, request: pytest.FixtureRequest) -> Iterator[RunningProxy]:
    with group("policy") as root:
        made = RunningProxy(spaces, tmp_path_factory.mktemp("policy"), request.param, root)
        call_filter(made.lab.spaces["node"], False)
        made.put(NODE | {"spec": RANGES}, service(), *slices("a"), namespace("ns"), *PODS)
        made.run()
        made.until({"A"})
        yield made
        made.close()


@pytest.fixture(autouse=True)
def _without_policies(world: RunningProxy) -> Iterator[None]:
    yield
    for wire in PUT:
        world.api.call(fake_api.remove, wire)
    PUT.clear()
    world.until({"A"}, address=A, port=8080)


PUT: list[dict] = []


def put(world: RunningProxy, *wires: dict) -> None:
    PUT.extend(wires)
    world.put(*wires)


def until_enforced(world: RunningProxy, address: str) -> None:
    """Wait until the node's rules know a Pod's address."""
    deadline, node = time.monotonic() + PATIENCE, world.lab.spaces["node"]
    command = ("nft", "list", "map", "ip", "podwire-policy", "ingress")
    while f"{address} :" not in node.run(*command, check=False):
        assert time.monotonic() < deadline, world.log.read_text()


def until_named(world: RunningProxy, **expected: object) -> None:
    """Wait until the list of drops has a row with these values, and the metric counts it."""
    deadline, after = time.monotonic() + PATIENCE, 0
    while True:
        answer = json.loads(world.url(f"/policy/drops?after={after}&wait=10", 10249)[1])
        if any(row | expected == row for row in answer["drops"]):
            break
        after = answer["changes"]
        assert time.monotonic() < deadline, world.url("/policy/drops", 10249)
    shown = podwire(world, "policy", "drops", "--url=http://127.0.0.1:10249")
    assert re.search(
        r"^n1 +ns/a +Ingress +ns/p .* no ingress rule of ns/deny admits it$", shown, re.M
    )
    page = world.url("/metrics", 10249)[1]
    assert 'network_policy_dropped_packets_total{direction="ingress",namespace="ns",pol' in page


def podwire(world: RunningProxy, *words: str) -> str:
    """Run a command on the node, and return what it prints."""
    return world.lab.spaces["node"].run(sys.executable, "-m", "lab.main", *words)


@pytest.mark.parametrize("address", [A, A6])
def test_a_policy_isolates_and_admits(world: RunningProxy, address: str) -> None:
    """From a Pod of the node, from another node's, by a Service; the node itself always passes."""
    put(world, policy("deny", {"app": "a"}, ingress=[]))
    until_silent(world, "pod", address)
    assert asked(world, "remote", address) == "silent"
    assert asked(world, "pod", "10.96.0.10", 80) == "silent"
    assert asked(world, "pod", address, protocol=UDP) == "silent"
    named = {"pod": "ns/a", "direction": "Ingress", "policies": ["ns/deny"], "address": address}
    if address == A or world.mode == "nftables":  # each question starts a Python
        until_named(world, **named, peer="ns/p", protocol="UDP", port=8080)
    assert asked(world, "node", address, timeout=60) == "A"
    assert asked(world, "pod", B, timeout=60) == "B"
    admits = {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}
    ports = {"ports": [{"port": "http"}]}
    put(world, policy("allow", {"app": "a"}, ingress=[admits | ports]))
    for source in ("pod", "remote"):
        world.until({"A"}, source=source, address=address, port=8080)
    world.until({"A"}, address="10.96.0.10", port=80)
    assert asked(world, "pod", address, protocol=UDP) == "silent"


def test_egress_is_decided_by_endpoints(world: RunningProxy) -> None:
    to_a = {"to": [{"podSelector": {"matchLabels": {"app": "a"}}}], "ports": [{"port": 8080}]}
    put(world, policy("out", {"app": "client"}, egress=[to_a]))
    until_silent(world, "pod", B)
    assert asked(world, "pod", C) == "silent"
    assert asked(world, "pod", A, timeout=60) == "A"
    assert asked(world, "pod", "10.96.0.10", 80, timeout=60) == "A"
    assert asked(world, "remote", C, timeout=60) == "C"  # another node's proxy sees to that Pod
    if world.mode == "nftables":  # the API server is asked, so one mode is enough
        cluster = f"--kubeconfig={world.kubeconfig}"
        listed = podwire(world, "policy", "list", cluster)
        assert re.search(r"^ns +out +2 +- +1 rule +-$", listed, re.M)
        said = podwire(world, "policy", "explain", cluster, "--namespace=ns", "p", "b:8080")
        assert "10.244.1.9 to 10.244.1.3: is dropped\n" in said
        assert "ns/out\n      rule 0: ns/b is none of its peers\n" in said


def test_an_open_connection_stays(world: RunningProxy) -> None:
    """Also while the probes of the node pass, and new connections do not."""
    put(world, policy("elsewhere", {"app": "none"}, ingress=[]))
    until_enforced(world, A)
    clients = [world.lab.client(source) for source in ("pod", "remote")]
    for client in clients:
        client.call(talk, "open", A, 8081)
    put(world, policy("deny", {"app": "a"}, ingress=[], egress=[]))
    for source in ("pod", "remote"):
        until_silent(world, source, A)
    for client in clients:
        client.call(go_on, "open")
        assert client.call(traffic, "open")[1] == []
    assert asked(world, "node", A, timeout=60) == "A"


def test_a_pod_that_is_not_known_yet_reaches_nobody(world: RunningProxy) -> None:
    stranger = PODS[2]
    world.api.call(fake_api.remove, stranger)
    put(world, policy("elsewhere", {"app": "none"}, ingress=[]))
    until_silent(world, "pod", A)
    world.put(stranger)
    world.until({"A"}, address=A, port=8080)


@pytest.mark.parametrize("stranger_of", ["b", "c"], ids=["same-node", "other-node"])
def test_nothing_slips_by_before_a_new_pods_policies(
    world: RunningProxy, spaces: Callable[[str], Space], tmp_path: Path, stranger_of: str
) -> None:
    """Real ADDs, one after the other. Each Pod but the first ones gets the addresses of one that
    has ended and was another's kind, before the API tells so; and its flows. IPv4 and IPv6 at once.
    """
    client = {"podSelector": {"matchLabels": {"app": "client"}}}
    rules = {"ingress": [{"from": [client]}], "egress": [{"to": [client]}]}
    put(world, policy("isolate", {"app": "isolated"}, **rules))
    until_enforced(world, A)
    friend, stranger = (world.lab.workers[name] for name in ("p", stranger_of))
    with (
        closing(Newcomers(world, spaces, tmp_path)) as racing,
        talking(friend, "friend"),
        talking(stranger, "stranger"),
    ):
        for _ in range(int(os.environ.get("PODWIRE_NEWCOMERS", "10"))):
            racing.one(friend, stranger, (P, P6), (B, B6) if stranger_of == "b" else (C, C6))


def test_rules_outlive_the_proxy_and_cleanup_removes_them(world: RunningProxy) -> None:
    put(world, policy("deny", {"app": "a"}, ingress=[]))
    until_silent(world, "pod", A)
    world.end(signal.SIGKILL)
    assert asked(world, "pod", A) == "silent"
    world.run()
    until_silent(world, "pod", A)
    world.end(signal.SIGTERM)
    node = world.lab.spaces["node"]
    assert "podwire-policy" in node.run("nft", "list", "tables")
    node.run(*world.command("--cleanup")[2:])
    assert "podwire-policy" not in node.run("nft", "list", "tables")
    world.run()
    until_silent(world, "pod", A)


def test_the_table_by_packets(world: RunningProxy) -> None:
    """Each row, and random policies: some 1,500 flows, across the bridge and through the node."""
    meet(world, worlds())


def test_the_table_of_cluster_policies_by_packets(world: RunningProxy) -> None:
    """Their definition comes while the proxy runs, and takes them along when it goes."""
    put(world, policy("elsewhere", {"app": "none"}, ingress=[]))
    put(world, cluster_policy("deny", subject=APP_A, ingress=[DENY_ALL]))
    until_enforced(world, A)
    assert asked(world, "pod", A, timeout=60) == "A"
    world.put(DEFINITION)
    until_silent(world, "pod", A)
    if world.mode == "nftables":
        until_denied(world)
    world.api.call(fake_api.remove, DEFINITION)
    world.until({"A"}, address=A, port=8080)
    put(world, DEFINITION)
    meet(world, cluster_worlds())


DENY_ALL = {"action": "Deny", "from": [{"namespaces": {}}], "name": "all"}
IN_NS = {"matchLabels": {"kubernetes.io/metadata.name": "ns"}}
APP_A = {"pods": {"namespaceSelector": IN_NS, "podSelector": {"matchLabels": {"app": "a"}}}}
DEFINITION = {
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "clusternetworkpolicies.policy.networking.k8s.io", "uid": "d"},
    "spec": {"versions": [{"name": "v1alpha2", "served": True}]},
    "status": {"conditions": [{"type": "Established", "status": "True"}]},
}


def until_denied(world: RunningProxy) -> None:
    """Wait until the list of drops names the policy and its rule.

    A packet is sent each time: of many drops in a second, such as those of tests before, the
    kernel logs a part.
    """
    deadline = time.monotonic() + PATIENCE
    shown = ""
    while not re.search(
        r"ns/a +Ingress .* ingress rule 0 \(all\) of .* deny denies it$", shown, re.M
    ):
        assert time.monotonic() < deadline, shown
        assert asked(world, "pod", A) == "silent"
        shown = podwire(world, "policy", "drops", "--url=http://127.0.0.1:10249")
    page = world.url("/metrics", 10249)[1]
    assert 'dropped_packets_total{direction="ingress",namespace="",policy="deny"}' in page


def meet(world: RunningProxy, rows: tuple[PolicyWorld, ...]) -> None:
    """Send the flows of some worlds until every packet met its fate."""
    table = PacketTable(world.lab, rows)
    for wires in ("namespaces", "pods", "policies"):
        put(world, *(wire for row in rows for wire in getattr(row, wires)))
    deadline, wrong = time.monotonic() + PATIENCE, None
    while wrong is None or wrong:
        assert time.monotonic() < deadline, wrong and (len(wrong), wrong[:20])
        wrong = table.wrong()
