# ruff: noqa: ASYNC240  tests read the kernel's files
"""Resizes of running Pods by a real agent, on both runtimes: what the kernel holds them to then."""

from pathlib import Path
from typing import Any

import pytest

from control.api import kinds
from control.api.pod import Pod
from tests.support.control.agent_process import Node
from tests.support.control.cluster import until

MIB = 1024 * 1024
ROOT = Path("/sys/fs/cgroup")
# What the kernel has, by hierarchy: the same limits in the words of cgroup v1 and of cgroup2.
FILES = {
    "cpu": ("cpu.cfs_quota_us", "cpu.max"),
    "shares": ("cpu.shares", "cpu.weight"),
    "memory": ("memory.limit_in_bytes", "memory.max"),
}


@pytest.fixture
def flags(runtime_flags: tuple[str, ...]) -> tuple[str, ...]:
    return runtime_flags


def group_of(pod: Pod) -> str:
    """Return the name of a running container's group: containerd takes the container's ID."""
    status = pod.status.container_statuses[0]
    runtime, _, name = (status.container_id or "").partition("://")
    return name if runtime == "containerd" else f"main.{status.restart_count}"


def amounts(cpu: str, memory: str, most: str = "", limit: str = "") -> dict[str, Any]:
    return {
        "requests": {"cpu": cpu, "memory": memory},
        "limits": {"cpu": most or cpu, "memory": limit or memory},
    }


def kernel(node: Node, pod: Pod, what: str, name: str | None = None) -> int:
    """Return a limit of a container, or with an empty name of the Pod."""
    name = group_of(pod) if name is None else name
    for file in FILES[what]:
        for path in ROOT.glob(f"*/{node.cgroup}/pods/{pod.metadata.uid}/{name}/{file}"):
            return int(path.read_text().split()[0])
        path = ROOT / node.cgroup / "pods" / pod.metadata.uid / name / file
        if path.exists():
            return int(path.read_text().split()[0])
    pytest.fail(f"no hierarchy limits {what}")


async def resize(node: Node, name: str, resources: dict[str, Any], container: str = "main") -> None:
    spec = {"containers": [{"name": container, "resources": resources}]}
    await node.client.patch(
        kinds.POD, "default", name, {"spec": spec}, type="strategic", subresource="resize"
    )


async def resized(node: Node, name: str, resources: dict[str, Any]) -> Pod:
    """Wait until a Pod's status has these resources in force, and no condition of a resize."""

    async def done() -> bool:
        pod = await node.get(name)
        if pod is None or not pod.status.container_statuses:
            return False
        status = pod.status.container_statuses[0]
        has = status.resources is not None and status.resources.wire() == resources
        return bool(has and status.state.running and not conditions(pod))

    try:
        await until(done)
    except AssertionError:
        pytest.fail(f"not resized: {await node.get(name)}\n{node.log()}")
    found = await node.get(name)
    assert found is not None
    return found


def conditions(pod: Pod) -> dict[str, str]:
    return {
        it.type: it.reason or ""
        for it in pod.status.conditions
        if it.type in ("PodResizePending", "PodResizeInProgress")
    }


async def reasons(node: Node) -> list[str]:
    return [it.reason or "" for it in (await node.client.list(kinds.EVENT)).items]


async def test_a_container_grows_and_shrinks_without_a_restart(node: Node):
    small, large = amounts("100m", "64Mi", "200m", "96Mi"), amounts("300m", "128Mi")
    await node.create("web", {"resources": small})
    pod = await resized(node, "web", small)
    assert kernel(node, pod, "cpu") == 20_000 and kernel(node, pod, "memory") == 96 * MIB
    assert kernel(node, pod, "cpu", "") == 20_000 and kernel(node, pod, "memory", "") == 96 * MIB
    shares = kernel(node, pod, "shares")
    large["requests"]["memory"] = "100Mi"  # the class stays Burstable
    await resize(node, "web", large)
    pod = await resized(node, "web", large)
    assert kernel(node, pod, "cpu") == 30_000 and kernel(node, pod, "memory") == 128 * MIB
    assert kernel(node, pod, "cpu", "") == 30_000 and kernel(node, pod, "memory", "") == 128 * MIB
    assert kernel(node, pod, "shares") > shares
    status = pod.status.container_statuses[0]
    assert status.allocated_resources == large["requests"] and status.restart_count == 0
    assert pod.status.allocated_resources == large["requests"]
    assert pod.status.observed_generation == pod.metadata.generation == 2
    await resize(node, "web", small)
    pod = await resized(node, "web", small)
    assert kernel(node, pod, "cpu") == 20_000 and kernel(node, pod, "memory") == 96 * MIB
    assert kernel(node, pod, "cpu", "") == 20_000 and kernel(node, pod, "memory", "") == 96 * MIB
    assert pod.status.container_statuses[0].restart_count == 0

    async def told() -> bool:
        return {"ResizeStarted", "ResizeCompleted"} <= set(await reasons(node))

    await until(told)


