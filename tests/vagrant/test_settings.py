"""vagrant/lab.yaml: what is refused, by name, and what podwire gets of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from control.install.settings import ControlPlaneSettings
from lab.file.model import LabFile
from tests.support.e2e.harness import CHECKOUT, run

FOLDER = CHECKOUT / "vagrant"


def check(tmp_path: Path, values: Any) -> tuple[int, str, str]:
    path = tmp_path / "lab.yaml"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    done = run("ruby", "-w", FOLDER / "settings.rb", path)
    return done.returncode, done.stdout, done.stderr.replace(f"Error: {path}", "FILE").strip()


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({}, "FILE: version: write 1"),
        ({"etcd": {"members": 3}}, "FILE: etcd: there is no such field: write `controlPlane: "),
        ({"etcdMembers": 3}, "FILE: etcdMembers: there is no such field: write `controlPlane: "),
        ({"controlPlane": {"machines": 2}}, "FILE: controlPlane.machines: 2 is not one of 1, 3, 5"),
        ({"controlPlane": {"machines": 3}}, "FILE: controlPlane.machines: 3 control planes share"),
        ({"controlPlane": {"store": "x"}}, 'FILE: controlPlane.store: "x" is not one of sqlite, '),
        ({"wokers": 3}, "FILE: wokers: there is no such field"),
        ({"workers": "2"}, 'FILE: workers: "2" is not a whole number from 0 to 50'),
        ({"workers": 51}, "FILE: workers: 51 is not"),
        ({"memory": 512}, "FILE: memory: 512 is not a whole number from 1024"),
        ({"provider": "docker"}, 'FILE: provider: "docker" is not one of virtualbox, libvirt'),
        ({"emulated": "yes"}, 'FILE: emulated: "yes" is not true or false'),
        ({"emulated": True}, "FILE: emulated: only with `provider: libvirt`"),
        ({"proxy": {"mode": "ipvs"}}, 'FILE: proxy.mode: "ipvs" is not one of iptables'),
        ({"network": {"overlay": "gre"}}, 'FILE: network.overlay: "gre" is not one of routes'),
        ({"network": {"ipFamily": "dual"}}, 'FILE: network.ipFamily: "dual" is not one of ipv4'),
        ({"network": {"podCIDRs": ["10.0.0.1/8"]}}, 'network.podCIDRs: "10.0.0.1/8" is not a net'),
        ({"network": {"podCIDRs": ["fd00::/56"]}}, 'network.podCIDRs: "fd00::/56" is not a netw'),
        ({"network": {"podCIDRs": ["10.96.0.0/16"]}}, "overlap: choose another range"),
        ({"network": {"podCIDRs": ["192.168.0.0/16"]}}, "overlap: choose another range"),
        ({"addresses": "10.9.0.0/24"}, "FILE: addresses: VirtualBox allows only ranges in 192.168"),
        ({"addresses": "192.168.56.0/28"}, "has no room for 3 machines"),
        ({"addresses": "192.168.56/24"}, "FILE: addresses: "),
        ({"box": {"name": "me/mine"}}, "FILE: box.release: name the Debian or Ubuntu release"),
        ({"box": {"architecture": "riscv64"}}, 'FILE: box.architecture: "riscv64" is not one of'),
        ({"versions": {"podwire": "none.whl"}}, "FILE: versions.podwire: there is no file"),
        ({"proxy": []}, "FILE: proxy: want a mapping"),
        ("version: 1\nworkers: *other\n", "FILE: is not plain YAML: Unknown alias: other"),
        ("version: 1\nbox: !ruby/object:Object {}\n", "FILE: is not plain YAML: "),
        ("- version: 1\n", "FILE: want a mapping"),
        ("#" * 70_000, "FILE: a file of settings has at most 65536 bytes"),
    ],
)
def test_what_is_refused(tmp_path: Path, values: Any, error: str) -> None:
    if isinstance(values, dict) and values:
        values = {"version": 1, **values}
    code, out, err = check(tmp_path, values)
    assert (code, out) == (1, "")
    assert error in err and "\n" not in err


def test_one_more_worker_is_one_line(tmp_path: Path) -> None:
    text = (FOLDER / "lab.yaml").read_text()
    assert text.count("workers: 2") == 1
    two = check(tmp_path, text)[1].partition("---")[0].splitlines()
    three = check(tmp_path, text.replace("workers: 2", "workers: 3"))[1].partition("---")[0]
    assert [line.split()[:2] for line in two] == [
        [f"node{number}", f"192.168.56.{10 + number}"] for number in (1, 2, 3)
    ]
    assert three.splitlines()[:3] == two, "those that are there keep their addresses"
    assert three.splitlines()[3].startswith("node4 192.168.56.14 ")
    assert len({line.split()[2] for line in three.splitlines()}) == 4, "no two have one MAC"


def test_three_control_planes_come_before_the_workers(tmp_path: Path) -> None:
    planes = {"controlPlane": {"machines": 3, "store": "etcd"}}
    values = {"version": 1, "workers": 1, **planes}
    said = check(tmp_path, values)[1]
    assert [line.split()[0] for line in said.partition("---")[0].splitlines()] == [
        *("node1", "node2", "node3", "node4")
    ]
    LabFile.model_validate({"version": 1, **planes})  # the fields of a lab's file
    script = (
        f"require '{FOLDER}/settings'; lab = PodwireLab::Settings.load('{tmp_path}/lab.yaml'); "
        "print lab.control_planes.map(&:name).join(' ')"
    )
    assert run("ruby", "-e", script).stdout == "node1 node2 node3"
    settings = yaml.safe_load(said.partition("---\n")[2])
    own = {"node": {"name": "node1", "ips": ["192.168.56.11"]}}
    assert ControlPlaneSettings.model_validate(settings | own).has_etcd


def test_other_providers_may_have_other_ranges(tmp_path: Path) -> None:
    values = {"version": 1, "provider": "libvirt", "addresses": "172.20.5.0/24", "workers": 0}
    assert check(tmp_path, values)[1].startswith("node1 172.20.5.11 ")


def test_podwire_gets_the_part_that_it_knows(tmp_path: Path) -> None:
    """What the two settings files share has the same names: a lab's file takes it whole."""
    values = {
        "version": 1,
        "network": {"podCIDRs": ["10.7.0.0/16"], "overlay": "vxlan"},
        "proxy": {"mode": "ebpf"},
        "dns": {"upstreams": ["192.168.56.1"]},
    }
    shown = yaml.safe_load(check(tmp_path, values)[1].partition("---\n")[2])
    assert LabFile.model_validate(shown).network.overlay == "vxlan"
    assert shown == {
        "version": 1,
        "network": {
            "podCIDRs": ["10.7.0.0/16"],
            "serviceCIDRs": ["10.96.0.0/16"],
            "overlay": "vxlan",
        },
        "proxy": {"mode": "ebpf"},
        "dns": {"upstreams": ["192.168.56.1"], "stubDomains": []},
    }


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ("total: 16000, available: 9000, machines: 3, running: 0, each: 2048", ""),
        ("total: 6000, available: 5000, machines: 3, running: 0, each: 2048", "this host has 6000"),
        ("total: 16000, available: 5000, machines: 3, running: 0, each: 2048", "5000 MiB are free"),
        ("total: 16000, available: 5000, machines: 3, running: 1, each: 2048", ""),
        ("total: 16000, available: 100, machines: 3, running: 3, each: 2048", ""),
        ("total: nil, available: nil, machines: 3, running: 0, each: 2048", ""),
    ],
)
def test_memory_is_checked_before(values: str, word: str) -> None:
    script = f"require '{FOLDER}/settings'; print PodwireLab::Memory.refusal({values})"
    said = run("ruby", "-e", script).stdout
    assert word in said if word else said == ""


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ("driver: 'kvm', uri: nil, device: '/none'", "write `emulated: true` into lab.yaml"),
        ("driver: 'kvm', uri: 'qemu:///system', device: '/none'", "libvirt wants /none, which is"),
        ("driver: 'kvm', uri: nil, device: '/dev/null'", ""),
        ("driver: 'qemu', uri: nil, device: '/none'", ""),
        ("driver: 'kvm', uri: 'qemu+ssh://far/system', device: '/none'", ""),
    ],
)
def test_virtualization_is_checked_before(values: str, word: str) -> None:
    script = f"require '{FOLDER}/settings'; print PodwireLab::Virtualization.refusal({values})"
    said = run("ruby", "-e", script).stdout
    assert word in said if word else said == ""
