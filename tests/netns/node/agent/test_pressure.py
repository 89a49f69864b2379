"""An agent whose node is always short of memory."""

import pytest

from control.api import kinds
from tests.support.control.cluster import until

REASONABLE = {"resources": {"requests": {"memory": "1Mi"}}}


@pytest.fixture
def flags(runtime_flags: tuple[str, ...]) -> tuple[str, ...]:
    return (*runtime_flags, "--eviction-hard=memory.available<99%")


async def test_pods_are_refused_and_evicted(node):
    async def short() -> bool:
        found = await node.client.get(kinds.NODE, None, "n1")
        return ("MemoryPressure", "True", "KubeletHasInsufficientMemory") in [
            (it.type, it.status, it.reason) for it in found.status.conditions
        ]

    async def failed(name: str) -> bool:
        pod = await node.get(name)
        return pod.status.phase == "Failed"

    await until(short, f"MemoryPressure\n{node.log()}")
    await node.create("refused", {})
    await until(lambda: failed("refused"), f"a refusal\n{node.log()}")
    status = (await node.get("refused")).status
    assert status.reason == "Evicted"
    assert status.message == "Pod was rejected: The node had condition: [MemoryPressure]. "
    await node.create("evicted", REASONABLE)
    await until(lambda: failed("evicted"), f"an eviction\n{node.log()}")
    pod = await node.get("evicted")
    assert pod.status.reason == "Evicted"
    assert pod.status.message.startswith(
        "The node was low on resource: memory. Threshold quantity: "
    )
    (state,) = pod.status.container_statuses
    assert state.state.terminated is not None
    target = next(it for it in pod.status.conditions if it.type == "DisruptionTarget")
    assert (target.status, target.reason) == ("True", "TerminationByKubelet")
    assert target.message == pod.status.message