async def test_a_policy_restarts_the_container(node: Node):
    small, large = amounts("100m", "64Mi"), amounts("200m", "64Mi")
    policy = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    container = {"resources": small, "resizePolicy": policy}
    await node.create("web", container, restartPolicy="OnFailure")
    await resized(node, "web", small)
    await resize(node, "web", large)
    pod = await resized(node, "web", large)
    assert pod.status.container_statuses[0].restart_count == 1
    assert kernel(node, pod, "cpu") == 20_000 == kernel(node, pod, "cpu", "")


async def test_memory_does_not_shrink_below_what_is_used(node: Node):
    fill = "x=$(head -c 12000000 /dev/zero | tr '\\0' x); echo; sleep 1000; echo $x"
    large, small = amounts("100m", "64Mi", "200m"), amounts("100m", "8Mi", "200m")
    await node.create("web", {"resources": large, "command": ["sh", "-c", fill]})
    pod = await resized(node, "web", large)

    async def filled() -> bool:
        group = f"{pod.metadata.uid}/{group_of(pod)}"
        found = ROOT.glob(f"*/{node.cgroup}/pods/{group}/memory.usage_in_bytes")
        return any(int(path.read_text()) > 12 * MIB for path in found)

    await until(filled)
    await resize(node, "web", small)

    async def refused() -> bool:
        return conditions(await node.get("web")) == {"PodResizeInProgress": "Error"}

    await until(refused, node.log())
    pod = await node.get("web")
    why = next(it.message for it in pod.status.conditions if it.type == "PodResizeInProgress")
    assert why and why.startswith("cannot decrease memory limits: [attempting to set pod memory")
    assert kernel(node, pod, "memory") == 64 * MIB
    assert pod.status.container_statuses[0].resources.wire() == large
    assert pod.status.container_statuses[0].allocated_resources == small["requests"]
    await resize(node, "web", large)
    await resized(node, "web", large)


async def test_a_resize_waits_for_room_also_through_a_restart(node: Node):
    most = (await node.client.get(kinds.NODE, None, "n1")).status.allocatable
    half, whole = f"{int(most['cpu']) * 600}m", most["cpu"]
    await node.create("other", {"resources": amounts(half, "16Mi")})
    await node.create("web", {"resources": amounts("100m", "16Mi")})
    pod = await resized(node, "web", amounts("100m", "16Mi"))
    await resize(node, "web", amounts(whole, "16Mi"))

    async def deferred() -> bool:
        return conditions(await node.get("web")) == {"PodResizePending": "Deferred"}

    await until(deferred, node.log())
    node.kill()
    node.start()
    pod = await node.get("web")
    assert conditions(pod) == {"PodResizePending": "Deferred"}
    assert pod.status.container_statuses[0].allocated_resources["cpu"] == "100m"
    why = next(it for it in pod.status.conditions if it.type == "PodResizePending")
    assert (why.message or "").startswith("Node didn't have enough resource: cpu, requested: ")
    assert why.observed_generation == pod.metadata.generation
    assert kernel(node, pod, "cpu") == 10_000
    await node.delete("other")
    pod = await resized(node, "web", amounts(whole, "16Mi"))
    assert kernel(node, pod, "cpu") == 100_000 * int(whole)


async def test_a_pod_as_a_whole_is_resized(node: Node):
    small, large = amounts("100m", "32Mi", "200m", "64Mi"), amounts("200m", "64Mi", "400m", "96Mi")
    await node.create("web", {}, resources=small)

    async def has(wanted: dict[str, Any]) -> bool:
        pod = await node.get("web")
        own = pod.status.resources if pod else None
        return own is not None and own.wire() == wanted and pod.status.phase == "Running"

    await until(lambda: has(small), node.log())
    pod = await node.get("web")
    assert kernel(node, pod, "cpu", "") == 20_000 and kernel(node, pod, "cpu") == 20_000
    await node.client.patch(
        kinds.POD,
        "default",
        "web",
        {"spec": {"resources": large}},
        type="strategic",
        subresource="resize",
    )
    await until(lambda: has(large), f"{await node.get('web')}{node.log()}")
    assert kernel(node, pod, "cpu", "") == 40_000 and kernel(node, pod, "memory", "") == 96 * MIB
    assert kernel(node, pod, "memory") == 96 * MIB  # the limit of a container without one
