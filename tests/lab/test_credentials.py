"""Certificates and kubeconfigs of a lab's machines."""

import re
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from control.client.kubeconfig import load
from lab import parts
from lab.credentials import complete_credentials, write_credentials, write_hollow_credentials
from lab.spec import CONFIG, make_spec
from lab.state import LabDir


@pytest.fixture
def lab(tmp_path: Path) -> LabDir:
    made = LabDir(tmp_path / "a")
    spec = make_spec("a", hollow=2)
    made.create(spec)
    write_credentials(made, spec, parts.machines(spec), "https://127.0.0.1:1")
    return made


def asked_for(lab: LabDir) -> set[Path]:
    """The files of a machine's configuration that its parts are started with."""
    return {
        lab.machine(machine.name) / "etc" / name
        for machine in parts.machines(make_spec("a"))
        for component in machine.components
        for word in component.argv
        for name in re.findall(rf"{CONFIG}/([^,]+)", word)
    }


def test_each_file_that_a_part_is_started_with_is_there(lab: LabDir) -> None:
    assert [path for path in asked_for(lab) if not path.exists()] == []


def test_all_control_planes_believe_what_one_signs_and_etcd_only_its_own(tmp_path: Path) -> None:
    spec = make_spec("a", store="etcd", control_planes=3)
    made = LabDir(tmp_path / "a")
    made.create(spec)
    hosts = parts.machines(spec)
    write_credentials(made, spec, hosts, "https://127.0.0.1:1")
    etc = [made.machine(name) / "etc" for name in spec.controls]
    for shared in ("sa.key", "front-proxy-ca.crt", "ca.crt", "ca.key", "etcd-ca.crt"):
        assert len({(folder / shared).read_bytes() for folder in etc}) == 1
    assert (etc[0] / "etcd-ca.crt").read_bytes() != (etc[0] / "ca.crt").read_bytes()
    assert len({(folder / "etcd.key").read_bytes() for folder in etc}) == 3
    wanted = {
        made.machine(machine.name) / "etc" / name
        for machine in hosts
        for component in machine.components
        for word in component.argv
        for name in re.findall(rf"{CONFIG}/([^,&]+)", word)
    }
    assert [path for path in wanted if not path.exists()] == []
    server = yaml.safe_load((etc[1] / "scheduler.kubeconfig").read_text())["clusters"][0]
    assert server["cluster"]["server"] == "https://172.31.0.2:6443"


def test_an_older_lab_gets_what_it_lacks_and_keeps_what_it_has(lab: LabDir) -> None:
    control, node = (lab.machine(name) / "etc" for name in ("control", "node1"))
    new = [control / "dns.kubeconfig", node / "speaker.kubeconfig", *control.glob("front-proxy*")]
    assert len(new) == 5
    for path in new:
        path.unlink()
    kept = {path: path.read_bytes() for path in asked_for(lab) - {*new}}
    complete_credentials(lab, make_spec("a"), parts.machines(make_spec("a")))
    assert [path for path in new if not path.exists()] == []
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_hollow_node_has_the_credentials_of_a_node(lab: LabDir) -> None:
    folder = lab.machine("control") / "etc" / "hollow"
    assert {path.name for path in folder.iterdir()} == {
        "hollow-1.kubeconfig",
        "hollow-2.kubeconfig",
    }
    config = load(folder / "hollow-2.kubeconfig")
    shown = x509.load_pem_x509_certificate(config.credentials.certificate or b"")
    assert shown.subject.rfc4514_string() == "CN=system:node:hollow-2,O=system:nodes"


def test_hollow_nodes_that_come_later_get_theirs_and_the_others_keep_them(lab: LabDir) -> None:
    folder = lab.machine("control") / "etc" / "hollow"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_hollow_credentials(lab, make_spec("a", hollow=3))
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.keys() - before.keys() == {"hollow-3.kubeconfig"}
    assert before.items() <= after.items()
