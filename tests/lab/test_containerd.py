"""Labs whose nodes run containerd: what runs on their machines, and what this machine needs."""

import tomllib

import pytest

from lab import components, containerd, needs
from lab.parts import machines
from lab.spec import make_spec
from lab.state import LabDir


def parts(runtime):
    return {part.name: part for part in machines(make_spec("a", runtime=runtime))[1].components}


def test_a_node_has_containerd_and_an_agent_that_uses_it():
    assert not {"containerd", "images"} & parts("builtin").keys()
    found = parts("containerd")
    assert found["containerd"].is_program and not found["images"].is_program
    endpoint = "--container-runtime-endpoint=unix:///run/containerd/containerd.sock"
    assert endpoint in found["agent"].argv
    assert not [word for word in found["agent"].argv if "image-dir" in word]


def test_the_control_machine_has_no_containerd():
    control, node = machines(make_spec("a", nodes=1, runtime="containerd"))
    assert (control.has_containerd, node.has_containerd) == (False, True)


def test_a_component_that_is_a_program_is_one_when_it_is_read_again(tmp_path, monkeypatch):
    lab = LabDir(tmp_path)
    node = machines(make_spec("a", runtime="containerd"))[1]
    (lab.machine("node1") / "etc").mkdir(parents=True)
    components.save_components(lab, node)
    monkeypatch.setattr(components, "CONFIG", lab.machine("node1") / "etc")
    assert tuple(components.load_components()) == node.components


def test_the_settings_ask_nobody_but_the_node_for_images(tmp_path):
    (tmp_path / "var/lib/containerd").mkdir(parents=True)
    containerd.configure(tmp_path)
    settings = tomllib.loads((tmp_path / "etc/podwire/containerd.toml").read_text())
    cri = settings["plugins"]["io.containerd.grpc.v1.cri"]
    folder = tmp_path / cri["registry"]["config_path"][1:]
    hosts = tomllib.loads((folder / "_default/hosts.toml").read_text())
    assert hosts["server"] == "http://127.0.0.1:10246"
    assert list(hosts["host"]) == [hosts["server"]]


def test_a_machine_without_containerd_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(needs, "_PATH", str(tmp_path))
    with pytest.raises(needs.MissingPackagesError) as told:
        containerd.require()
    assert "containerd runc; install them with: sudo apt-get install containerd runc" in str(
        told.value
    )
