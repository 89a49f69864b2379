"""Three control planes over three etcd members: one dies, and nobody notices for long."""

import os
import signal
import sqlite3
import tarfile
from collections import Counter
from contextlib import closing

import pytest

from tests.support.e2e.harness import WEB, Lab, eventually, identity, made_lab, podwire, run

ADDRESSES = {"control": "172.31.0.10", "control2": "172.31.0.2", "control3": "172.31.0.3"}


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    options = ("--control-planes", "3", "--store", "etcd", "--nodes", "2")
    with made_lab(f"p{os.getpid()}", tmp_path_factory.mktemp("kube"), options) as made:
        made.kubectl("apply", "-f", str(WEB))
        made.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        yield made


def leader(lab: Lab, part: str = "kube-controller-manager") -> str:
    """Return the machine whose controllers lead."""
    spec = lab.get("lease", "-n", "kube-system", part)["spec"]
    return spec["holderIdentity"].partition("_")[0]


def endpoints(lab: Lab, name: str, namespace: str) -> set[str]:
    """Return the addresses of the ready endpoints of a Service."""
    label = f"kubernetes.io/service-name={name}"
    slices = lab.get("endpointslices", "-n", namespace, "-l", label)["items"]
    ready = [e for one in slices for e in one["endpoints"] if e["conditions"]["ready"]]
    return {address for each in ready for address in each["addresses"]}


def pid_of(lab: Lab, machine: str) -> int:
    return next(m["pid"] for m in lab.status()["machines"] if m["name"] == machine)


def test_each_control_plane_has_its_member_and_one_leads(planes):
    parts = {"etcd", "apiserver", "scheduler", "controllers", "cloud", "dns", "dns-2"}
    for machine in planes.status()["machines"][:3]:
        assert machine["name"] in ADDRESSES
        assert {part["name"] for part in machine["components"] if part["pid"]} == parts
    for name, namespace in (("kubernetes", "default"), ("kube-dns", "kube-system")):
        eventually(lambda n=name, s=namespace: endpoints(planes, n, s) == {*ADDRESSES.values()})
    for part in ("kube-scheduler", "kube-controller-manager", "cloud-controller-manager"):
        assert leader(planes, part) in ADDRESSES


def test_etcd_is_asked_with_a_certificate_or_not_at_all(planes):
    url = "https://172.31.0.10:2379/health"
    bare = run(*planes.exec_argv("node1", "curl", "-sk", "--max-time", "5", url))
    assert bare.returncode != 0
    files = [f"/etc/podwire/{name}" for name in ("etcd-ca.crt", "etcd-client.crt")]
    own = ("--cacert", files[0], "--cert", files[1], "--key", "/etc/podwire/etcd-client.key")
    assert planes.exec("control2", "curl", "-s", *own, url) == '{"health":"true"}'


def test_the_machine_of_the_leader_dies_and_comes_back(planes):
    before, dead = identity(planes), leader(planes)
    names = {pod["metadata"]["name"] for pod in planes.pods()}
    service = planes.get("service", "web")["spec"]["clusterIP"]
    lost = ADDRESSES[dead]
    with planes.load("node1", service, 80, 0.02) as load:
        os.kill(pid_of(planes, dead), signal.SIGKILL)
        planes.kubectl("create", "configmap", "after", "--from-literal=a=b")
        planes.kubectl("scale", "deployment", "web", "--replicas=5")
        planes.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        rest = {*ADDRESSES.values()} - {lost}
        eventually(lambda: endpoints(planes, "kubernetes", "default") == rest)
        eventually(lambda: endpoints(planes, "kube-dns", "kube-system") == rest)
        assert leader(planes) != dead
        look_up = f"podwire lab resolve --name {planes.name} web".split()[1:]
        assert service in podwire(*look_up)
        podwire("lab", "start", "--name", planes.name, dead)
        eventually(lambda: endpoints(planes, "kubernetes", "default") == {*ADDRESSES.values()})
        eventually(lambda: endpoints(planes, "kube-dns", "kube-system") == {*ADDRESSES.values()})
    assert load["failures"] == [], load
    after = identity(planes)
    assert {uid: after.get(uid) for uid in before} == before  # none has been restarted
    assert names < {pod["metadata"]["name"] for pod in planes.pods()}
    assert planes.status()["state"] == "up"


def test_a_minority_can_be_switched_off(planes):
    away = next(name for name in ADDRESSES if name != leader(planes))
    podwire("lab", "node", "stop", "--name", planes.name, away)
    status = planes.status()
    assert status["state"] == "up"
    assert [m["name"] for m in status["machines"] if m["stopped"]] == [away]
    rest = [name for name in ADDRESSES if name != away]
    refused = run("bin/podwire", "lab", "node", "stop", "--name", planes.name, rest[0])
    assert refused.returncode != 0
    assert "no majority" in refused.stderr
    planes.kubectl("create", "configmap", "without", "--from-literal=a=b")
    podwire("lab", "node", "start", "--name", planes.name, away)
    assert not [m for m in planes.status()["machines"] if m["stopped"]]


def test_pods_reach_the_api_by_its_service(planes):
    answers: Counter[str] = Counter()
    for _ in range(6):  # a node's rules choose among the three
        argv = ("curl", "-sk", "--max-time", "5", "https://10.96.0.1/version")
        answers[planes.exec("node1", *argv)[:1]] += 1
    assert answers == {"{": 6}


def test_the_balancer_is_made_again(planes):
    found = run("pgrep", "-f", f"^podwire balancer {planes.name}$").stdout.split()
    assert len(found) == 1
    os.kill(int(found[0]), signal.SIGKILL)
    assert planes.kubectl("get", "configmap", "after", "-o", "name") == "configmap/after\n"


def test_a_running_lab_is_saved_as_it_is(planes, tmp_path):
    podwire("lab", "save", "--name", planes.name, str(tmp_path / "lab"))
    with tarfile.open(tmp_path / "lab") as tar:
        names = {name.partition("/var/")[2].partition("/")[0] for name in tar.getnames()}
        stream = tar.extractfile("lab/machines/control/var/store.db")
        assert stream is not None
        (tmp_path / "store.db").write_bytes(stream.read())
    assert "etcd" not in names
    with closing(sqlite3.connect(tmp_path / "store.db")) as db:
        keys = {key for (key,) in db.execute("SELECT key FROM log WHERE value IS NOT NULL")}
    assert "/registry/core/configmaps/default/after" in keys
