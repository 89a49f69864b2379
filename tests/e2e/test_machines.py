"""The Vagrant lab's provisioning on three booted machines: twice, then rebooted.

The machines are systemd-nspawn's, with containerd in them; see docs/vagrant.md for what this shows.
"""

import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.e2e.harness import CHECKOUT, eventually, run
from tests.support.machines.machines import Site, site
from tests.support.machines.provision import (
    KUBECONFIG,
    SCRIPTS,
    make_bundle,
    provision,
    ready_root,
    upload,
)

_NAMES = ("node1", "node2", "node3")
_UNITS = (
    *("containerd", "podwire-agent", "podwire-proxy", "podwire-cni"),
    *("podwire-apiserver", "podwire-scheduler", "podwire-controllers", "podwire-dns"),
)


def pod(node: str) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": "podwire/tools",
        "imagePullPolicy": "Never",
        "command": ["/bin/serve", "8080"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"web-{node}", "labels": {"app": "web"}},
        "spec": {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 1},
    }


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
}


_ECHO = 9000
# Sends a byte at a time and waits for its echo, until a line comes in; then prints how many.
_HOLD = f"""
import select, socket, sys
with socket.create_connection((sys.argv[1], {_ECHO}), 20) as made:
    print("held", flush=True)
    count = 0
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        made.sendall(b"x")
        assert made.recv(1) == b"x", "the connection was closed"
        count += 1
print(count)
"""


def echo(node: str) -> list[dict[str, Any]]:
    """A Pod that sends back what it gets, and its Service."""
    made = pod(node)
    made["metadata"] = {"name": "echo", "labels": {"app": "echo"}}
    command = ["nc", "-ll", "-p", str(_ECHO), "-e", "/bin/cat"]
    made["spec"]["containers"][0]["command"] = command
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "echo"},
        "spec": {"selector": {"app": "echo"}, "ports": [{"port": _ECHO}]},
    }
    return [made, service]


@dataclass
class Cluster:
    """The provisioned machines, and kubectl on their host."""

    site: Site
    kubeconfig: Path
    again: Callable[[], str]

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl where the host of the machines is."""
        argv = ["nsenter", f"--target={self.site.first}", "--net", "kubectl"]
        cache = self.kubeconfig.parent / "cache"
        where = [f"--kubeconfig={self.kubeconfig}", f"--cache-dir={cache}"]
        done = run(*argv, *where, *args, input=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, objects: list[dict[str, Any]]) -> None:
        """Apply objects."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "-f", "-", stdin=text)

    def get(self, *args: str) -> Any:
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def wait_ready(self) -> None:
        """Wait until every node and Pod is ready."""
        eventually(lambda: len(self.get("nodes")["items"]) == len(_NAMES))
        self.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=60s")
        self.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")

    def invocations(self) -> dict[str, str]:
        """Return an ID of each unit's present run."""
        show = ("systemctl", "show", "--value", "--property=InvocationID")
        return {
            f"{name} {unit}": machine.run(*show, unit).strip()
            for name, machine in self.site.machines.items()
            for unit in _UNITS
        }

    def restarts(self) -> dict[str, int]:
        """Return how often the container of each Pod was restarted."""
        return {
            each["metadata"]["name"]: each["status"]["containerStatuses"][0]["restartCount"]
            for each in self.get("pods")["items"]
        }

    def check_traffic(self) -> None:
        """Every Pod reaches every other, the Service by ClusterIP and by name; so do machines."""
        self.wait_ready()
        pods = {each["metadata"]["name"]: each for each in self.get("pods")["items"]}
        cluster_ip = self.get("service", "web")["spec"]["clusterIP"]
        name = "web.default.svc.cluster.local"
        addresses = {each: found["status"]["podIP"] for each, found in pods.items()}
        targets = [f"{ip}:8080" for ip in addresses.values()] + [cluster_ip, name, "web"]
        for each in pods:
            for target in targets:
                eventually(partial(self._answers, each, target), 20)
        answers = {self._fetch("web-node1", cluster_ip) for _ in range(30)}
        assert answers == set(pods), "the ClusterIP balances over the Pods of all nodes"
        for machine in self.site.machines.values():
            for ip in addresses.values():
                machine.run("timeout", "5", "busybox", "wget", "-q", "-O-", f"http://{ip}:8080")

    def _answers(self, pod: str, target: str) -> bool:
        return self._fetch(pod, target).startswith("web-")

    def _fetch(self, pod: str, target: str) -> str:
        return self.kubectl(
            "exec", pod, "--", "timeout", "5", "wget", "-q", "-O-", f"http://{target}"
        ).strip()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("machines")
    bundle = make_bundle(folder)
    shown = run("ruby", CHECKOUT / "vagrant/settings.rb")
    settings = shown.stdout.partition("---\n")[2]
    with site(ready_root()) as made:
        for number, name in enumerate(_NAMES, 1):
            made.add(name, number)
        for machine in made.machines.values():
            machine.wait()
        again = partial(provision, made, bundle, settings)
        again()
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(made.machines["node1"].run("cat", KUBECONFIG))
        one = Cluster(made, kubeconfig, again)
        one.apply([SERVICE, *map(pod, _NAMES)])
        yield one


