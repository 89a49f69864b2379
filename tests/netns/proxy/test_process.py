"""The running proxy: a process with a kubeconfig, an unreliable API server, real packets."""

import itertools
import json
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from proxy.backends.ebpf.mounts import INLETS, LINKS
from tests.support.cni.worker import ROOT
from tests.support.groups import group
from tests.support.proxy import fake_api
from tests.support.proxy.hostile import EVIL, pairs
from tests.support.proxy.prober import (
    TCP,
    UDP,
    Probe,
    ask,
    ask_from_one_port,
    bustle,
    faults,
    ping,
)
from tests.support.proxy.process import (
    API,
    NODE,
    PATIENCE,
    PODS,
    VIP,
    VIP6,
    RunningProxy,
    service,
    slices,
)

# For what no backend has a part in: one of them is enough.
any_backend = pytest.mark.parametrize("world", ["nftables"], indirect=True)


@pytest.fixture(scope="module", params=["iptables-nft", "iptables-legacy", "nftables", "ebpf"])
def world(request, spaces, tmp_path_factory) -> Iterator[RunningProxy]:
    with group("process") as root:
        made = RunningProxy(spaces, tmp_path_factory.mktemp("proxy"), request.param, root)
        yield made
        made.close()


@pytest.fixture
def web(world: RunningProxy) -> RunningProxy:
    """The proxy runs, and serves the Service web with all three Pods."""
    world.put(service(), *slices("a", "b", "c"))
    if world.process is None:
        world.run()
    for address in (VIP, VIP6):
        world.until({"A", "B", "C"}, address=address)
    return world


def test_every_family_and_protocol_is_balanced(web: RunningProxy) -> None:
    for address in (VIP, VIP6):
        for port, protocol in ((80, TCP), (53, UDP)):
            web.until({"A", "B", "C"}, address=address, port=port, protocol=protocol)
            web.until({"A", "B", "C"}, source="node", address=address, port=port, protocol=protocol)


def test_a_pod_answers_ping_and_a_cluster_ip_does_not(web: RunningProxy) -> None:
    client = web.lab.client("pod")
    assert client.call(ping, "10.244.1.2")
    assert not client.call(ping, VIP)


def test_without_endpoints_every_client_is_refused_at_once(web: RunningProxy) -> None:
    web.put(*slices())
    for address in (VIP, VIP6):
        for source in ("pod", "node", "outside"):
            web.until({"refused"}, source=source, address=address, tries=20)


def test_a_kill_a_restart_and_an_absent_api_server_interrupt_nothing(web: RunningProxy) -> None:
    clients = [web.lab.client(source) for source in ("pod", "node", "outside")]
    for client in clients:
        client.call(bustle, VIP, VIP6)
    web.end(signal.SIGKILL)
    before = web.rules()
    web.api.call(fake_api.stop)
    web.run()  # nobody answers it: the rules that it finds must stand
    time.sleep(1)
    assert _shape(web.rules()) == _shape(before)
    web.api.call(fake_api.start, *API)
    web.put(*slices("a", "b"))
    web.until({"A", "B"})
    web.api.call(fake_api.stop)  # under a proxy that runs
    time.sleep(0.2)
    web.api.call(fake_api.start, *API)
    web.put(*slices("a", "b", "c"))
    web.until({"A", "B", "C"})
    web.end(signal.SIGTERM)  # as an upgrade does
    web.run()
    web.put(*slices("b", "c"))
    web.until({"B", "C"})
    assert [client.call(faults) for client in clients] == [[], [], []]


def _shape(rules: str) -> list[str]:
    """Return rules without counters and dates."""
    return [line.partition(" [")[0] for line in rules.splitlines() if not line.startswith("#")]


def test_a_rollout_loses_no_connection(web: RunningProxy) -> None:
    """Connections to a terminating Pod live as long as the Pod does: in this test to the end."""
    clients = [web.lab.client(source) for source in ("pod", "node", "outside")]
    for client in clients:
        client.call(bustle, VIP, VIP6)
    turns = [("a", "b"), ("b", "c"), ("a", "c"), ("a", "b", "c")]
    for ready in turns * 3:
        leaving = "".join(set("abc") - set(ready))
        web.put(*slices(*ready, leaving=leaving))
        web.until({name.upper() for name in ready})
        web.put(*slices(*ready))
        web.until({name.upper() for name in ready}, address=VIP6, port=53, protocol=UDP)
    assert [client.call(faults) for client in clients] == [[], [], []]


