# ruff: noqa: ASYNC221  fixtures start processes
"""A node whose agent is a process, with a real API server, CNI plugin and containers."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from control.linux import files, syscalls
from control.runtime.images import tools
from control.runtime.images.store import ImageStore
from tests.support.control.agent_process import BIN, NOTHING, Node, has_cidr
from tests.support.control.cluster import client_of, until
from tests.support.control.containerd import Containerd, archives, one_address, running
from tests.support.groups import owned


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    tools.make(ImageStore(folder), Path("/bin/busybox"))
    return folder


@pytest.fixture
def cgroup() -> Iterator[str]:
    with owned("agent") as root:
        yield root


@pytest.fixture(scope="module")
def containerd(tmp_path_factory) -> Iterator[Containerd]:
    """A containerd that executes the real CNI plugin, by the file that the agent writes."""
    root = tmp_path_factory.mktemp("containerd")
    conf_dir, bin_dir = one_address(root, "10.1.2.3")
    (conf_dir / "10-test.conflist").unlink()
    (bin_dir / "loopback").unlink()
    for name in ("podwire-cni", "loopback"):
        (bin_dir / name).symlink_to(BIN / "podwire-cni")
    with running(Containerd(root, conf_dir, bin_dir), *archives(root)) as made:
        yield made


@pytest.fixture(params=["built-in", "containerd"])
def runtime_flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The agent's flags for each runtime in turn."""
    if request.param == "built-in":
        return ()
    return request.getfixturevalue("containerd").flags


@pytest.fixture
def flags() -> tuple[str, ...]:
    """Flags of the agent besides those that each has."""
    return ()


@pytest.fixture
async def new_node(tmp_path, images, api_server, spaces, cgroup, flags) -> AsyncIterator[Node]:
    """A node that has no range for its Pods yet."""
    syscalls.mount("log", "/var/log", "tmpfs", 0)  # visible only to these tests
    async with client_of(api_server.url) as client:
        node = Node(tmp_path, images, api_server.url, client, cgroup, *flags)
        node.start()
        try:
            yield node
        finally:
            node.kill()
            done = subprocess.run(node.command("--cleanup"), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert node.remains() == NOTHING
            assert (
                "podwire0"
                not in subprocess.run(["ip", "link"], capture_output=True).stdout.decode()
            )
            files.unmount(Path("/var/log"))


@pytest.fixture
async def node(new_node) -> Node:
    await until(lambda: has_cidr(new_node.client), "a Node")
    await until(new_node.is_ready, f"a network\n{new_node.log()}")
    return new_node
