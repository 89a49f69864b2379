"""Three control planes on booted machines, by the Vagrant lab's provisioning: one is cut off."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.e2e.harness import CHECKOUT, eventually, run
from tests.support.machines.machines import Machine, Site, site
from tests.support.machines.provision import (
    KUBECONFIG,
    join_control_plane,
    make_bundle,
    provision,
    ready_root,
)

_LAB = "version: 1\nworkers: 0\ncontrolPlane: {machines: 3, store: etcd}\n"
_UNITS = ("etcd", "apiserver", "scheduler", "controllers", "dns", "balancer", "agent", "proxy")
# What installing has left, but for what the kernel has.
_FORGET = """
systemctl stop 'podwire-*'
rm -rf /etc/podwire /var/lib/podwire /var/lib/private/podwire /etc/systemd/system/podwire-*
systemctl daemon-reload
"""


@dataclass
class Planes:
    """The provisioned machines, and kubectl on their host by the API server of one of them."""

    site: Site
    folder: Path
    settings: str
    again: Callable[[], str]

    @property
    def machines(self) -> list[Machine]:
        return list(self.site.machines.values())

    def kubectl(self, machine: Machine, *words: str) -> str:
        kubeconfig = self.folder / f"{machine.name}.kubeconfig"
        kubeconfig.write_text(machine.run("cat", KUBECONFIG))
        argv = ["nsenter", f"--target={self.site.first}", "--net", "kubectl"]
        where = [f"--kubeconfig={kubeconfig}", f"--cache-dir={self.folder}/cache"]
        done = run(*argv, *where, "--request-timeout=10s", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ready(self, machine: Machine) -> set[str]:
        """Return the nodes that are ready."""
        nodes = json.loads(self.kubectl(machine, "get", "nodes", "-o", "json"))["items"]
        return {node["metadata"]["name"] for node in nodes if is_ready(node)}

    def servers(self, machine: Machine) -> set[str]:
        """Return the addresses of the API servers that serve."""
        found = json.loads(self.kubectl(machine, "get", "endpoints", "kubernetes", "-o", "json"))
        return {each["ip"] for subset in found["subsets"] for each in subset["addresses"]}

    def runs(self) -> dict[str, str]:
        """Return an ID of each unit's present run."""
        show = ("systemctl", "show", "--value", "--property=InvocationID")
        return {
            f"{machine.name} {unit}": machine.run(*show, f"podwire-{unit}").strip()
            for machine in self.machines
            for unit in _UNITS
        }


def is_ready(node: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planes]:
    folder = tmp_path_factory.mktemp("planes")
    (folder / "lab.yaml").write_text(_LAB)
    settings = run("ruby", CHECKOUT / "vagrant/settings.rb", folder / "lab.yaml").stdout
    settings = settings.partition("---\n")[2]
    bundle = make_bundle(folder)
    with site(ready_root()) as made:
        for number in (1, 2, 3):
            made.add(f"node{number}", number)
        for machine in made.machines.values():
            machine.wait()
            # The ready root has no etcd-server, which only this lab wants.
            shutil.copy("/usr/bin/etcd", machine.root() / "usr/bin/etcd")
        again = partial(provision, made, bundle, settings, 3)
        again()
        yield Planes(made, folder, settings, again)


@pytest.mark.timeout(1200)  # a machine that has no ready root yet makes one
def test_three_control_planes_are_nodes_too(planes: Planes) -> None:
    names, addresses = set(planes.site.machines), {m.address for m in planes.machines}
    for machine in planes.machines:
        eventually(lambda m=machine: planes.ready(m) == names)
        eventually(lambda m=machine: planes.servers(m) == addresses)
        for unit in _UNITS:
            assert machine.run("systemctl", "is-active", f"podwire-{unit}") == "active\n"


@pytest.mark.timeout(600)
def test_a_second_provisioning_restarts_nothing(planes: Planes) -> None:
    before = planes.runs()
    planes.again()
    assert planes.runs() == before


@pytest.mark.timeout(600)
def test_the_first_is_cut_off_and_comes_back_as_a_new_machine(planes: Planes) -> None:
    first, second, third = planes.machines
    first.cut()
    eventually(partial(planes.kubectl, second, "create", "namespace", "after"), 60)
    eventually(lambda: planes.servers(third) == {second.address, third.address}, 60)
    first.boot()
    first.wait()
    first.run("sh", "-c", _FORGET)  # as after `vagrant destroy`: its member of etcd is still known
    planes.kubectl(second, "delete", "node", first.name)
    join_control_plane(second, first, planes.settings, "first")
    addresses = {m.address for m in planes.machines}
    eventually(lambda: planes.servers(first) == addresses, 60)
    second.cut()  # so the first counts again
    eventually(partial(planes.kubectl, third, "create", "namespace", "in-the-end"), 60)
