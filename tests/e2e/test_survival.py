"""kill -9 of any component: established connections continue, and the cluster converges."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.support.e2e.harness import CHECKOUT, WEB, eventually, identity, podwire, run

COMPONENTS = [
    ("control", "apiserver"),
    ("control", "scheduler"),
    ("control", "controllers"),
    ("control", "cloud"),
    ("node1", "cni"),
    ("node1", "agent"),
    ("node1", "proxy"),
    ("node1", "speaker"),
]


@pytest.fixture(scope="module")
def web(lab):
    lab.kubectl("apply", "-f", str(WEB))
    lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    return lab


class Conversation:
    """A TCP connection through a ClusterIP's rules that stays open during the test."""

    SCRIPT = """
import socket, sys
c = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
c.settimeout(10)
print("open", flush=True)
for line in sys.stdin:
    c.sendall(line.encode())
    print(c.makefile("r").readline().strip(), flush=True)
"""

    def __init__(self, lab, address, port):
        argv = lab.exec_argv("node1", "/usr/bin/python3", "-c", self.SCRIPT, address, str(port))
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
        )
        assert self.process.stdout.readline() == "open\n"

    def say(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


ECHO = """
apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers:
    - name: echo
      image: podwire/tools
      command: [nc, -ll, -p, "7000", -e, cat]
      readinessProbe: {tcpSocket: {port: 7000}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports: [{port: 7000}]
"""


@pytest.fixture(scope="module")
def conversation(web):
    web.kubectl("apply", "-f", "-", stdin=ECHO)
    web.kubectl("wait", "pod/echo", "--for=condition=Ready", "--timeout=30s")
    address = web.get("service", "echo")["spec"]["clusterIP"]
    dial = ("bash", "-c", f"exec 3<>/dev/tcp/{address}/7000")
    eventually(lambda: web.exec("node1", *dial) == "", 20)
    talk = Conversation(web, address, 7000)
    yield talk
    talk.close()


@pytest.mark.parametrize(("machine", "component"), COMPONENTS)
def test_a_killed_component_loses_nothing(web, conversation, machine, component):
    before = identity(web)
    assert conversation.say("before") == "before"
    old = web.component_pid(machine, component)
    os.kill(old, signal.SIGKILL)
    assert conversation.say(f"{component} is dead") == f"{component} is dead"
    eventually(lambda: web.component_pid(machine, component) not in (None, old))

    # All components work again: API, controllers, scheduler, agent, CNI, proxy.
    web.kubectl("scale", "deployment", "web", "--replicas=6")
    web.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    after = identity(web)
    assert {uid: after.get(uid) for uid in before} == before
    assert any(pod["spec"]["nodeName"] == "node1" for pod in web.pods())
    address = web.get("service", "web")["spec"]["clusterIP"]
    names = {pod["metadata"]["name"] for pod in web.pods()}
    eventually(lambda: set(web.ask_from_node("node1", address, 80, 90)) == names)
    web.kubectl("scale", "deployment", "web", "--replicas=3")
    eventually(lambda: len(web.get("pods", "-l", "app=web")["items"]) == 3)
    assert conversation.say("after") == "after"


def test_killed_in_the_middle_of_a_rollout(web, conversation):
    """All components are killed at once, with Pods half made and half removed."""
    web.kubectl("rollout", "restart", "deployment/web")
    for machine, component in COMPONENTS:
        if pid := web.component_pid(machine, component):
            os.kill(pid, signal.SIGKILL)
    web.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    eventually(lambda: len(web.get("pods", "-l", "app=web")["items"]) == 3, 90)
    assert conversation.say("still here") == "still here"
    addresses = [pod["status"]["podIP"] for pod in web.pods()]
    assert len(set(addresses)) == 3
    assert all(socket.inet_aton(address) for address in addresses)


def containers_of(lab, node):
    return {
        status["containerID"]
        for pod in lab.pods()
        if pod["spec"]["nodeName"] == node
        for status in pod["status"]["containerStatuses"]
    }


def is_whole(lab, gone):
    """True if three Pods are ready, and none of their containers is one of ``gone``."""
    statuses = [status for pod in lab.pods() for status in pod["status"]["containerStatuses"]]
    return len(statuses) == 3 and all(
        status["ready"] and status["containerID"] not in gone for status in statuses
    )


@pytest.mark.parametrize("machine", ["node2", "control"])
def test_a_killed_machine_starts_again(web, machine):
    gone = containers_of(web, machine)
    assert gone or machine == "control"
    assert web.status()["state"] == "up"
    (pid,) = (row["pid"] for row in web.status()["machines"] if row["name"] == machine)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: web.status()["state"] == "degraded")

    start = ("lab", "start", "--name", web.name)
    assert podwire(*start) == f"lab {web.name}: {machine} runs again\n"
    assert web.status()["state"] == "up"
    assert podwire(*start) == f"lab {web.name}: every machine runs\n"
    eventually(lambda: is_whole(web, gone), 120)
    address = web.get("service", "web")["spec"]["clusterIP"]
    names = {pod["metadata"]["name"] for pod in web.pods()}
    for node in ("node1", "node2"):
        eventually(lambda node=node: set(web.ask_from_node(node, address, 80, 90)) == names)