@pytest.mark.parametrize("address", [VIP, VIP6, "192.168.0.1", "198.51.100.7"])
def test_a_udp_client_follows_the_endpoints(web: RunningProxy, address: str) -> None:
    spec = {"type": "NodePort", "externalIPs": ["198.51.100.7"]}
    exposed = service("udp", ("10.96.0.53", "fd00:10:96::53"), **spec)
    exposed["spec"]["ports"][2]["nodePort"] = 30053
    where = {VIP: ("10.96.0.53", 53), VIP6: ("fd00:10:96::53", 53), "198.51.100.7": (address, 53)}
    target = where.get(address, (address, 30053))
    client = web.lab.client("outside" if address == "198.51.100.7" else "node")
    web.put(exposed)
    for pods, expected in (
        ("", "refused"),
        ("a", "A"),
        ("b", "B"),
        ("c", "C"),
        ("", "refused"),
        ("b", "B"),
    ):
        web.put(*slices(*pods, name="udp"))
        deadline = time.monotonic() + PATIENCE  # asking keeps a flow alive that nobody ended
        while (found := client.call(ask_from_one_port, *target)) != expected:
            assert time.monotonic() < deadline, f"{found} answers, not {expected}"
    web.api.call(fake_api.remove, exposed, *slices(name="udp"))


def test_a_udp_flow_ends_if_its_service_was_removed_while_no_proxy_ran(web: RunningProxy) -> None:
    gone = service("udp", ("10.96.0.53", "fd00:10:96::53"))
    web.put(gone, *slices("a", name="udp"))
    client, other = web.lab.client("outside"), web.lab.client("node")
    for asking in (client, other):
        deadline = time.monotonic() + PATIENCE
        while asking.call(ask_from_one_port, "10.96.0.53", 53) != "A":
            assert time.monotonic() < deadline
    web.end(signal.SIGKILL)
    web.api.call(fake_api.remove, gone, *slices(name="udp"))
    assert client.call(ask_from_one_port, "10.96.0.53", 53, 60.0) == "A"
    web.run()
    deadline = time.monotonic() + PATIENCE  # asking both keeps a flow alive that nobody ended
    while "A" in [one.call(ask_from_one_port, "10.96.0.53", 53) for one in (client, other)]:
        assert time.monotonic() < deadline, "the flow goes on"


def test_a_client_with_affinity_keeps_its_endpoint(web: RunningProxy) -> None:
    config = {"clientIP": {"timeoutSeconds": 100}}
    web.put(service(sessionAffinity="ClientIP", sessionAffinityConfig=config))
    deadline = time.monotonic() + PATIENCE
    while len(first := web.answers()) > 1:
        assert time.monotonic() < deadline
    assert web.answers(tries=30) == first
    (gone,) = first
    web.put(*slices(*[pod for pod in PODS if pod.upper() != gone]))
    deadline = time.monotonic() + PATIENCE
    while gone in (second := web.answers()):  # who goes holds nobody back
        assert time.monotonic() < deadline
    assert len(second) == 1
    web.put(service())
    web.until(set("ABC") - {gone})


