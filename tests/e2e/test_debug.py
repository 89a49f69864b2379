"""The debugging commands on one lab of two nodes."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from scapy.utils import rdpcap

from debug.explain.commands import explained, explained_of_file
from debug.explain.result import ends
from debug.explain.text import lines
from debug.places import of_lab
from tests.support.e2e.harness import (
    CHECKOUT,
    WEB,
    Lab,
    eventually,
    made_lab,
    podwire,
    run,
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of two nodes with Pods on both."""
    options = ("--nodes", "2", "--proxy", "nftables")
    with made_lab(f"d{os.getpid()}", tmp_path_factory.mktemp("kube"), options) as made:
        made.kubectl("apply", "-f", str(WEB))
        made.kubectl("rollout", "status", "deploy/web", "--timeout=80s")
        yield made


@pytest.fixture(scope="module", params=["nftables", "iptables", "ebpf"])
def mode(lab: Lab, request: pytest.FixtureRequest) -> str:
    """Each mode of the proxy, for all tests that ask for it."""
    mode = str(request.param)
    podwire("lab", "set", "--name", lab.name, "proxy", mode)
    return mode


def pod_on(lab: Lab, node: str) -> str:
    found = [one for one in lab.pods() if one["spec"]["nodeName"] == node]
    return str(found[0]["metadata"]["name"])


def rewritten(packet: Any) -> list[Any]:
    return [step for hop in packet["hops"] for step in hop["steps"] if "before" in step]


def trace(lab: Lab, *args: str) -> Any:
    """Trace, and return the first packet of each direction that arrived."""
    found = json.loads(podwire("trace", "--name", lab.name, *args, "-o", "json"))
    for one in found.get("comparisons", ()):
        assert one["agrees"] and one["as_wanted"] is not False, one
    arrived = [one for one in found["packets"] if one["outcome"] == "arrived"]
    by = {one["direction"]: one for one in reversed(arrived)}
    return by["forward"], by["reply"]


def test_trace_names_a_service_in_both_directions(lab: Lab, mode: str) -> None:
    name = pod_on(lab, "node1")
    there, back = trace(lab, name, "service/web", "--compare")
    assert (there["name"], back["name"]) == ("TCP SYN", "TCP SYN-ACK")
    assert there["outcome"] == back["outcome"] == "arrived"
    assert back["where"] == f"Pod default/{name}"
    first, last = rewritten(there)[0], rewritten(back)[-1]
    assert first["before"]["destination_name"] == "Service default/web"
    assert there["where"] == first["ends"]["destination_name"]
    assert last["ends"]["source_name"] == "Service default/web"
    steps = [step for hop in there["hops"] for step in hop["steps"]]
    assert any("default/web:http" in step.get("rule", "") for step in steps)
    by = [step["kind"] for step in steps if "before" in step and step["kind"] != "connection"]
    assert by[0] == ("program" if mode == "ebpf" else "rule")


