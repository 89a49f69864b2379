# ruff: noqa: ASYNC221  fixtures start processes
"""A node whose agent is a process, with a real API server, CNI plugin and containers."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from control.linux import files, syscalls
from control.runtime.images import tools
from control.runtime.images.store import ImageStore
from tests.support.control.agent_process import NOTHING, Node, has_cidr
from tests.support.control.cluster import client_of, until
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


@pytest.fixture
async def node(tmp_path, images, api_server, spaces, cgroup) -> AsyncIterator[Node]:
    syscalls.mount("log", "/var/log", "tmpfs", 0)  # visible only to these tests
    async with client_of(api_server.url) as client:
        node = Node(tmp_path, images, api_server.url, client, cgroup)
        node.start()
        try:
            await until(lambda: has_cidr(client), "a Node")
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
