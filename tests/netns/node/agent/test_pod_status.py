# ruff: noqa: ASYNC221  fixtures start processes
"""What the agent says of small Pods, field by field, on both runtimes.

``expected.yaml`` is what kubelet 1.36.2 wrote for the same Pods on containerd 1.6.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control.api import kinds
from control.api.pod import Pod
from control.linux import files, syscalls
from tests.support.control.agent_process import NOTHING, Node
from tests.support.control.cluster import client_of, until
from tests.support.control.pod_table.cases import Case, cases, expected, objects, written_down
from tests.support.control.pod_table.compare import differences

RANGES = ["10.244.1.0/24", "fd44::/64"]
HOST = ("192.0.2.1", "2001:db8::1")
SECONDS = 60
AT_ONCE = 10  # Pods: more would have to wait for the processor, and some have deadlines


@pytest.fixture
def flags(runtime_flags) -> tuple[str, ...]:
    return (f"--node-ip={','.join(HOST)}", *runtime_flags)


@pytest.fixture
async def node(tmp_path, images, api_server, spaces, cgroup, flags) -> AsyncIterator[Node]:
    syscalls.mount("log", "/var/log", "tmpfs", 0)  # visible only to these tests
    for address in (f"{HOST[0]}/32", f"{HOST[1]}/128"):
        subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
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
            files.unmount(Path("/var/log"))
            for address in (f"{HOST[0]}/32", f"{HOST[1]}/128"):
                subprocess.run(["ip", "address", "del", address, "dev", "lo"], check=True)


async def test_statuses_are_those_of_a_kubelet(node):
    for wire in objects():
        kind = {"ConfigMap": kinds.CONFIG_MAP, "Secret": kinds.SECRET}[wire["kind"]]
        wire["metadata"]["namespace"] = "default"
        await node.client.create(kind, kind.model.parse(wire))
    await until(lambda: is_ready(node), f"a ready node\n{node.log()}")
    table, wanted = cases(), expected()
    assert [case.name for case in table] == [*wanted]
    turns = asyncio.Semaphore(AT_ONCE)
    wrong = await asyncio.gather(*(play(node, turns, it, wanted[it.name]) for it in table))
    assert not any(wrong), "\n".join(line for lines in wrong for line in lines)


async def is_ready(node: Node) -> bool:
    """Give the node its ranges, in the controllers' place, and wait for its network."""
    nodes = {it.metadata.name: it for it in (await node.client.list(kinds.NODE)).items}
    if "n1" not in nodes:
        return False
    spec = {"podCIDR": RANGES[0], "podCIDRs": RANGES}
    await node.client.patch(kinds.NODE, None, "n1", {"spec": spec})
    ready = [it.status for it in nodes["n1"].status.conditions if it.type == "Ready"]
    return ready == ["True"]


async def play(
    node: Node, turns: asyncio.Semaphore, case: Case, wants: list[dict[str, Any]]
) -> list[str]:
    """Take a Pod through its steps; return what differs at the first that never came true."""
    async with turns:
        await node.client.create(kinds.POD, Pod.parse(case.pod))
        for number, (step, want) in enumerate(zip((None, *case.steps), wants, strict=True)):
            if step is not None:
                await do(node, case.name, step)
            if wrong := await becomes(node, case.name, want):
                return [f"{case.name}, step {number}:", *wrong]
    return []


async def do(node: Node, name: str, step: dict[str, Any]) -> None:
    """Do what a step says."""
    if "delete" in step:
        await node.delete(name)
        return
    sub = {"subresource": step["subresource"]} if "subresource" in step else {}
    await node.client.patch(kinds.POD, "default", name, step["patch"], type="strategic", **sub)


async def becomes(node: Node, name: str, want: dict[str, Any]) -> list[str]:
    """Wait until a Pod's status is the wanted one; return what differs at the end, if it is not."""
    wrong = ["it was never looked at"]
    try:
        async with asyncio.timeout(SECONDS):
            while wrong:
                pod = await node.get(name)
                assert pod is not None, f"{name} is gone"
                wrong = differences(want, written_down(pod))
                await asyncio.sleep(0.5 if wrong else 0)
    except TimeoutError:
        return wrong
    return []
