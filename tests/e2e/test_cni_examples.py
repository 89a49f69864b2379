"""examples/cni under real runtimes, each in a machine of the test's own."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.support.e2e.harness import CHECKOUT, need
from tests.support.e2e.runtimes.containerd import IMAGE, containerd
from tests.support.e2e.runtimes.images import write_image
from tests.support.e2e.runtimes.machine import Machine, machine
from tests.support.e2e.runtimes.podman import CONFIG

EXAMPLES = CHECKOUT / "examples" / "cni"


@pytest.fixture
def host() -> Iterator[Machine]:
    need("containerd", "runc", "podman", "nft")
    with machine() as made:
        made.run("mkdir", "-p", "/opt/cni/bin")
        yield made


def bridges(host: Machine) -> list[str]:
    found = json.loads(host.run("ip", "-j", "link", "show", "type", "bridge"))
    return [link["ifname"] for link in found]


def test_the_list_is_what_install_writes(host: Machine) -> None:
    ranges = ("--subnet", "10.77.0.0/16", "--subnet", "fd00:77::/64")
    host.run(CHECKOUT / "bin/podwire", "cni", "install", *ranges)
    written = json.loads(host.run("cat", "/etc/cni/net.d/10-podwire.conflist"))
    assert written == json.loads((EXAMPLES / "containerd.conflist").read_text())


def test_containerd_runs_the_example(host: Machine) -> None:
    with containerd(host):
        out = host.run(
            "env",
            f"CONTAINERD_ADDRESS={host.files}/containerd.sock",
            "CONTAINERD_NAMESPACE=k8s.io",
            EXAMPLES / "containerd.sh",
            IMAGE,
        )
    lines = out.splitlines()
    assert lines[0] == "/opt/cni/bin/podwire-cni"
    assert "inet 10.77.0.2/16" in lines
    assert "inet6 fd00:77::2/64" in lines
    assert "1 packets transmitted, 1 packets received, 0% packet loss" in lines
    assert lines[-2] == "hello"
    assert lines[-1].startswith("NETWORK "), "a container is still attached"
    assert bridges(host) == ["podwire0"]


def test_podman_runs_the_example(host: Machine) -> None:
    config, storage = host.files / "containers.conf", host.files / "storage.conf"
    config.write_text(CONFIG)
    storage.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{host.files}/podman"\n'
        'runroot = "/run/containers"\n'
    )
    environment = ("env", f"CONTAINERS_CONF={config}", f"CONTAINERS_STORAGE_CONF={storage}")
    write_image(host.files / "image.tar", IMAGE)
    host.run(*environment, "podman", "load", "--input", host.files / "image.tar")
    out = host.run(*environment, EXAMPLES / "podman.sh", IMAGE)
    assert "podwire-podman: podwire-cni" in out
    assert re.search(r"^podwire-podman .* eth0 +10\.78\.0\.10 .* yes$", out, re.MULTILINE)
    assert "tcp . 8089" in out
    assert "\nhello from podman\n" in out
    listed = json.loads(host.run(CHECKOUT / "bin/podwire", "cni", "list", "-o", "json"))
    assert listed == [], "the container is gone, and so is its address"
    assert bridges(host) == ["podwire1"]
