"""Several control planes on machines: they join, the first one dies, and writes succeed."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.control import stand_in
from tests.support.space import Space

pytestmark = pytest.mark.netns
PATIENCE = 90.0


@dataclass
class Machine:
    """A network namespace, and the folder that is its root."""

    name: str
    ip: str
    space: Space
    root: Path
    words: dict[str, list[str]] = field(default_factory=dict)

    def podwire(self, *words: str) -> Any:
        """Run one of the install commands here, and return its JSON."""
        done = self._run(*words, "-o", "json")
        assert done.returncode == 0, f"{words}: {done.stderr}\n{self.logs()}"
        return json.loads(done.stdout)

    def refused(self, *words: str) -> str:
        """Return what one of the install commands says as it fails."""
        done = self._run(*words, "--ignore-preflight-errors", "all")
        assert done.returncode == 1, done.stdout
        return done.stderr

    def _run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        argv = (sys.executable, "-P", stand_in.__file__, str(self.root), *words)
        return subprocess.run(
            self.space.argv(*argv), capture_output=True, text=True, check=False, timeout=300
        )

    def runs(self) -> dict[str, str]:
        """Return the process of each service."""
        found = sorted((self.root / "run/stand-in").glob("*.service"))
        return {path.name: path.read_text() for path in found}

    def join(self, words: list[str], *more: str) -> Any:
        """Run a printed command here."""
        assert words[0] == "podwire"
        own = ("--node-name", self.name, "--node-ip", self.ip)
        return self.podwire(*words[1:], *own, *more, "--ignore-preflight-errors", "all")

    def kubectl(self, *words: str, user: str = "admin", check: bool = True) -> str:
        where = f"--kubeconfig={self.root}/etc/podwire/{user}.kubeconfig"
        cache = f"--cache-dir={self.root}/cache"
        return self.space.run("kubectl", where, cache, "--request-timeout=10s", *words, check=check)

    def kill(self) -> None:
        """End all that runs here, as a power cut does."""
        self.space.ip("link", "set", "eth0", "down")
        for pid in self.space.run("ip", "netns", "pids", self.space.name).split():
            subprocess.run(["kill", "-KILL", pid], check=False)

    def logs(self) -> str:
        """Return the ends of the services' logs."""
        found = sorted((self.root / "run/stand-in").glob("*.log"))
        return "\n".join(f"--- {self.name} {one.name}\n{one.read_text()[-1500:]}" for one in found)

    def store(self) -> str:
        """Return the store, as podwire store takes it."""
        pki = self.root / "etc/podwire/pki"
        files = f"cacert={pki}/etcd-ca.crt&cert={pki}/etcd-client.crt&key={pki}/etcd-client.key"
        return f"etcd:https://127.0.0.1:2379?{files}"

    def etcd(self) -> dict[str, bool]:
        """Return the members of etcd by their names, and whether each has a vote."""
        return {m["name"]: m["votes"] for m in self.podwire("store", "members", self.store())}


def eventually(check: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a check holds, which may fail until then."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if check():
                return
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def machine(
    spaces: Callable[[str], Space], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int], Machine]:
    """Makes machines at one switch."""
    switch = spaces("switch")
    switch.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
    switch.ip("link", "set", "br0", "up")

    def make(name: str, number: int) -> Machine:
        space = spaces(name)
        space.veth("eth0", switch, f"to-{name}")
        switch.ip("link", "set", f"to-{name}", "master", "br0")
        ip = f"192.0.2.{number}"
        space.ip("address", "add", f"{ip}/24", "dev", "eth0")
        return Machine(name, ip, space, tmp_path_factory.mktemp(name))

    return make


@pytest.fixture(scope="module")
def planes(machine: Callable[[str, int], Machine]) -> Iterator[list[Machine]]:
    """Three control planes, the second and third of which have joined."""
    first, *others = made = [machine(f"m{number}", number) for number in (1, 2, 3)]
    own = ("--node-name", first.name, "--node-ip", first.ip, "--ignore-preflight-errors", "all")
    said = first.podwire("install", "control-plane", "--store", "etcd", "--upload-certs", *own)
    command = said["controlPlaneJoinCommand"].split()
    for other in others:
        other.join(command)
    first.words = {"plane": command, "node": said["joinCommand"].split()}
    yield made


