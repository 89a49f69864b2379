"""kill -9 after each operation of ADD and of DEL: the next DEL, or GC, removes everything."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.cni.kill import execute, heal
from tests.support.cni.runner import Node, Pod
from tests.support.cni.site import on_path, traces
from tests.support.space import Space

# Each packet filter, and each that heals; not all pairs, for each takes a hundred Pods. They differ
# from the first in a few operations in a row: every third is killed, or all of a long run.
OTHERS = 1 if os.environ.get("PODWIRE_EVERY_OPERATION") else 3
CASES = pytest.mark.parametrize(
    ("conf", "healer", "stride"),
    [
        ("nftables", "DEL", 1),
        ("nftables", "GC", OTHERS),
        ("iptables-nft", "DEL", OTHERS),
        ("iptables-legacy", "GC", OTHERS),
    ],
    indirect=["conf"],
    scope="module",
)


@pytest.fixture(scope="module")
def node(spaces: Callable[[str], Space], tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node(spaces("node"), tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="module")
def pod(spaces: Callable[[str], Space]) -> Pod:
    return Pod("c1", spaces("pod"))


@pytest.fixture(scope="module")
def conf(
    request: pytest.FixtureRequest, node: Node, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """A configuration with all kinds of objects, for each packet filter."""
    ports = [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 5353, "containerPort": 53, "protocol": "udp"},
    ]
    rates = {
        "ingressRate": 8_000_000,
        "ingressBurst": 800_000,
        "egressRate": 8_000_000,
        "egressBurst": 800_000,
    }
    runtime = {"portMappings": ports} | (
        {"bandwidth": rates} if request.param == "nftables" else {}
    )
    with on_path(request.param, tmp_path_factory.mktemp("bin")) as backend:
        yield node.conf(
            ipMasq=True,
            ipMasqBackend=backend,
            backend=backend,
            ingressPolicy="same-bridge",
            ipam=node.ipam("10.1.0.0/24", "fd00:1::/64"),
            runtimeConfig=runtime,
        )


def assert_nothing_left(node: Node, pod: Pod) -> None:
    assert set(node.links()) <= {"pw0"}
    assert "eth0" not in pod.space.ip("link")
    assert node.reservations() == {}
    index = node.data / ".podwire" / "net"
    assert {path.name for path in index.iterdir()} <= {".stamp", ".new"} if index.exists() else True
    assert traces(node.space) == ""
    assert "10.1.0." not in node.space.ip("neigh")


@CASES
def test_a_killed_add_is_cleaned_up(
    node: Node, pod: Pod, conf: dict[str, Any], healer: str, stride: int
) -> None:
    position = 0
    while execute(node, pod, "ADD", conf, position) is None:
        heal(node, pod, conf, healer)
        assert_nothing_left(node, pod)
        position += stride
    assert position > 40, "most operations were not seen"
    heal(node, pod, conf, healer)
    assert_nothing_left(node, pod)


@CASES
def test_a_killed_del_is_cleaned_up(
    node: Node, pod: Pod, conf: dict[str, Any], healer: str, stride: int
) -> None:
    position, killed = 0, True
    while killed:
        assert execute(node, pod, "ADD", conf) == 0
        killed = execute(node, pod, "DEL", conf, position) is None
        heal(node, pod, conf, healer)
        assert_nothing_left(node, pod)
        position += stride
    assert position > 8, "most operations were not seen"