@any_backend
def test_a_node_that_is_made_again_has_other_pods(world: RunningProxy) -> None:
    """With NodeCIDR, who is no Pod of this Node is masqueraded."""
    if world.process is not None:
        world.end(signal.SIGTERM)
    world.put(service(), *slices("a"))
    world.run("--detect-local-mode", "NodeCIDR")
    world.until({"A"})
    probe = Probe(VIP, 80, TCP)

    def wait_for_peer(peer: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while (seen := world.lab.client("pod").call(ask, [probe])[0][0].peer) != peer:
            assert time.monotonic() < deadline, seen

    wait_for_peer("10.244.1.9")
    for cidr, peer in (("10.244.9.0/24", "10.244.1.1"), ("10.244.1.0/24", "10.244.1.9")):
        world.api.call(fake_api.remove, NODE)
        world.put(NODE | {"spec": {}})
        world.put(NODE | {"spec": {"podCIDRs": [cidr]}})
        wait_for_peer(peer)
    world.end(signal.SIGTERM)


@any_backend
def test_changes_survive_an_unreliable_api_server(web: RunningProxy) -> None:
    web.api.call(fake_api.repeat)
    web.api.call(fake_api.expire)
    web.put(*slices("a"))
    web.until({"A"})
    web.api.call(fake_api.drip, 0.01)
    web.put(*slices("b"))
    web.put(*slices("c"))
    web.until({"C"})
    web.api.call(fake_api.drip, 0)
    web.api.call(fake_api.stop)
    web.api.call(fake_api.start, *API)
    web.put(*slices("b"))
    web.until({"B"})


def test_a_hostile_object_stops_no_other(web: RunningProxy) -> None:
    evil = 'x" -j ACCEPT\n-A INPUT -j DROP\n:FORWARD DROP [0:0]\nCOMMIT\n'
    bad = service("bad", ("10.96.0.66",), externalIPs=[evil, "127.0.0.1\n"])
    bad["metadata"]["name"] = evil
    for port in bad["spec"]["ports"]:
        port["name"] = evil + port["name"]
    worse = slices("a", name="worse")
    worse[0]["endpoints"][0]["addresses"] = [evil]
    worse[0]["metadata"]["labels"]["kubernetes.io/service-name"] = evil
    nonsense = service("nonsense") | {"spec": {"ports": "all of them"}}
    web.put(bad, *worse, nonsense, *slices("c"))
    web.until({"C"})
    assert not any(line.startswith("-A INPUT -j DROP") for line in web.rules().splitlines())
    web.api.call(fake_api.remove, bad, *worse, nonsense)


def test_the_kernel_accepts_hostile_text_in_any_string(web: RunningProxy) -> None:
    """Tools and kernel accept all objects of ``tests.support.proxy.hostile`` at once."""
    node = web.lab.spaces["node"]
    foreign = "add table ip mine; add chain ip mine x; add rule ip mine x accept"
    node.run("nft", foreign)
    before = node.run("nft", "list", "table", "ip", "mine")
    crowd = [
        wire | {"kind": kind, "metadata": wire["metadata"] | {"namespace": f"evil{place}"}}
        for place, evil in enumerate(EVIL)
        for both in pairs(evil)
        for kind, wire in zip(("Service", "EndpointSlice"), both, strict=True)
    ]
    web.put(*crowd, *slices("b"))
    web.until({"B"})
    web.put(*slices("a", "c"))  # rules for all of them are in force: nothing has failed
    web.until({"A", "C"}, address=VIP6)
    assert node.run("nft", "list", "table", "ip", "mine") == before
    assert "sync failed" not in web.log.read_text()
    web.api.call(fake_api.remove, *crowd)
    node.run("nft", "delete table ip mine")


@any_backend
def test_health_metrics_and_mode(web: RunningProxy) -> None:
    status, text = web.url("/healthz", 10256)
    assert status == 200
    assert json.loads(text)["nodeEligible"] is True
    assert web.url("/livez", 10256)[0] == 200
    assert web.url("/proxyMode", 10249) == (200, web.mode)
    web.settle()
    assert web.metrics()["sync_proxy_rules_duration_seconds_count"] >= 1
    going = NODE | {"metadata": {"name": "n1", "deletionTimestamp": "2026-11-22T00:00:00Z"}}
    web.put(going)
    deadline = time.monotonic() + PATIENCE
    while web.url("/healthz", 10256)[0] != 503:
        assert time.monotonic() < deadline
    assert web.url("/livez", 10256)[0] == 200
    web.put(NODE)


def test_sigterm_leaves_the_rules_and_cleanup_removes_only_ours(web: RunningProxy) -> None:
    node = web.lab.spaces["node"]
    foreign = f"iptables-{web.flavor or 'nft'}"
    node.run(foreign, "-t", "nat", "-N", "MINE")
    node.run(foreign, "-t", "nat", "-A", "MINE", "-j", "ACCEPT")
    assert web.end(signal.SIGTERM) == 0
    web.until({"A", "B", "C"})
    subprocess.run(web.command("--cleanup"), cwd=ROOT, check=True, capture_output=True)
    assert "KUBE-" not in web.rules()
    assert "podwire" not in web.rules()
    assert "-A MINE -j ACCEPT" in node.run(foreign, "-t", "nat", "-S")
    subprocess.run(web.command("--cleanup"), cwd=ROOT, check=True, capture_output=True)
    assert "Traceback" not in web.log.read_text()


@any_backend
def test_health_check_node_ports_count_this_nodes_endpoints(web: RunningProxy) -> None:
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32111}
    balanced = service("checked", ("10.96.0.77",), **spec)
    for pods, leaving, status, count in (
        ("abc", "", 200, 2),
        ("c", "", 503, 0),
        ("bc", "a", 200, 1),
        ("c", "a", 503, 0),
    ):
        web.put(balanced, *slices(*pods, name="checked", leaving=leaving))
        deadline = time.monotonic() + PATIENCE
        while (found := web.check(32111))[:2] != (status, count):
            assert time.monotonic() < deadline, found
        assert found[2]["service"] == {"namespace": "ns", "name": "checked"}
    web.api.call(fake_api.remove, balanced, *slices(name="checked"))
    deadline = time.monotonic() + PATIENCE
    while web.check(32111)[0]:
        assert time.monotonic() < deadline


