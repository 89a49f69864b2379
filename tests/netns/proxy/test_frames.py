"""Policies of mode ebpf between two Pods of a node: programs decide, or ask the rules."""

import json
import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.groups import group
from tests.support.proxy import fake_api
from tests.support.proxy.lab import call_filter
from tests.support.proxy.policies import namespace, pod, policy
from tests.support.proxy.policy_calls import A6, PODS, RANGES, A, B, asked, until_silent
from tests.support.proxy.prober import UDP, go_on, talk, traffic
from tests.support.proxy.process import NODE, PATIENCE, RunningProxy, service, slices
from tests.support.space import Space

DENY = policy("deny", {"app": "a"}, ingress=[])
CLIENTS = [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}]
ALLOW = policy("allow", {"app": "a"}, ingress=CLIENTS)
NEW = "10.244.1.77"


@pytest.fixture(scope="module")
def world(spaces, tmp_path_factory) -> Iterator[RunningProxy]:
    with group("frames") as root:
        made = RunningProxy(spaces, tmp_path_factory.mktemp("frames"), "ebpf", root)
        call_filter(made.lab.spaces["node"], False)
        made.put(NODE | {"spec": RANGES}, service(), *slices("a"), namespace("ns"), *PODS)
        made.run()
        made.until({"A"})
        yield made
        made.close()


@pytest.fixture
def node(world: RunningProxy) -> Iterator[Space]:
    """The node, whose programs decide: the Pods' bridge passes no frame to rules."""
    world.put(DENY)
    until_silent(world, "pod", A)
    made = world.lab.spaces["node"]
    deadline = time.monotonic() + PATIENCE
    while is_filtered(made) or guard(made) != 2:
        assert time.monotonic() < deadline, world.log.read_text()
    yield made
    for one in (DENY, ALLOW):
        world.api.call(fake_api.remove, one)
    world.until({"A"}, address=A, port=8080)


def is_filtered(node: Space) -> bool:
    link = json.loads(node.run("ip", "-d", "-j", "link", "show", "podwire0"))[0]
    return bool(link["linkinfo"]["info_data"].get("nf_call_iptables"))


def guard(node: Space) -> int:
    """Return enum guard, as the programs read it."""
    found = node.run("bpftool", "-j", "map", "dump", "pinned", GUARD, check=False)
    return json.loads(found)[0]["formatted"]["value"] if found else 0


GUARD = "/sys/fs/bpf/podwire-proxy/maps/policy_guard-1"


def test_flows_that_programs_admit_are_not_tracked(world: RunningProxy, node: Space) -> None:
    world.put(ALLOW)
    for address in (A, A6):
        world.until({"A"}, address=address, port=8080)
        node.run("conntrack", "-F")
        assert asked(world, "pod", address, timeout=60) == "A"
        assert asked(world, "pod", address, protocol=UDP, timeout=60) == "A"
        family = "ipv6" if ":" in address else "ipv4"
        assert f"dst={address} " not in node.run("conntrack", "-L", "-f", family)


def test_a_port_of_a_bridge_without_a_program_reaches_nobody(
    world: RunningProxy, node: Space, spaces
) -> None:
    """The proxy is dead, and a container comes that it knows nothing of."""
    world.end(signal.SIGKILL)
    new = spaces("new")
    node.veth("vethnew", new, "eth0")
    node.ip("link", "set", "vethnew", "master", "podwire0")
    new.ip("address", "add", f"{NEW}/24", "dev", "eth0")
    for address in (A, B):
        assert "bytes from" not in new.run("ping", "-c1", "-W1", address, check=False)
    world.run()
    world.put(pod("new", "n1", NEW, labels={"app": "client"}), ALLOW)
    deadline = time.monotonic() + PATIENCE
    for address in (A, B):
        while "bytes from" not in new.run("ping", "-c1", "-W1", address, check=False):
            assert time.monotonic() < deadline, world.log.read_text()
    node.ip("link", "delete", "vethnew")


def test_an_open_connection_outlives_kill_and_restart(world: RunningProxy, node: Space) -> None:
    """It is in the programs' map; no rule would admit it anew."""
    world.put(ALLOW)
    world.until({"A"}, address=A, port=8080)
    client = world.lab.client("pod")
    client.call(talk, "kept", A, 8081)
    world.api.call(fake_api.remove, ALLOW)
    until_silent(world, "pod", A)
    world.end(signal.SIGKILL)
    client.call(go_on, "kept")
    assert asked(world, "pod", A) == "silent"
    world.run()
    world.put(ALLOW)
    world.until({"A"}, address=A, port=8080)
    world.api.call(fake_api.remove, ALLOW)
    until_silent(world, "pod", A)
    client.call(go_on, "kept")
    assert client.call(traffic, "kept")[1] == []


def test_frames_that_no_node_routes_are_dropped_by_name(world: RunningProxy, node: Space) -> None:
    """Link-local addresses between Pods: the bridge's own rules drop and log them."""
    there = json.loads(world.lab.spaces["a"].ip("-j", "-6", "address", "show", "dev", "eth0"))
    local = next(one["local"] for one in there[0]["addr_info"] if one["local"].startswith("fe80"))
    said = world.lab.spaces["p"].run("ping", "-c2", "-W1", f"{local}%eth0", check=False)
    assert "bytes from" not in said
    deadline, after = time.monotonic() + PATIENCE, 0
    while True:
        answer = json.loads(world.url(f"/policy/drops?after={after}&wait=10", 10249)[1])
        if any(local in json.dumps(row) for row in answer["drops"]):
            break
        after = answer["changes"]
        assert time.monotonic() < deadline, answer
    assert asked(world, "pod", B, timeout=60) == "B"
    counted = 'dropped_packets_total{direction="egress",namespace="",policy=""} '
    while counted not in world.url("/metrics", 10249)[1]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