def test_trace_writes_packets_that_say_what_happened_to_them(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "trace.pcapng"
    podwire("trace", "--name", lab.name, pod_on(lab, "node2"), "service/web", "--pcap", str(path))
    said = b"\n".join(note for one in rdpcap(str(path)) for note in one.comments or ())
    assert b"Service default/web" in said


def test_trace_says_what_does_not_exist(lab: Lab) -> None:
    done = run(CHECKOUT / "bin" / "podwire", "trace", "--name", lab.name, "nobody", "service/web")
    assert done.returncode == 1
    assert "no Pod default/nobody" in done.stderr


def findings(lab: Lab, *args: str) -> dict[str, list[Any]]:
    """What doctor finds wrong, by the check's name."""
    argv = (CHECKOUT / "bin" / "podwire", "doctor", "--name", lab.name, "-o", "json", *args)
    found: dict[str, list[Any]] = {}
    for one in json.loads(run(*argv).stdout):
        if one["level"] in ("warn", "fail"):
            found.setdefault(one["check"], []).append(one)
    return found


@pytest.fixture
def friendly(lab: Lab) -> Iterator[None]:
    """A policy that admits everybody who asks now: its rules are compared one by one."""
    path = str(CHECKOUT / "examples/policy/web-from-friends.yaml")
    lab.kubectl("label", "pods", "-l", "app=web", "role=friend")
    lab.kubectl("apply", "-f", path)
    yield
    lab.kubectl("delete", "-f", path)


@pytest.mark.usefixtures("friendly")
def test_a_healthy_lab_is_well_and_has_no_drift(lab: Lab, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "taken.json"

    def well() -> None:
        podwire("snapshot", str(path), "--name", lab.name)
        done = run(CHECKOUT / "bin" / "podwire", "doctor", "--snapshot", path)
        assert done.returncode == 0, done.stdout + done.stderr
        done = run(CHECKOUT / "bin" / "podwire", "drift", "--snapshot", path)
        assert done.returncode == 0, done.stdout + done.stderr

    eventually(lambda: well() or True)
    assert json.loads(path.read_text())["machines"][1]["proxy"]["mode"] == mode


@pytest.mark.parametrize("fault", ["duplicate-pod-cidr", "over-masquerade", "proxy-hung"])
def test_doctor_names_what_break_broke_until_it_is_healed(lab: Lab, fault: str) -> None:
    podwire("break", fault, "--name", lab.name, "--for", "5m")
    try:
        found = findings(lab, "--proof")
        assert fault in found, found
        if fault == "duplicate-pod-cidr":
            assert "no answer" in found[fault][0]["evidence"][-1]
    finally:
        podwire("heal", fault, "--name", lab.name)
    eventually(lambda: findings(lab) == {})


def test_the_map_joins_every_pod_with_its_node(lab: Lab) -> None:
    podwire("lab", "set", "--name", lab.name, "proxy", "nftables")
    found = json.loads(podwire("map", "topology", "--name", lab.name, "-o", "json"))
    ends = [(cable["a"]["place"], cable["b"]["place"]) for cable in found["cables"]]
    for pod in lab.pods():
        node, name = f"Node {pod['spec']['nodeName']}", f"Pod default/{pod['metadata']['name']}"
        assert (node, name) in ends or (name, node) in ends
    levels = {spot["id"]: spot.get("level", "ok") for spot in found["places"]}
    assert set(levels.values()) == {"ok"}, levels


def test_the_map_of_a_service_counts_its_connections(lab: Lab) -> None:
    address = lab.get("service", "web")["spec"]["clusterIP"]
    asked = lab.ask_from_node("node1", address, 80, 4)
    found = json.loads(podwire("map", "service", "--name", lab.name, "web", "-o", "json"))
    (port,) = found["ports"]
    shares = [one["shares"]["node1"] for one in port["endpoints"]]
    assert shares == [pytest.approx(1 / 3)] * 3
    counted = {one["pod"]: one["connections"]["node1"] for one in port["endpoints"]}
    assert all(counted[pod] >= count for pod, count in asked.items())


def test_the_mesh_of_a_lab_loses_nothing(lab: Lab) -> None:
    args = ("--name", lab.name, "--patience", "5", "-o", "json")
    ways = json.loads(podwire("map", "mesh", *args))["ways"]
    between = {(way["source"], way["destination"]) for way in ways}
    assert {("Node node1", "Node node2"), ("Node node2", "Node node1")} <= between
    assert sum(way["source"].startswith("Pod ") for way in ways) == 2
    assert all(way["received"] == way["sent"] and way["largest"] == way["mtu"] for way in ways)


def test_the_page_of_a_lab_opens_by_its_token_and_ends_while_it_listens(lab: Lab) -> None:
    argv = [str(CHECKOUT / "bin" / "podwire"), "web", "--name", lab.name, "--live"]
    argv.append("host service/web")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as page:
        try:
            assert page.stdout is not None
            url = page.stdout.readline().split()[1]
            opener = build_opener(HTTPCookieProcessor())
            assert b"<title>podwire</title>" in opener.open(url, timeout=60).read()
            drawn = opener.open(urljoin(url, "/map.svg"), timeout=60).read().decode()
            assert "Node node2" in drawn
            packets = opener.open(urljoin(url, "/packets?filter=host+service/web"), timeout=60)
            assert packets.readline() == b"event: packets\n"
            assert b"listening in" in packets.readline()
            assert "podwire-trace" in tables(lab)
        finally:
            page.send_signal(signal.SIGINT)
        assert page.wait(60) == 0
    assert "podwire-trace" not in tables(lab)


def tables(lab: Lab) -> str:
    return str(run(*lab.exec_argv("node1", "nft", "list", "tables")).stdout)


def shown(lab: Lab, *args: str) -> Any:
    return json.loads(podwire(args[0], "--name", lab.name, *args[1:], "-o", "json"))


def test_kernels_have_what_the_objects_say(lab: Lab) -> None:
    found = shown(lab, "services")
    assert [one["node"] for one in found["nodes"]] == ["node1", "node2"]
    assert not any(one.get("faults") for one in found["nodes"]), found["nodes"]
    wrong = [one for one in found["frontends"] if any("wrong" in node for node in one["nodes"])]
    assert wrong == []
    assert not any(one.get("differs") for one in found["frontends"])
    (web,) = (one for one in found["frontends"] if one["service"] == "default/web")
    pods = {f"Pod default/{one['metadata']['name']}" for one in lab.pods()}
    for node in web["nodes"]:
        assert {end["owner"] for end in node["endpoints"]} == pods
    assert all(pod in podwire("endpoints", "--name", lab.name, "web") for pod in pods)


def test_a_call_is_in_flows_and_in_top(lab: Lab) -> None:
    """A connection of a node to the Service stays open for as long as it is looked for."""
    podwire("lab", "set", "--name", lab.name, "proxy", "nftables")
    ip = lab.get("service", "web")["spec"]["clusterIP"]
    script = f"exec 3<>/dev/tcp/{ip}/80; echo open; read line"
    argv = lab.exec_argv("node1", "bash", "-c", script)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as call:
        assert call.stdout and call.stdout.readline() == "open\n"
        found = shown(lab, "flows", "--service", "web", "--node", "node1")
        top = shown(lab, "top", "--once", "--interval", "0.1")
        call.communicate("", timeout=60)
    ours = [one for one in found if one["client"] == "Node node1"]
    (opened,) = [one for one in ours if one["flow"]["state"] == "ESTABLISHED"]  # others have ended
    assert opened["server"] in {f"Pod default/{one['metadata']['name']}" for one in lab.pods()}
    assert not any(one.get("stale") for one in found)
    assert "default/web:http" in {row["service"] for row in top["rows"] if row["open"]}


def explained_ends(way: Any) -> list[Any]:
    """The branches in which an explained way ends."""
    parts = way.get("branches", [])
    return [end for part in parts for end in explained_ends(part)] if parts else [way]


def test_explain_follows_each_endpoint_and_its_answer(lab: Lab, mode: str) -> None:
    name = pod_on(lab, "node1")
    way = json.loads(podwire("explain", "--name", lab.name, name, "service/web", "-o", "json"))[
        "way"
    ]
    found = explained_ends(way)
    pods = {f"Pod default/{one['metadata']['name']}" for one in lab.pods()}
    assert {one["at"] for one in found} == pods
    assert {round(one["probability"], 3) for one in found} == {round(1 / len(pods), 3)}
    answers = [end for one in found for end in explained_ends(one["reply"])]
    assert [(one["end"], one["at"]) for one in answers] == [
        ("delivered", f"Pod default/{name}")
    ] * len(pods)


OPTIONS: dict[str, Any] = {
    **{"namespace": "default", "source_port": 40000, "source_address": None, "mark": 0},
    **{"most": 64, "no_reply": False, "new": True},
}
GUARDED = """
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-only-8080}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 8080}]}]}
"""


def classes(lab: Lab) -> dict[str, tuple[str, str, str]]:
    """The classes of packets: source, destination, and how they end."""
    pods = {one["metadata"]["name"]: one["status"]["podIP"] for one in lab.pods()}
    nodes = {one["metadata"]["name"]: one["spec"]["nodeName"] for one in lab.pods()}
    pairs = [(one, other) for one in pods for other in pods if one != other]
    near = next(pair for pair in pairs if nodes[pair[0]] == nodes[pair[1]])
    far = next(pair for pair in pairs if nodes[pair[0]] != nodes[pair[1]])
    here = nodes[near[0]]
    return {
        "Pod to Pod, one node": (near[0], f"{pods[near[1]]}:8080", "delivered"),
        "Pod to Pod, other node": (far[0], f"{pods[far[1]]}:8080", "delivered"),
        "Pod to ClusterIP, and itself": (near[0], "service/web", "delivered"),
        "node to ClusterIP": (here, "service/web", "delivered"),
        "Pod to DNS": (near[0], "kube-system/kube-dns:53/udp", "delivered"),
        "Pod to the API": (near[0], "service/kubernetes", "delivered"),
        "Pod to node": (near[0], f"node/{here}/icmp", "delivered"),
        "Pod to outside": (near[0], "outside:443", "delivered"),
        "NodePort from outside": ("outside", "service/web-nodeport", "delivered"),
        "NodePort from a Pod": (near[0], f"node/{nodes[far[1]]}:30080", "delivered"),
        "NodePort from its node": (here, f"node/{here}:30080", "delivered"),
        "dropped by a policy": (far[0], f"{pods[far[1]]}:9090", "dropped"),
        "Service without endpoints": (near[0], "service/nobody", "dropped"),
    }


def test_little_of_a_lab_is_unknown(lab: Lab, mode: str, tmp_path: Path) -> None:
    """A snapshot explains each class of packets as the kernels do."""
    policy, path = tmp_path / "guarded.yaml", tmp_path / "taken.json"
    policy.write_text(GUARDED)
    lab.kubectl("apply", "-f", str(policy))
    try:
        for name, (source, to, end) in classes(lab).items():
            eventually(lambda: well(lab, name, source, to, end))  # noqa: B023
        podwire("snapshot", str(path), "--name", lab.name)
        for name, (source, to, _) in classes(lab).items():
            live = "\n".join(lines(explained(of_lab(lab.name), source, to, OPTIONS)))
            saved = "\n".join(lines(explained_of_file(path, source, to, OPTIONS)))
            assert saved == live, f"{mode}: {name}"
    finally:
        lab.kubectl("delete", "-f", str(policy))


def well(lab: Lab, name: str, source: str, to: str, end: str) -> bool:
    """Return True once a packet ends as its class does, and little of it is unknown."""
    way = explained(of_lab(lab.name), source, to, OPTIONS).way
    every = [one for one in ends(way) if one.probability]
    every += [back for one in every if one.reply for back in ends(one.reply)]
    shares = {"unknown": 0.0}
    for one in every:
        shares[one.end] = shares.get(one.end, 0.0) + one.probability
    print(f"{name}: {shares}")
    return shares["unknown"] < 0.05 and set(shares) == {"unknown", end}
