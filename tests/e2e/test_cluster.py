"""A user's first hour: manifest, kubectl, real packets."""

import ipaddress
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.e2e.harness import CHECKOUT, WEB, eventually, podwire, run
from tests.support.e2e.typist import Typist

COUNT = 300


@pytest.fixture(scope="module")
def web(lab):
    """examples/web.yaml, applied and rolled out."""
    out = lab.kubectl("apply", "-f", str(WEB))
    assert out.count("created") == 3
    rolled = lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert "successfully rolled out" in rolled
    return lab


def cluster_ip(lab, name="web"):
    return lab.get("service", name)["spec"]["clusterIP"]


def names(pods):
    return {pod["metadata"]["name"] for pod in pods}


def settled(lab, address, expected, port=80):
    """Wait until every node's rules lead to exactly these Pods."""
    for node in ("node1", "node2", "node3"):
        eventually(lambda node=node: set(lab.ask_from_node(node, address, port, 60)) == expected)


def test_pods_run_on_several_nodes_with_addresses_of_their_nodes(web):
    pods = web.pods()
    assert len(pods) == 3
    nodes = {
        node["metadata"]["name"]: node["spec"]["podCIDR"] for node in web.get("nodes")["items"]
    }
    assert len({pod["spec"]["nodeName"] for pod in pods}) >= 2
    for pod in pods:
        network = ipaddress.ip_network(nodes[pod["spec"]["nodeName"]])
        assert ipaddress.ip_address(pod["status"]["podIP"]) in network


def test_apply_again_changes_nothing(web):
    out = web.kubectl("apply", "-f", str(WEB))
    assert out.count("unchanged") == 3


def test_wide_output_names_node_and_address(web):
    out = web.kubectl("get", "pods", "-o", "wide")
    for pod in web.pods():
        line = next(line for line in out.splitlines() if pod["metadata"]["name"] in line)
        assert pod["spec"]["nodeName"] in line
        assert pod["status"]["podIP"] in line
        assert "1/1" in line
        assert "Running" in line


def test_describe_shows_the_events(web):
    pod = web.pods()[0]["metadata"]["name"]
    out = web.kubectl("describe", "pod", pod)
    for word in ("Scheduled", "Started", "podwire/tools", "Ready"):
        assert word in out
    assert "Endpoints:" in web.kubectl("describe", "service", "web")
    assert "PodCIDR" in web.kubectl("describe", "node", "node1")
    assert "ScalingReplicaSet" in web.kubectl("describe", "deployment", "web")


def test_watch_shows_a_scale(web):
    argv = web.kubectl_argv("get", "deployment", "web", "-w", "--no-headers")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        try:
            assert "3/3" in watch.stdout.readline()
            assert "scaled" in web.kubectl("scale", "deployment", "web", "--replicas=4")
            while "4/4" not in watch.stdout.readline():
                pass
        finally:
            watch.terminate()
        assert watch.stderr.read() == ""
    web.kubectl("scale", "deployment", "web", "--replicas=3")
    eventually(lambda: len(web.get("pods", "-l", "app=web")["items"]) == 3)