def addresses(lab):
    """Return the address of each Pod, by its name."""
    return {pod["metadata"]["name"]: pod["status"].get("podIP") for pod in lab.pods()}


def node_of(lab, name):
    """Return a Node, or None."""
    items = lab.get("nodes")["items"]
    return next((node for node in items if node["metadata"]["name"] == name), None)


def pods_on(lab, node):
    return {p["metadata"]["name"] for p in lab.pods() if p["spec"]["nodeName"] == node}


def is_ready(item):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"]["conditions"])


def test_nodes_join_stop_start_and_leave(web):
    """A stopped node's Pods leave the Services at once, and have their addresses again."""
    node = ("lab", "node")
    options = ("--label=disk=fast", "--zone=z1", "--taint=new=:NoSchedule")
    assert "node4 joined" in podwire(*node, "add", "--name", web.name, *options)
    joined = node_of(web, "node4")
    assert is_ready(joined)
    labels = joined["metadata"]["labels"]
    assert (labels["disk"], labels["topology.kubernetes.io/zone"]) == ("fast", "z1")
    (taint,) = (t for t in joined["spec"]["taints"] if t["key"] == "new")
    assert taint["effect"] == "NoSchedule"

    # node1 has the Pod of the conversations, which no controller makes anew.
    leaving = next(name for p in web.pods() if (name := p["spec"]["nodeName"]) != "node1")
    before, there = addresses(web), pods_on(web, leaving)
    gone = containers_of(web, leaving)
    podwire(*node, "stop", "--name", web.name, leaving)
    status = web.status()
    assert status["state"] == "up"
    assert [m["name"] for m in status["machines"] if m["stopped"]] == [leaving]
    assert not is_ready(node_of(web, leaving))
    eventually(lambda: {p["metadata"]["name"] for p in web.pods() if not is_ready(p)} == there)
    assert addresses(web) == before

    podwire(*node, "start", "--name", web.name, leaving)
    assert is_ready(node_of(web, leaving))
    eventually(lambda: is_whole(web, gone), 120)
    assert addresses(web) == before

    podwire(*node, "remove", "--name", web.name, leaving)
    assert node_of(web, leaving) is None
    assert leaving not in {machine["name"] for machine in web.status()["machines"]}
    assert pods_on(web, leaving) == set()
    eventually(lambda: is_whole(web, ()), 120)


def test_a_lab_stops_and_starts_again(web):
    before, service = addresses(web), web.get("service", "web")["spec"]["clusterIP"]
    gone = {c for machine in web.status()["machines"] for c in containers_of(web, machine["name"])}
    podwire("lab", "stop", "--name", web.name)
    status = web.status()
    assert status["state"] == "stopped"
    assert {m["pid"] for m in status["machines"]} == {None}
    refused = run(CHECKOUT / "bin" / "podwire", "lab", "up", "--name", web.name)
    assert (refused.returncode, "lab start" in refused.stderr) == (1, True)

    podwire("lab", "start", "--name", web.name)
    assert web.status()["state"] == "up"
    eventually(lambda: is_whole(web, gone), 120)
    assert addresses(web) == before
    assert web.get("service", "web")["spec"]["clusterIP"] == service
    eventually(lambda: set(web.ask_from_node("node4", service, 80, 90)) == set(before))


def version(lab):
    """Return the resourceVersion of a list."""
    listed = json.loads(lab.kubectl("get", "--raw", "/api/v1/nodes"))
    return int(listed["metadata"]["resourceVersion"])


def test_the_store_is_moved_to_etcd_and_back_under_running_pods(web):
    before, service = identity(web), web.get("service", "web")["spec"]["clusterIP"]
    secret = web.kubectl("create", "secret", "generic", "kept", "--from-literal=a=b", "-o", "name")
    uids = {
        one["metadata"]["uid"] for one in web.get("deployments,secrets,services,nodes")["items"]
    }
    newest = version(web)
    with web.load("node1", service, 80, 0.02) as load:
        for kind, parts in (("etcd", {"etcd"}), ("sqlite", set())):
            said = podwire("lab", "set", "store", kind, "--name", web.name)
            assert f"lab {web.name} keeps its objects in {kind}" in said
            control = web.status()["machines"][0]
            running = {part["name"] for part in control["components"] if part["pid"]}
            assert running & {"etcd"} == parts
            assert version(web) > newest  # clients never see it go back
            newest = version(web)
            replicas = 5 if kind == "etcd" else 4
            web.kubectl("scale", "deployment", "web", f"--replicas={replicas}")
            web.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
            eventually(lambda n=replicas: len(web.pods()) == n)
    assert load["failures"] == [], load
    after = identity(web)
    assert sum(after.get(uid) == before[uid] for uid in before) >= 3  # none was made anew
    assert {uid: seen for uid, seen in after.items() if uid in before}.items() <= before.items()
    assert web.kubectl("get", "secret", "kept", "-o", "name") == secret
    again = web.get("deployments,secrets,services,nodes")["items"]
    assert uids <= {one["metadata"]["uid"] for one in again}