FLUSHES = {
    "iptables": [
        ["iptables", "-t", "nat", "-F"],
        ["iptables", "-t", "nat", "-F", "KUBE-SERVICES"],
        ["iptables", "-t", "nat", "-D", "PREROUTING", "1"],
        ["ip6tables", "-t", "nat", "-F"],
        ["iptables", "-t", "nat", "-I", "KUBE-SERVICES", "-j", "RETURN"],
    ],
    "nftables": [
        ["nft", "flush", "ruleset"],
        ["nft", "flush", "map", "ip", "podwire-proxy", "services"],
        ["nft", "flush", "chain", "ip6", "podwire-proxy", "services"],
        ["nft", "insert", "rule", "ip", "podwire-proxy", "services", "return"],
    ],
}
# Links' programs are the last that a repair writes, so what comes next finds it done.
FLUSHES["ebpf"] = [
    *FLUSHES["nftables"],
    ("find", str(INLETS), "-type", "f", "-delete"),
    ("rm", "-r", str(LINKS)),
]


def test_rules_that_another_program_changes_are_restored(web: RunningProxy) -> None:
    node = web.lab.spaces["node"]
    node.run("iptables-nft", "-t", "nat", "-F", "MINE", check=False)  # ours alone are put back
    node.run("iptables-legacy", "-t", "nat", "-F", "MINE", check=False)
    web.settle()
    before, noticed = _shape(web.rules()), web.disturbed()
    untold = noticed - len(web.api.call(fake_api.events))
    for tool, *args in FLUSHES[web.mode]:
        command = tool.replace("tables", f"tables-{web.flavor}") if web.flavor else tool
        web.settle()
        node.run(command, *args)
        deadline = time.monotonic() + PATIENCE
        while _shape(web.rules()) != before:
            assert time.monotonic() < deadline, f"{tool} {args}"
        # More than once, if the proxy woke up between two of the kernel's messages about one
        # command; but it settles only if it does not notice its own repair.
        web.settle()
        earlier, noticed = noticed, web.disturbed()
        assert earlier < noticed
    web.until({"A", "B", "C"})
    deadline = time.monotonic() + PATIENCE
    while len(events := web.api.call(fake_api.events)) != noticed - untold:
        assert time.monotonic() < deadline, events  # one each, or the first counted up
    assert events[0]["reason"] == "ProxyRulesDisturbed"


@pytest.mark.parametrize("world", ["iptables-legacy"], indirect=True)
def test_a_replaced_rule_is_noticed_although_the_table_keeps_its_size(web: RunningProxy) -> None:
    node = web.lab.spaces["node"]
    web.settle()
    shape, before = _shape(web.rules()), web.disturbed()
    deadline = time.monotonic() + PATIENCE
    marks = itertools.count(1)
    # Again, as what changes right after a write of ours goes unseen; so may the last of these.
    while web.disturbed() == before or _shape(web.rules()) != shape:
        assert time.monotonic() < deadline
        node.run(
            "iptables-legacy",
            "-t",
            "nat",
            "-R",
            "KUBE-MARK-MASQ",
            "1",
            "-j",
            "MARK",
            "--or-mark",
            str(next(marks)),
        )
        time.sleep(1.5)
    before = web.disturbed()
    node.run("iptables-legacy", "-t", "nat", "-L", "-n")  # who only looks disturbs nobody
    web.until({"A", "B", "C"})  # packets are counted
    time.sleep(1.5)
    assert web.disturbed() == before


def test_changes_of_other_programs_rules_are_ignored(web: RunningProxy) -> None:
    node = web.lab.spaces["node"]
    tool = f"iptables-{web.flavor or 'nft'}"
    web.settle()
    before = web.disturbed()
    node.run(tool, "-t", "nat", "-N", "KUBE-KUBELET-CANARY")
    node.run(tool, "-N", "DOCKER")
    node.run(tool, "-I", "FORWARD", "-j", "DOCKER")
    node.run(tool, "-D", "FORWARD", "-j", "DOCKER")
    node.run("nft", "add", "table", "ip", "mine")
    web.put(*slices("a"))
    web.until({"A"})
    if web.flavor != "legacy":  # whose size is all that the kernel tells
        assert web.disturbed() == before