def test_logs_and_exec_reach_a_pod(web):
    pod = web.pods()[0]["metadata"]["name"]
    assert web.kubectl("exec", pod, "--", "hostname").strip() == pod
    done = run(*web.kubectl_argv("exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7"))
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert "err\n" in done.stderr
    manifest = """
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  restartPolicy: Never
  containers: [{name: main, image: podwire/tools, command: [sh, -c, "echo one; echo two"]}]
"""
    web.kubectl("apply", "-f", "-", stdin=manifest)
    web.kubectl("wait", "pod/talker", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
    assert web.kubectl("logs", "talker") == "one\ntwo\n"
    assert "deleted" in web.kubectl("delete", "pod", "talker")


def test_a_shell_in_its_own_pod(web):
    run_it = ("run", "-it", "--rm", "sh", "--image=podwire/tools", "--", "sh")
    typist = Typist(web.kubectl_argv(*run_it))
    typist.type("tty; echo $((40 + 2))\n")
    assert "/dev/pts/0" in typist.until("42\r\n")
    typist.type("exit\n")
    code, said = typist.end()
    assert (code, 'pod "sh" deleted' in said) == (0, True), said


def test_a_pipes_input_and_its_end_reach_a_pod(web):
    run_i = ("run", "-i", "--rm", "--quiet", "count", "--image=podwire/tools", "--restart=Never")
    script = "wc -c; sleep 1"
    done = run(*web.kubectl_argv(*run_i, "--", "sh", "-c", script), input="x" * 200_000)
    assert (done.returncode, done.stdout.split("\n")[0]) == (0, "200000"), done.stderr


def test_a_terminal_outlives_the_agent_of_its_node(web):
    manifest = """
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: podwire/tools, command: [sh], stdin: true, tty: true}]
"""
    web.kubectl("apply", "-f", "-", stdin=manifest)
    web.kubectl("wait", "pod/shell", "--for=condition=Ready", "--timeout=30s")
    first = Typist(web.kubectl_argv("attach", "-it", "shell"))
    first.type("kept=$((40 + 2)); echo said $kept\n")
    first.until("said 42\r\n")
    agent = web.component_pid("node1", "agent")
    os.kill(agent, signal.SIGKILL)
    first.end()
    eventually(lambda: web.component_pid("node1", "agent") not in (None, agent))

    def attached():
        done = run(*web.kubectl_argv("exec", "shell", "--", "true"))
        return done.returncode == 0

    eventually(attached)
    second = Typist(web.kubectl_argv("attach", "-it", "shell"))
    second.type("echo still $kept\n")
    second.until("still 42\r\n")
    pod = web.get("pod", "shell")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    web.kubectl("delete", "pod", "shell", "--now=true")
    second.end()


def test_exec_on_a_terminal_names_it(web):
    pod = web.pods()[0]["metadata"]["name"]
    typist = Typist(web.kubectl_argv("exec", "-it", pod, "--", "tty"))
    typist.until("/dev/pts/0\r\n")
    assert typist.end()[0] == 0


def test_every_replica_answers_from_every_node(web):
    address, expected = cluster_ip(web), names(web.pods())
    settled(web, address, expected)
    for node in ("node1", "node2", "node3"):
        answers = web.ask_from_node(node, address, 80, COUNT)
        assert set(answers) == expected
        assert answers.total() == COUNT


def test_every_replica_answers_from_a_pod_on_every_node_and_from_itself(web):
    """Every Pod of the Deployment is also an endpoint, so this includes hairpins."""
    address, expected = cluster_ip(web), names(web.pods())
    settled(web, address, expected)
    for pod in web.pods():
        answers = web.ask_from_pod(pod["metadata"]["name"], address, 80, COUNT)
        assert set(answers) == expected
        assert answers.total() == COUNT


def test_a_node_port_answers_on_every_node_from_outside(web):
    expected = names(web.pods())
    for node in web.get("nodes")["items"]:
        address = node["status"]["addresses"][0]["address"]
        answers = web.ask_from_node("switch", address, 30080, 60)
        assert set(answers) == expected
        assert answers.total() == 60


def test_the_api_server_answers_at_its_service_from_a_pod(web):
    """The request goes through the ClusterIP to the address and port of its EndpointSlice."""
    address = cluster_ip(web, "kubernetes")
    web.kubectl("exec", web.pods()[0]["metadata"]["name"], "--", "nc", "-w", "5", address, "443")


def test_a_pod_reaches_a_service_by_its_names(web):
    pod, expected = web.pods()[0]["metadata"]["name"], names(web.pods())
    for name in ("web", "web.default", "web.default.svc.cluster.local", "web.default.svc"):
        answer = web.kubectl("exec", pod, "--", "wget", "-qO-", f"http://{name}").strip()
        assert answer in expected
    absent = run(*web.kubectl_argv("exec", pod, "--", "wget", "-qO-", "http://absent"))
    assert "bad address 'absent'" in absent.stderr


def test_names_resolve_while_one_dns_server_is_killed(web):
    """The servers share their sockets: a question waits in them until one takes it."""
    address = cluster_ip(web)
    for server in ("dns", "dns-2"):
        killed = web.component_pid("control", server)
        os.kill(killed, signal.SIGKILL)
        for _ in range(3):
            out = podwire("lab", "resolve", "--name", web.name, "web", "-o", "json")
            assert [row["value"] for row in json.loads(out)] == [address]
        eventually(lambda s=server, k=killed: web.component_pid("control", s) not in (None, k))


def test_a_pod_answers_ping_and_a_cluster_ip_does_not(web):
    for pod in web.pods():
        web.exec("node1", "ping", "-c1", "-W2", pod["status"]["podIP"])
    ping = run(*web.exec_argv("node1", "ping", "-c1", "-W1", cluster_ip(web)))
    assert ping.returncode != 0


def test_a_service_without_endpoints_refuses_at_once(web):
    web.kubectl("create", "service", "clusterip", "nobody", "--tcp=80:80")
    try:
        address = cluster_ip(web, "nobody")
        probe = f"import socket; socket.create_connection(({address!r}, 80), 20)"

        def refused():
            began = time.monotonic()
            done = run(*web.exec_argv("node2", "/usr/bin/python3", "-c", probe))
            return "ConnectionRefusedError" in done.stderr and time.monotonic() - began < 10

        eventually(refused)
    finally:
        web.kubectl("delete", "service", "nobody")


def test_scaling_under_load_fails_no_connection(web):
    address = cluster_ip(web)
    settled(web, address, names(web.pods()))
    with (
        web.load("node1", address, 80, 0.005) as here,
        web.load("node3", address, 80, 0.005) as there,
    ):
        web.kubectl("scale", "deployment", "web", "--replicas=5")
        web.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        time.sleep(1)
        web.kubectl("scale", "deployment", "web", "--replicas=1")
        eventually(lambda: len(web.get("pods", "-l", "app=web")["items"]) == 1)
    for result in (here, there):
        assert result["failures"] == []
        assert result["ok"] > 100
    web.kubectl("scale", "deployment", "web", "--replicas=3")
    web.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def test_a_rollout_under_load_fails_no_connection(web):
    address = cluster_ip(web)
    settled(web, address, names(web.pods()))
    with web.load("node2", address, 80, 0.005) as result:
        web.kubectl("rollout", "restart", "deployment/web")
        web.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        eventually(lambda: len(web.get("pods", "-l", "app=web")["items"]) == 3)
    assert result["failures"] == []
    assert result["ok"] > 50


ROOTED = """
apiVersion: v1
kind: Pod
metadata: {name: rooted}
spec:
  containers:
  - {name: main, image: podwire/tools, command: [sleep, "1000"],
     volumeMounts: [{name: root, mountPath: /host}]}
  volumes: [{name: root, hostPath: {path: /}}]
"""


def test_a_pod_with_its_nodes_root_writes_no_file_of_the_host_and_finds_no_secret(lab):
    lab.kubectl("apply", "-f", "-", stdin=ROOTED)
    lab.kubectl("wait", "pod/rooted", "--for=condition=Ready", "--timeout=30s")
    for folder in (CHECKOUT, "/var/lib/podwire/images"):
        touch = lab.kubectl_argv("exec", "rooted", "--", "touch", f"/host{folder}/written")
        assert "Read-only file system" in run(*touch).stderr
        assert not Path(folder, "written").exists()
    shadow = lab.kubectl("exec", "rooted", "--", "cut", "-d:", "-f2", "/host/etc/shadow")
    assert set(shadow.split()) == {"*"}
    for home in (Path("/root"), Path("/home")):
        found = lab.kubectl("exec", "rooted", "--", "ls", "-A", f"/host{home}").split()
        on_the_way = (path for path in (CHECKOUT, *CHECKOUT.parents) if path.parent == home)
        assert found == [path.name for path in on_the_way]
    lab.kubectl("delete", "pod", "rooted", "--now")


# What a plain Pod may not do on its node; each line would end in a word.
ESCAPES = """
mknod /d b 7 0 && head -c 1 /d && echo out
mount -t tmpfs none /mnt && echo out
unshare -U true && echo namespace
unshare -m true && echo out
cat /proc/sys/kernel/pid_max >/proc/sys/kernel/pid_max && echo out
mkdir /sys/fs/cgroup/escaped && echo out
grep Seccomp: /proc/self/status
"""


@pytest.mark.parametrize("profile", ["", "seccompProfile: {type: Unconfined}"])
def test_a_plain_pod_does_not_get_out(lab, profile):
    """Without a profile it is filtered by default; unfiltered, it still has no right to any."""
    pod = ROOTED.partition("  volumes:")[0].replace("rooted", "plain")
    pod = pod.partition("     volumeMounts")[0] + f"     securityContext: {{{profile}}}}}\n"
    lab.kubectl("apply", "-f", "-", stdin=pod)
    lab.kubectl("wait", "pod/plain", "--for=condition=Ready", "--timeout=30s")
    text = run(*lab.kubectl_argv("exec", "plain", "--", "sh", "-c", ESCAPES)).stdout
    lab.kubectl("delete", "pod", "plain", "--now")
    words = text.split()
    assert words[-2:] == ["Seccomp:", "0" if profile else "2"] and "out" not in words
    assert profile or "namespace" not in words  # which gives no right on the node


def test_a_deployment_deleted_in_the_foreground_ends_after_its_pods(lab):
    lab.kubectl("create", "deployment", "short", "--image=podwire/tools", "--replicas=2")
    lab.kubectl("rollout", "status", "deployment/short", "--timeout=60s")
    lab.kubectl("delete", "deployment", "short", "--cascade=foreground", "--timeout=60s")
    assert not lab.get("replicasets,pods", "-l", "app=short")["items"]


def test_a_job_runs_to_its_end_and_a_late_one_is_ended(lab):
    lab.kubectl("create", "job", "one", "--image=podwire/tools", "--", "sh", "-c", "echo done")
    lab.kubectl("wait", "--for=condition=complete", "job/one", "--timeout=60s")
    assert lab.kubectl("logs", "job/one") == "done\n"
    late = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "late"},
        "spec": {
            "activeDeadlineSeconds": 1,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 1,
                    "containers": [
                        {"name": "c", "image": "podwire/tools", "command": ["sleep", "1000"]}
                    ],
                }
            },
        },
    }
    lab.kubectl("create", "-f", "-", stdin=json.dumps(late))
    lab.kubectl("wait", "--for=condition=failed", "job/late", "--timeout=60s")
    assert lab.get("job", "late")["status"]["failed"] == 1
    lab.kubectl("delete", "job", "one", "late")
    jobs = "batch.kubernetes.io/job-name in (one,late)"
    eventually(lambda: not lab.get("pods", "-l", jobs)["items"])