def servers(machine: Machine) -> set[str]:
    """Return the addresses of the Service kubernetes."""
    found = json.loads(machine.kubectl("get", "endpoints", "kubernetes", "-o", "json"))
    return {each["ip"] for subset in found["subsets"] for each in subset["addresses"]}


def answering(machine: Machine) -> set[str]:
    """Return the addresses of the cluster DNS that are marked as ready."""
    label = "kubernetes.io/service-name=kube-dns"
    argv = ("get", "endpointslices", "-n", "kube-system", "-l", label, "-o", "json")
    slices = json.loads(machine.kubectl(*argv))["items"]
    ready = [each for one in slices for each in one["endpoints"] if each["conditions"]["ready"]]
    return {address for each in ready for address in each["addresses"]}


def write(machine: Machine, name: str) -> None:
    """Write an object, and wait until the controllers have done their part with it."""

    def made() -> str:
        machine.kubectl("create", "namespace", name, check=False)  # a try before may have done it
        return machine.kubectl("get", "namespace", name, "-o", "name")

    eventually(made)
    account = ("get", "serviceaccount", "default", "-n", name, "-o", "name")
    eventually(lambda: machine.kubectl(*account))


@pytest.mark.timeout(600)
def test_the_first_of_three_control_planes_dies(
    planes: list[Machine], machine: Callable[[str, int], Machine]
) -> None:
    first, second, third = planes
    eventually(lambda: first.etcd() == {"m1": True, "m2": True, "m3": True})
    eventually(lambda: servers(third) == {each.ip for each in planes})
    eventually(lambda: answering(third) == {each.ip for each in planes})
    node = machine("m4", 4)
    node.join(first.words["node"])
    write(first, "before")
    first.kill()
    write(second, "after")
    assert "after" in third.kubectl("get", "namespace", "after", "-o", "name")
    eventually(lambda: node.kubectl("get", "--raw", "/version", user="agent"))
    eventually(lambda: answering(third) == {second.ip, third.ip})
    late = machine("m5", 5)  # by another server than the one in cluster-info
    late.join([word.replace(first.ip, third.ip) for word in first.words["node"]])
    assert late.kubectl("get", "--raw", "/version", user="agent")


@pytest.mark.timeout(600)
def test_a_control_plane_leaves_and_another_takes_its_place(
    planes: list[Machine], machine: Callable[[str, int], Machine]
) -> None:
    first, second, third = planes
    eventually(lambda: second.podwire("store", "remove-member", second.store(), first.name))
    eventually(lambda: second.etcd() == {"m2": True, "m3": True})
    words = second.podwire("certs", "upload")["controlPlaneJoinCommand"].split()
    new = machine("m6", 6)
    new.join(words)
    assert "the member of etcd" in third.podwire("reset", "--force")["removed"]
    eventually(lambda: new.etcd() == {"m2": True, "m6": True})
    eventually(lambda: servers(new) == {second.ip, new.ip})
    eventually(lambda: answering(new) == {second.ip, new.ip})
    assert not (third.root / "etc/podwire").exists()
    first.words["again"] = [word.replace(second.ip, new.ip) for word in words]
    third.join(words)  # as a machine that has never been one
    eventually(lambda: new.etcd() == {"m2": True, "m3": True, "m6": True})
    second.kill()
    write(third, "in-the-end")


def test_a_second_run_changes_nothing(planes: list[Machine]) -> None:
    third = planes[2]
    before = third.runs()
    third.join(planes[0].words["again"])
    assert third.runs() == before and before


def test_a_wrong_certificate_key_is_told(
    planes: list[Machine], machine: Callable[[str, int], Machine]
) -> None:
    words = [*planes[0].words["again"]]
    words[words.index("--certificate-key") + 1] = "0" * 64
    bad = machine("m7", 7)
    said = bad.refused(*words[1:], "--node-name", "m7", "--node-ip", bad.ip)
    assert "is not the one of Secret kube-system/kubeadm-certs" in said
    assert not (bad.root / "etc/podwire").exists()
