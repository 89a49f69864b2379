"""A lab whose nodes run containerd: kubectl's streams, ends of containers, kills, what is left."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.e2e.harness import WEB, eventually, made_lab, podwire, run
from tests.support.e2e.typist import Typist

NAME = f"c{os.getpid()}"
PODS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {word: first}
---
apiVersion: v1
kind: Service
metadata: {name: gate}
spec:
  selector: {app: gate}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: talker}
  spec:
    nodeName: node1
    terminationGracePeriodSeconds: 0
    volumes: [{name: settings, configMap: {name: settings}}]
    initContainers:
    - {name: before, image: podwire/tools, command: [echo, was here]}
    - {name: beside, image: podwire/tools, command: [sleep, "1000"], restartPolicy: Always}
    containers:
    - name: main
      image: podwire/tools
      command: [sh, -c, "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.2; done"]
      volumeMounts: [{name: settings, mountPath: /settings}]
- apiVersion: v1
  kind: Pod
  metadata: {name: shell}
  spec:
    nodeName: node1
    terminationGracePeriodSeconds: 0
    containers: [{name: main, image: podwire/tools, command: [sh], stdin: true, tty: true}]
- apiVersion: v1
  kind: Pod
  metadata: {name: gate, labels: {app: gate}}
  spec:
    nodeName: node2
    terminationGracePeriodSeconds: 0
    containers:
    - name: main
      image: podwire/tools
      readinessProbe:
        exec: {command: [test, -f, /tmp/open]}
        periodSeconds: 1
        failureThreshold: 1
- apiVersion: v1
  kind: Pod
  metadata: {name: greedy}
  spec:
    restartPolicy: Never
    containers:
    - name: main
      image: podwire/tools
      # containerd hears of a kill by the kernel apart from the end, and never if the group is gone.
      command: [sh, -c, "tail /dev/zero; code=$?; sleep 3; exit $code"]
      resources: {limits: {memory: 32Mi}}
- apiVersion: v1
  kind: Pod
  metadata: {name: failing}
  spec:
    restartPolicy: Never
    containers:
    - name: main
      image: podwire/tools
      command: [sh, -c, "echo last words >/dev/termination-log; exit 3"]
"""
ALONE = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: alone}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """A lab of two nodes on containerd, with all that the tests look at; it leaves nothing."""
    with made_lab(
        NAME, tmp_path_factory.mktemp("kube"), ("--runtime=containerd", "--nodes=2")
    ) as lab:
        lab.kubectl("apply", "-f", "-", stdin=PODS)
        lab.kubectl("apply", "-f", str(WEB))
        lab.kubectl("wait", "pod/talker", "pod/shell", "--for=condition=Ready", "--timeout=60s")
        lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        yield lab
    assert list(Path("/sys/fs/cgroup").glob(f"**/podwire/{NAME}")) == []
    assert NAME not in Path("/proc/mounts").read_text()
    assert run("pgrep", "-f", f"podwire machine {NAME}/").stdout == ""


def first_state(lab, name):
    return lab.get("pod", name)["status"]["containerStatuses"][0]["state"]


def identity(lab):
    """Return what a kill of a component must not change."""
    return {
        (pod["metadata"]["name"], pod["status"]["podIP"], state["containerID"])
        for pod in lab.get("pods")["items"]
        for state in pod["status"]["containerStatuses"]
        if "running" in state["state"]
    }


def test_the_nodes_say_what_runs_them(nodes):
    for node in nodes.get("nodes")["items"]:
        assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")
    config = podwire("lab", "config", "--name", NAME)
    assert "\nruntime: containerd\n" in config


def test_logs_are_followed(nodes):
    argv = nodes.kubectl_argv("logs", "-f", "talker", "-c", "main")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert [process.stdout.readline() for _ in range(12)] == [
            f"line {number}\n" for number in range(1, 13)
        ]
        process.terminate()
    assert nodes.kubectl("logs", "talker", "-c", "before") == "was here\n"


def test_a_command_has_streams_a_terminal_and_a_code(nodes):
    done = run(
        *nodes.kubectl_argv("exec", "-i", "shell", "--", "sh", "-c", "cat; exit 7"), input="in"
    )
    assert (done.returncode, done.stdout) == (7, "in")
    typist = Typist(nodes.kubectl_argv("exec", "-it", "shell", "--", "sh"))
    typist.type("tty; echo $((40 + 2))\n")
    assert "/dev/pts/" in typist.until("42\r\n")
    typist.type("exit 5\n")
    assert typist.end()[0] == 5


def test_attach_reaches_the_first_process(nodes):
    typist = Typist(nodes.kubectl_argv("attach", "-it", "shell"))
    typist.type("echo I am $$\n")
    typist.until("I am 1\r\n")
    os.kill(typist.pid, signal.SIGKILL)
    typist.end()


def test_files_are_copied_both_ways(nodes, tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "there").write_bytes(content)
    nodes.kubectl("cp", str(tmp_path / "there"), "talker:/tmp/file", "-c", "main")
    nodes.kubectl("cp", "talker:/tmp/file", str(tmp_path / "back"), "-c", "main", "--retries=2")
    assert (tmp_path / "back").read_bytes() == content


def test_a_port_is_forwarded(nodes):
    pod = nodes.pods()[0]["metadata"]["name"]
    argv = nodes.kubectl_argv("port-forward", pod, ":8080")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        port = process.stdout.readline().split()[2].rpartition(":")[2]
        assert run("curl", "-s", f"http://127.0.0.1:{port}/").stdout == f"{pod}\n"
        process.terminate()