def test_a_stateful_set_keeps_its_data_over_its_pods(lab):
    """The Pod comes back to its volume; the folder goes with the claim."""
    lab.kubectl("apply", "-f", str(CHECKOUT / "examples/volumes.yaml"))
    ready = ("wait", "pod/diary-0", "--for=condition=Ready", "--timeout=60s")
    eventually(lambda: lab.pods("app=diary"))
    lab.kubectl(*ready)
    (before,) = lab.pods("app=diary")
    lab.kubectl("delete", "pod", "diary-0")
    (after,) = eventually(lambda: lab.pods("app=diary"))
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    lab.kubectl(*ready)
    assert lab.kubectl("exec", "diary-0", "--", "cat", "/data/starts") == "started\n" * 2
    claim = lab.get("pvc", "data-diary-0")
    volume = lab.get("pv", claim["spec"]["volumeName"])
    node, path = before["spec"]["nodeName"], volume["spec"]["hostPath"]["path"]
    assert lab.exec(node, "cat", f"{path}/starts") == "started\n" * 2
    lab.kubectl("delete", "statefulset", "diary")
    lab.kubectl("delete", "pvc", "data-diary-0", "--timeout=60s")
    eventually(lambda: not lab.get("pv")["items"])
    lab.exec(node, "test", "!", "-e", path)


def test_label_and_delete(web):
    assert "labeled" in web.kubectl("label", "deployment", "web", "tier=front")
    assert "web" in web.kubectl("get", "deployments", "-l", "tier=front", "-o", "name")
    assert web.kubectl("delete", "-f", str(WEB)).count("deleted") == 3
    eventually(lambda: not web.get("pods", "-l", "app=web")["items"])
    assert "No resources found" in run(*web.kubectl_argv("get", "pods")).stderr