@pytest.mark.timeout(1200)  # a machine that has no ready root yet makes one
def test_the_lab_provisions_machines(cluster: Cluster) -> None:
    cluster.check_traffic()
    nodes = cluster.get("nodes")["items"]
    found = {
        node["metadata"]["name"]: [
            each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP"
        ]
        for node in nodes
    }
    assert found == {f"node{n}": [f"192.168.56.{10 + n}"] for n in (1, 2, 3)}, "not 10.0.2.15"
    versions = {node["status"]["nodeInfo"]["containerRuntimeVersion"] for node in nodes}
    assert all(version.startswith("containerd://1.") for version in versions)


def test_a_second_provisioning_changes_nothing(cluster: Cluster) -> None:
    before = cluster.invocations()
    said = cluster.again()
    assert cluster.invocations() == before
    assert "installing" not in said, said
    cluster.check_traffic()


@pytest.fixture
def connection(cluster: Cluster) -> Iterator["subprocess.Popen[str]"]:
    """A connection from the second machine through a ClusterIP to a Pod of the third."""
    cluster.apply(echo("node3"))
    cluster.kubectl("wait", "pod", "echo", "--for=condition=Ready", "--timeout=60s")
    address = cluster.get("service", "echo")["spec"]["clusterIP"]
    machine = cluster.site.machines["node2"]
    probe = ("timeout", "5", "busybox", "nc", "-w", "1", address, str(_ECHO))
    eventually(lambda: machine.try_run(*probe, stdin="x").stdout == "x")
    pipe = subprocess.PIPE
    argv = machine.argv("python3", "-c", _HOLD, address)
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as held:
        try:
            assert held.stdout and held.stdout.readline() == "held\n"
            yield held
        finally:
            held.kill()
            cluster.kubectl("delete", "pod,service", "echo")


@pytest.mark.timeout(900)
def test_an_upgrade_loses_no_connection(
    cluster: Cluster, connection: "subprocess.Popen[str]"
) -> None:
    before, pods = cluster.invocations(), cluster.restarts()
    first, *workers = cluster.site.machines.values()
    first.run("podwire", "upgrade", timeout=300)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda machine: machine.run("podwire", "upgrade", timeout=300), workers))
    after = cluster.invocations()
    same = {each for each in before if after[each] == before[each]}
    assert {each for each in same if before[each]} == {f"{name} containerd" for name in _NAMES}
    said, err = connection.communicate("\n", timeout=60)
    assert connection.returncode == 0 and int(said) > 0, err
    cluster.wait_ready()
    assert cluster.restarts() == pods


def test_a_timer_renews_certificates(cluster: Cluster) -> None:
    first = cluster.site.machines["node1"]
    path = "/etc/podwire/pki/front-proxy-client.crt"
    first.run("rm", path)  # as one that ends soon: it is made anew
    before = cluster.invocations()
    assert "podwire-certs.service" in first.run("systemctl", "list-timers", "podwire-certs.timer")
    first.run("systemctl", "start", "podwire-certs.service")
    rows = json.loads(first.run("podwire", "certs", "check-expiration", "-o", "json"))
    assert path in {row["certificate"] for row in rows if row["residual"] == "364d"}
    after = cluster.invocations()
    changed = {each for each in before if after[each] != before[each]}
    parts = ("apiserver", "scheduler", "controllers", "dns")
    assert changed == {f"node1 podwire-{part}" for part in parts}


def test_machines_come_back_after_a_reboot(cluster: Cluster) -> None:
    before = {
        each["metadata"]["name"]: each["metadata"]["uid"] for each in cluster.get("pods")["items"]
    }
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda machine: machine.reboot(), cluster.site.machines.values()))
    eventually(partial(cluster.kubectl, "get", "--raw", "/readyz"), 60)
    cluster.check_traffic()
    after = {
        each["metadata"]["name"]: each["metadata"]["uid"] for each in cluster.get("pods")["items"]
    }
    assert after == before, "the same Pods, with new containers"


def test_provisioning_says_what_is_wrong(cluster: Cluster, tmp_path: Path) -> None:
    machine = cluster.site.machines["node3"]
    install = (SCRIPTS / "install.sh").read_text()

    def says(around: str = 'exec "$@"') -> str:
        argv = ("unshare", "--mount", "sh", "-ec", around, "-", "bash", "-s")
        done = machine.try_run(*argv, stdin=install)
        assert done.returncode == 1, done.stdout
        return done.stderr

    upload(machine, "podwire-bundle.tar", b"half of it")
    assert "podwire provision: node3: /var has" in says(
        'mount -t tmpfs -o size=8m tmpfs /var; exec "$@"'
    )
    assert "podwire-bundle.tar is cut: vagrant provision node3" in says()
    with tarfile.open(tmp_path / "bundle.tar", "w") as tar:
        for name, text in (("requirements.lock", ""), ("release", "trixie\n")):
            (tmp_path / name).write_text(text)
            tar.add(tmp_path / name, name)
    upload(machine, "podwire-bundle.tar", (tmp_path / "bundle.tar").read_bytes())
    assert "this box is bookworm, and the bundle is for trixie: correct box.release" in says()
