"""kill -9 after each operation of ADD and of DEL: the next DEL, or GC, removes everything."""

import functools
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_plugin.__main__ import main
from cni_plugin.firewall import iptables_tool, libnftables
from cni_plugin.linux import shaping
from cni_plugin.linux.namespace import Namespace, entered
from cni_plugin.linux.netlink import Socket
from tests.support.cni.runner import Node, Pod
from tests.support.cni.site import on_path, traces
from tests.support.space import Space

# all that changes the kernel or a file
OPERATIONS = [
    (iptables_tool, "run"),
    (Socket, "change"),
    (Namespace, "write_sysctl"),
    (libnftables, "run"),
    (shaping, "limit_rate"),
    (shaping, "redirect_ingress"),
    (Path, "rename"),
    (Path, "symlink_to"),
    (Path, "unlink"),
    (Path, "mkdir"),
    (os, "open"),
    (os, "write"),
    (os, "rename"),
    (os, "symlink"),
    (os, "unlink"),
]

# each packet filter, and each that heals; not all pairs, for each takes a hundred Pods
CASES = pytest.mark.parametrize(
    ("conf", "healer"),
    [("nftables", "DEL"), ("nftables", "GC"), ("iptables-nft", "DEL"), ("iptables-legacy", "GC")],
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


def execute(
    node: Node, pod: Pod, verb: str, conf: dict[str, Any], die_after: int | None = None
) -> int | None:
    """Run the plugin in a child process. Returns its exit code, or None if it was killed."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = _in_child(node, pod, verb, conf, die_after)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    return os.WEXITSTATUS(status)


def _each_table(function: Callable[..., str]) -> Callable[..., str]:
    """Commit one table after the other: iptables may be killed between two."""

    def commit(argv: list[str], text: str, lock: int) -> str:
        *parts, rest = text.split("COMMIT\n")
        return "".join(function(argv, f"{part}COMMIT\n", lock) for part in parts) or function(
            argv, rest, lock
        )

    return commit


def _in_child(node: Node, pod: Pod, verb: str, conf: dict[str, Any], die_after: int | None) -> int:
    if die_after is not None:
        countdown = iter(range(die_after, -1, -1))
        for place, name in OPERATIONS:
            setattr(place, name, _deadly(getattr(place, name), countdown))
        iptables_tool.run = _each_table(iptables_tool.run)
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod.container_id,
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": str(pod.space.path),
        "CNI_PATH": "/nowhere",
    }
    out = io.BytesIO()
    home = os.open(node.space.path, os.O_RDONLY)
    with entered(home):
        code = main(environment, io.BytesIO(json.dumps(conf).encode()), out)
    if code:
        os.write(2, out.getvalue())
    return code


def _deadly(function: Callable[..., Any], countdown: Iterator[int]) -> Callable[..., Any]:
    @functools.wraps(function)
    def then_die(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            if next(countdown) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return then_die


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
    node: Node, pod: Pod, conf: dict[str, Any], healer: str
) -> None:
    position = 0
    while execute(node, pod, "ADD", conf, position) is None:
        heal(node, pod, conf, healer)
        assert_nothing_left(node, pod)
        position += 1
    assert position > 40, "most operations were not seen"
    heal(node, pod, conf, healer)
    assert_nothing_left(node, pod)


@CASES
def test_a_killed_del_is_cleaned_up(
    node: Node, pod: Pod, conf: dict[str, Any], healer: str
) -> None:
    position, killed = 0, True
    while killed:
        assert execute(node, pod, "ADD", conf) == 0
        killed = execute(node, pod, "DEL", conf, position) is None
        heal(node, pod, conf, healer)
        assert_nothing_left(node, pod)
        position += 1
    assert position > 8, "most operations were not seen"


def heal(node: Node, pod: Pod, conf: dict[str, Any], healer: str) -> None:
    document = conf if healer == "DEL" else conf | {"cni.dev/valid-attachments": []}
    assert execute(node, pod, healer, document) == 0
