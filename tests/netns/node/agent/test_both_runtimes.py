"""The agent as a process, with a real API server and CNI plugin, on both runtimes."""

import asyncio
import random

import pytest

from control.api import kinds
from control.api.cluster import ConfigMap
from tests.support.control.agent_process import NOTHING, SERVE
from tests.support.control.cluster import until


@pytest.fixture
def flags(runtime_flags) -> tuple[str, ...]:
    return runtime_flags


async def test_kills_at_any_time_lose_nothing(node):
    chance = random.Random(7)
    for number in range(4):
        await node.create(f"p{number}", SERVE)
        await asyncio.sleep(chance.uniform(0, 0.4))
        node.kill()
        node.start()
    pods = [await node.ready(f"p{number}") for number in range(4)]
    assert len({pod.status.pod_ip for pod in pods}) == 4
    for number in range(4):
        await node.delete(f"p{number}")
        await asyncio.sleep(chance.uniform(0, 0.4))
        node.kill()
        node.start()
    for number in range(4):
        await node.gone(f"p{number}")
    assert node.remains() == NOTHING


async def test_a_pod_deleted_while_no_agent_ran_is_ended(node):
    pod = await node.create("web", SERVE)
    await node.ready("web")
    node.kill()
    await node.client.delete(kinds.POD, "default", "web", grace_period_seconds=0)
    assert node.remains() != NOTHING and await node.get("web") is None
    node.start()
    await until(lambda: node.remains() == NOTHING, f"{pod.metadata.uid} ended")


async def test_a_torn_sandbox_is_replaced(node):
    await node.create("web", SERVE)
    first = (await node.ready("web")).status.container_statuses[0].container_id
    node.kill()
    (config,) = (node.root / "agent/sandboxes").glob("*/config.*")  # JSON, or a message of CRI
    config.write_text('{"half')
    node.start()

    async def anew() -> bool:
        status = (await node.get("web")).status.container_statuses[0]
        return status.ready and status.container_id != first

    await until(anew, node.log())
    await node.delete("web")
    await node.gone("web")
    assert node.remains() == NOTHING


async def test_objects_that_a_pod_refers_to_may_come_later(node):
    await node.create(
        "web",
        {
            "env": [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
            "command": ["sh", "-c", "echo $K > /dev/termination-log; cat /c/k; exit 3"],
            "volumeMounts": [{"name": "c", "mountPath": "/c"}],
        },
        volumes=[{"name": "c", "configMap": {"name": "c", "optional": True}}],
        restartPolicy="Never",
    )

    async def waits() -> bool:
        pod = await node.get("web")
        states = [it.state.waiting for it in pod.status.container_statuses]
        return [it.reason for it in states if it] == ["CreateContainerConfigError"]

    await until(waits)
    item = {"metadata": {"name": "c", "namespace": "default"}, "data": {"k": "value"}}
    await node.client.create(kinds.CONFIG_MAP, ConfigMap.parse(item))

    async def failed() -> bool:
        pod = await node.get("web")
        return pod.status.phase == "Failed"

    await until(failed)
    ended = (await node.get("web")).status.container_statuses[0].state.terminated
    assert (ended.exit_code, ended.message) == (3, "value\n")


async def test_a_termination_message_of_any_user_and_of_few_bytes(node):
    """4 MiB find no room, for root and for another user; what is written then is the message."""
    script = (
        "dd if=/dev/zero of=/dev/termination-log bs=64k count=64 && exit 9; "
        "echo bye >/dev/termination-log; exit 3"
    )
    one = {"image": "podwire/tools", "imagePullPolicy": "Never", "command": ["sh", "-c", script]}
    users = [
        {**one, "name": f"u{user}", "securityContext": {"runAsUser": user}} for user in (0, 1000)
    ]
    await node.create("web", {}, containers=users, restartPolicy="Never")

    async def failed() -> bool:
        return (await node.get("web")).status.phase == "Failed"

    await until(failed)
    statuses = (await node.get("web")).status.container_statuses
    ended = [(it.state.terminated.exit_code, it.state.terminated.message) for it in statuses]
    assert ended == [(3, "bye\n"), (3, "bye\n")]
    await node.delete("web")
    await until(lambda: node.remains() == NOTHING, "nothing left")


async def test_hooks_and_a_liveness_probe(node):
    script = 'trap "exit 0" TERM; while :; do sleep 0.1; done'
    await node.create(
        "web",
        {
            "command": ["sh", "-c", script],
            "lifecycle": {
                "postStart": {"exec": {"command": ["touch", "/begun"]}},
                "preStop": {"exec": {"command": ["sh", "-c", "echo bye >/v/bye"]}},
            },
            "readinessProbe": {"exec": {"command": ["test", "-e", "/begun"]}},
            "livenessProbe": {
                "exec": {"command": ["test", "!", "-e", "/v/sick"]},
                "periodSeconds": 1,
                "failureThreshold": 1,
                "timeoutSeconds": 20,
            },
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        },
        volumes=[{"name": "v", "hostPath": {"path": str(node.root)}}],
        terminationGracePeriodSeconds=30,
    )  # time for the hook
    await node.ready("web")
    (node.root / "sick").touch()

    async def restarted() -> bool:
        return (await node.get("web")).status.container_statuses[0].restart_count >= 1

    await until(restarted)
    assert (node.root / "bye").read_text() == "bye\n"

    async def told() -> bool:
        reasons = {event.reason for event in (await node.client.list(kinds.EVENT)).items}
        return {"Pulled", "Created", "Started", "Unhealthy", "Killing"} <= reasons

    await until(told)


async def test_an_ephemeral_container_sees_its_targets_processes(node):
    await node.create("web", SERVE)
    await node.ready("web")
    script = "tr '\\0' ' ' </proc/1/cmdline >/dev/termination-log"
    debug = {
        "name": "debug",
        "image": "podwire/tools",
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
    }
    own = {**debug, "name": "own"}
    both = [{**debug, "targetContainerName": "main"}, own]
    await node.client.patch(
        kinds.POD,
        "default",
        "web",
        {"spec": {"ephemeralContainers": both}},
        subresource="ephemeralcontainers",
    )

    async def ended() -> bool:
        statuses = (await node.get("web")).status.ephemeral_container_statuses
        return len(statuses) == 2 and all(it.state.terminated for it in statuses)

    await until(ended, node.log())
    pod = await node.get("web")
    said = [it.state.terminated.message for it in pod.status.ephemeral_container_statuses]
    assert "serve" in said[0] and said[1] and "serve" not in said[1], said
    assert pod.status.phase == "Running" and pod.status.container_statuses[0].restart_count == 0