def test_a_debugger_sees_the_processes_of_its_target(nodes):
    debug = ("debug", "talker", "--image=podwire/tools", "--target=main", "--profile=general")
    done = run(*nodes.kubectl_argv(*debug, "-c", "looker", "--quiet", "--", "ps"))
    assert done.returncode == 0, done.stderr
    eventually(lambda: "echo line" in nodes.kubectl("logs", "talker", "-c", "looker"))


def test_a_failing_probe_leaves_the_service(nodes):
    address = nodes.get("service", "gate")["spec"]["clusterIP"]
    for command, answers in (("touch", {"gate"}), ("rm", set())):
        nodes.kubectl("exec", "gate", "--", command, "/tmp/open")
        eventually(
            lambda wanted=answers: (
                {
                    name
                    for name in nodes.ask_from_node("node1", address, 80, 3)
                    if not name.startswith("failed")
                }
                == wanted
            )
        )


def test_how_containers_end(nodes):
    for name in ("greedy", "failing"):
        eventually(lambda pod=name: "terminated" in first_state(nodes, pod))
    killed = first_state(nodes, "greedy")["terminated"]
    assert (killed["exitCode"], killed["reason"]) == (137, "OOMKilled")
    failed = first_state(nodes, "failing")["terminated"]
    assert (failed["exitCode"], failed["reason"], failed["message"]) == (3, "Error", "last words\n")


def test_a_change_of_a_config_map_is_seen_in_its_volume(nodes):
    """Within a minute, or at once when the Pod changes, as kubelet does it."""
    nodes.kubectl("patch", "configmap", "settings", "-p", '{"data": {"word": "second"}}')
    nodes.kubectl("annotate", "pod", "talker", "look=now")
    read = ("exec", "talker", "-c", "main", "--", "cat", "/settings/word")
    eventually(lambda: nodes.kubectl(*read) == "second")


def test_a_policy_closes_a_service(nodes):
    address = nodes.get("service", "web")["spec"]["clusterIP"]
    # Not wget's -T: it ends busybox 1.35 of Debian by SIGSEGV.
    ask = ("exec", "gate", "--", "timeout", "1", "wget", "-q", "-O-", f"http://{address}/")
    assert nodes.kubectl(*ask).startswith("web-")
    nodes.kubectl("apply", "-f", "-", stdin=ALONE)
    eventually(lambda: run(*nodes.kubectl_argv(*ask)).returncode != 0)
    nodes.kubectl("delete", "networkpolicy", "alone")
    eventually(lambda: run(*nodes.kubectl_argv(*ask)).returncode == 0)


def test_a_killed_agent_and_a_killed_containerd_disturb_no_pod(nodes):
    before = identity(nodes)
    address = nodes.get("service", "web")["spec"]["clusterIP"]
    with nodes.load("node2", address, 80, 0.02) as result:
        for component in ("agent", "containerd"):
            old = nodes.component_pid("node1", component)
            os.kill(old, signal.SIGKILL)
            eventually(lambda c=component, o=old: nodes.component_pid("node1", c) not in (None, o))
        exec_true = nodes.kubectl_argv("exec", "shell", "--", "true")
        eventually(lambda: run(*exec_true).returncode == 0)
    assert result["failures"] == [] and result["ok"] > 0
    assert identity(nodes) == before


def test_a_machine_that_was_killed_makes_its_pods_anew(nodes):
    pid = next(row["pid"] for row in nodes.status()["machines"] if row["name"] == "node1")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: nodes.status()["state"] == "degraded")
    podwire("lab", "start", "--name", NAME, "node1")

    def again():
        pod = nodes.get("pod", "shell")
        return [(s["ready"], s["restartCount"]) for s in pod["status"]["containerStatuses"]]

    eventually(lambda: again() == [(True, 1)])
    assert nodes.kubectl("exec", "shell", "--", "hostname").strip() == "shell"


def test_a_node_is_added_with_the_same_runtime(nodes):
    podwire("lab", "node", "add", "--name", NAME, "node3")
    row = nodes.get("node", "node3")
    assert row["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")
    podwire("lab", "node", "remove", "--name", NAME, "node3", "--force")
    assert list(Path("/sys/fs/cgroup").glob(f"**/podwire/{NAME}/node3")) == []


def test_an_image_that_is_nowhere_says_so(nodes):
    nodes.kubectl("run", "lost", "--image=podwire/absent:1")

    def why():
        state = first_state(nodes, "lost").get("waiting", {})
        return "not found" in state.get("message", "")

    eventually(why)
    nodes.kubectl("delete", "pod", "lost", "--now")


def test_a_loaded_image_is_on_the_nodes(nodes, tmp_path):
    (tmp_path / "root/bin").mkdir(parents=True)
    (tmp_path / "root/bin/sleep").write_bytes(Path("/bin/busybox").read_bytes())
    (tmp_path / "root/bin/sleep").chmod(0o755)
    archive = tmp_path / "app.tar"
    podwire("image", "build", "app:1", str(tmp_path / "root"), "-o", str(archive))
    podwire("lab", "load", "--name", NAME, str(archive))
    names = lambda: json.dumps(nodes.get("node", "node1")["status"]["images"])  # noqa: E731
    eventually(lambda: "docker.io/library/app:1" in names())
    nodes.kubectl("run", "app", "--image=app:1", "--image-pull-policy=Never", "--", "sleep", "1000")
    nodes.kubectl("wait", "pod/app", "--for=condition=Ready", "--timeout=30s")
