# ruff: noqa: ASYNC240  tests start processes, and read their files
"""The agent as a process, with a real API server and CNI plugin, on the built-in runtime."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp

from control.api import kinds
from control.api.pod import Pod
from control.client import ApiError
from control.linux import files
from control.runtime.builtin import spawn
from tests.support.control.agent_process import (
    NOTHING,
    SERVE,
    has_cidr,
    stopped_with_the_machine,
)
from tests.support.control.cluster import until


async def test_a_pod_from_start_to_end(node):
    await node.create("web", SERVE)
    pod = await node.ready("web")
    assert pod.status.phase == "Running" and pod.status.pod_ip.startswith("10.244.1.")
    url = f"http://{pod.status.pod_ip}:8080/"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert await answer.text() == "web\n"
    await node.delete("web")
    await node.gone("web")
    assert node.remains() == NOTHING


async def test_a_pod_waits_for_the_nodes_network(new_node):
    """As with kubelet: only one that has the node's network begins before."""

    async def reasons() -> set[str]:
        events = (await new_node.client.list(kinds.EVENT)).items
        return {it.reason for it in events if it.involved_object.name == "web"}

    async def waits() -> bool:
        return "NetworkNotReady" in await reasons()

    await new_node.create("web", SERVE)
    await new_node.create("own", {"command": ["sleep", "100"]}, hostNetwork=True)
    await new_node.ready("own")
    await until(waits, new_node.log())
    await until(lambda: has_cidr(new_node.client), "a Node")
    await new_node.ready("web")
    assert not await reasons() & {"FailedCreatePodSandBox", "SandboxChanged"}


async def test_a_pod_runs_as_its_class_says(node):
    """One whose handler the runtime does not have waits, and says so."""
    for name, handler in (("gvisor", "gvisor"), ("plain", "podwire")):
        wire = {"metadata": {"name": name}, "handler": handler}
        await node.client.create(kinds.RUNTIME_CLASS, kinds.RUNTIME_CLASS.model.parse(wire))
        await node.create(name, {}, runtimeClassName=name)

    await node.create("users", {}, hostUsers=False)
    wanted = {
        ("gvisor", 'failed to get sandbox runtime: no runtime for "gvisor" is configured'),
        ("users", "can't set `spec.hostUsers: false`, runtime does not support user namespaces"),
    }

    async def refused() -> bool:
        events = (await node.client.list(kinds.EVENT)).items
        return {(name, f"Failed to create pod sandbox: {why}") for name, why in wanted} <= {
            (it.involved_object.name, it.message)
            for it in events
            if it.reason == "FailedCreatePodSandBox"
        }

    await node.ready("plain")
    await until(refused, f"an Event\n{node.log()}")
    assert (await node.get("gvisor")).status.phase == "Pending"


async def test_the_node_registers_and_comes_back(node):
    async def is_ready() -> bool:
        try:
            found = await node.client.get(kinds.NODE, None, "n1")
            lease = await node.client.get(kinds.LEASE, "kube-node-lease", "n1")
        except ApiError:
            return False
        ready = [it.status for it in found.status.conditions if it.type == "Ready"]
        return ready == ["True"] and lease.spec.holder_identity == "n1"

    await until(is_ready)
    await node.client.delete(kinds.NODE, None, "n1")
    await until(lambda: has_cidr(node.client))
    await until(is_ready)


async def test_a_killed_agent_restarts_no_pod_and_makes_none_unready(node):
    await node.create("web", SERVE)
    before = await node.ready("web")
    ready: list[str] = []

    async def watch() -> None:
        since = before.metadata.resource_version
        async with node.client.watch(kinds.POD, "default", resource_version=since) as events:
            async for event in events:
                pod = getattr(event, "object", None)
                if isinstance(pod, Pod) and pod.metadata.name == "web":
                    ready.extend(it.status for it in pod.status.conditions if it.type == "Ready")

    watching = asyncio.create_task(watch())
    node.kill()
    node.start()
    await node.create("next", SERVE)
    await node.ready("next")
    after = await node.get("web")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert "False" not in ready
    first, second = before.status.container_statuses[0], after.status.container_statuses[0]
    assert (first.container_id, first.restart_count) == (second.container_id, second.restart_count)
    assert after.status.pod_ip == before.status.pod_ip
    assert any(it.status == "True" for it in after.status.conditions if it.type == "Ready")


async def test_a_killed_shim_restarts_its_container(node):
    await node.create("web", SERVE)
    await node.ready("web")
    (pid,) = spawn.find_shims().values()
    os.kill(pid, signal.SIGKILL)

    async def restarted() -> bool:
        pod = await node.get("web")
        status = pod.status.container_statuses[0]
        return status.restart_count == 1 and status.ready

    await until(restarted)
    pod = await node.get("web")
    last = pod.status.container_statuses[0].last_state.terminated
    assert (last.exit_code, last.reason) == (137, "ContainerStatusUnknown")


async def test_a_lost_sandbox_is_made_anew(node):
    before = await node.create("web", SERVE) and await node.ready("web")
    (netns,) = Path("/run/netns").glob("cni-*")
    node.kill()
    files.unmount(netns)
    node.start()

    async def anew() -> bool:
        pod = await node.get("web")
        status = pod.status.container_statuses[0]
        return (
            status.ready and status.container_id != before.status.container_statuses[0].container_id
        )

    await until(anew, node.log())


async def test_pods_that_fill_the_disk_are_evicted(node):
    """One fills a volume, one its own layer; one with the same limits does not, and stays."""
    fill = "head -c 3000000 /dev/zero >{}; exec sleep 100"
    limit = {"resources": {"limits": {"ephemeral-storage": "1Mi"}}}
    for name, target in (("volume", "/v/x"), ("layer", "/x"), ("modest", "/dev/null")):
        container = {
            "command": ["sh", "-c", fill.format(target)],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            **(limit if name != "volume" else {}),
        }
        volumes = [{"name": "v", "emptyDir": {"sizeLimit": "2Mi"}}]
        await node.create(name, container, volumes=volumes)

    async def phases() -> list[str]:
        return [(await node.get(name)).status.phase for name in ("volume", "layer", "modest")]

    async def settled() -> bool:
        return await phases() == ["Failed", "Failed", "Running"]

    await until(settled, node.log())
    volume, layer = [await node.get(name) for name in ("volume", "layer")]
    assert (volume.status.reason, layer.status.reason) == ("Evicted", "Evicted")
    assert volume.status.message == 'Usage of EmptyDir volume "v" exceeds the limit "2Mi". '
    assert "ephemeral local storage usage exceeds" in layer.status.message
    # The room is free again, before anybody deletes the objects; what they were is still said.
    uids = (volume.metadata.uid, layer.metadata.uid)

    def freed() -> bool:
        files = node.remains()["files"]
        containers = [it for it in files if "/containers/" in it]
        return len(containers) == 1 and not any(uid in it for it in files for uid in uids)

    await until(freed, node.log())
    for name in ("volume", "layer"):
        (status,) = (await node.get(name)).status.container_statuses
        assert status.state.terminated is not None


async def test_containers_stop_with_the_machine(node):
    await stopped_with_the_machine(node, {"image": "podwire/tools"})
