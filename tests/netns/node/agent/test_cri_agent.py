# ruff: noqa: ASYNC240  tests start processes, and read their files
"""The agent as a process on containerd, which calls the real CNI plugin."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from control.api import kinds
from control.api.cluster import Secret, ServiceAccount
from tests.support.control.agent_process import (
    NOTHING,
    SERVE,
    Node,
    stopped_with_the_machine,
)
from tests.support.control.cluster import until
from tests.support.control.registry import (
    HERE,
    PASSWORD,
    USER,
    Registry,
    free_port,
    registry,
)

LOCAL = {"imagePullPolicy": "IfNotPresent"}  # without a tag the default is Always


@pytest.fixture
def flags(containerd) -> tuple[str, ...]:
    return containerd.flags


async def test_a_pod_from_start_to_end(node):
    await node.create("web", LOCAL | SERVE)
    pod = await node.ready("web")
    assert pod.status.phase == "Running" and pod.status.pod_ip.startswith("10.244.1.")
    (state,) = pod.status.container_statuses
    assert state.container_id.startswith("containerd://")
    assert state.image_id.startswith("sha256:")
    url = f"http://{pod.status.pod_ip}:8080/"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert await answer.text() == "web\n"
    found = await node.client.get(kinds.NODE, None, "n1")
    assert found.status.node_info.container_runtime_version.startswith("containerd://1.6.")
    assert "docker.io/podwire/tools:latest" in [
        name for image in found.status.images for name in image.names
    ]
    await node.delete("web")
    await node.gone("web")
    assert node.remains() == NOTHING


async def test_init_containers_and_sidecars_run_in_order(node):
    say = {"image": "podwire/tools", **LOCAL}
    first = {"name": "first", **say, "command": ["sh", "-c", "echo 1 >/data/x"]}
    side = {"name": "side", **say, "restartPolicy": "Always", "command": ["sleep", "1000"]}
    mounts = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    await node.create(
        "ordered",
        {**LOCAL, "command": ["sh", "-c", "cat /data/x; exit 3"], **mounts},
        initContainers=[first | mounts, side],
        volumes=[{"name": "data", "emptyDir": {}}],
        restartPolicy="Never",
    )

    async def over() -> bool:
        pod = await node.get("ordered")
        return pod is not None and pod.status.phase == "Failed"

    await until(over, f"the end\n{node.log()}")
    pod = await node.get("ordered")
    (main,) = pod.status.container_statuses
    assert main.state.terminated.exit_code == 3
    one, two = pod.status.init_container_statuses
    assert one.state.terminated.reason == "Completed"
    assert two.state.terminated is not None
    (log,) = Path("/var/log/pods").glob("*_ordered_*/main/0.log")
    assert log.read_text().endswith(" stdout F 1\n")


async def test_an_absent_image_is_named(node):
    await node.create("absent", {"image": "podwire.test/absent:1", "imagePullPolicy": "Never"})

    async def waits() -> bool:
        pod = await node.get("absent")
        states = pod.status.container_statuses if pod else []
        return any(
            it.state.waiting and it.state.waiting.reason == "ErrImageNeverPull" for it in states
        )

    await until(waits, f"ErrImageNeverPull\n{node.log()}")


@pytest.fixture
def guarded(containerd, tmp_path) -> Iterator[Registry]:
    """A registry that asks for a password, with podwire/tools."""
    with registry(HERE, tmp_path, free_port(), users=True) as found:
        found.push(f"oci-archive:{containerd.root}/1.tar", "app:1")
        yield found


def pull_secret(name: str, host: str, password: str) -> Secret:
    auths = {"auths": {f"http://{host}/v2/": {"username": USER, "password": password}}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(auths).encode()).decode()}
    wire = {"metadata": {"name": name, "namespace": "default"}, "data": data}
    return Secret.parse({**wire, "type": "kubernetes.io/dockerconfigjson"})


async def events(node: Node, pod: str) -> list[tuple[str, str]]:
    """Reason and message of what was said of a Pod's container, in order."""
    found = (await node.client.list(kinds.EVENT, "default")).items
    mine = [it for it in found if it.involved_object.name == pod and it.source.component]
    mine.sort(key=lambda it: it.first_timestamp or "")
    return [(it.reason, it.message) for it in mine]


async def test_a_service_accounts_secret_pulls_an_image(node, guarded):
    image = f"{guarded.host}/app:1"
    await node.client.create(kinds.SECRET, pull_secret("pull", guarded.host, PASSWORD))
    account = {"metadata": {"name": "puller", "namespace": "default"}}
    pulls = ServiceAccount.parse({**account, "imagePullSecrets": [{"name": "pull"}]})
    await node.client.create(kinds.SERVICE_ACCOUNT, pulls)
    await node.create("stranger", {"image": image}, imagePullSecrets=[{"name": "absent"}])

    async def backs_off() -> bool:
        pod = await node.get("stranger")
        states = pod.status.container_statuses if pod else []
        return any(
            it.state.waiting
            and it.state.waiting.reason == "ImagePullBackOff"
            and it.state.waiting.message.startswith(f'Back-off pulling image "{image}": ErrImageP')
            for it in states
        )

    await until(backs_off, f"ImagePullBackOff\n{node.log()}")
    expected = {
        ("Pulling", f'Pulling image "{image}"'),
        ("Failed", "Error: ErrImagePull"),
        ("BackOff", f'Back-off pulling image "{image}"'),
        ("Failed", "Error: ImagePullBackOff"),
    }

    async def said() -> bool:
        return expected <= set(await events(node, "stranger"))

    await until(said, "Events")
    texts = [": ".join(it) for it in await events(node, "stranger")]
    failed = f'Failed: Failed to pull image "{image}"'
    for start in ("FailedToRetrieveImagePullSecret: Unable", failed):
        assert [text.startswith(start) for text in texts].count(True) == 1
    await node.create("app", {"image": image, **SERVE}, serviceAccountName="puller")
    await node.ready("app")

    async def pulled() -> bool:
        texts = [text for reason, text in await events(node, "app") if reason == "Pulled"]
        return any(text.startswith(f'Successfully pulled image "{image}" in ') for text in texts)

    await until(pulled, "the Event of the pull")
    await node.delete("stranger")
    await node.create("again", {"image": image}, imagePullSecrets=[{"name": "absent"}])
    await until(lambda: waits(node, "again"), f"no image for a stranger\n{node.log()}")


async def waits(node: Node, name: str) -> bool:
    pod = await node.get(name)
    states = pod.status.container_statuses if pod else []
    return any(it.state.waiting and it.state.waiting.reason == "ErrImagePull" for it in states)


async def test_kills_of_agent_and_runtime_disturb_no_pod(node, containerd):
    await node.create("web", LOCAL | SERVE)
    before = await node.ready("web")
    node.kill()
    containerd.kill()
    node.start()
    await asyncio.to_thread(node.process.wait)
    assert "nobody listens on the socket" in node.log()
    await asyncio.to_thread(containerd.start)
    node.start()
    await node.create("next", LOCAL | SERVE)
    await node.ready("next")
    containerd.kill()

    async def down() -> bool:
        status, message = await node.condition()
        return status == "False" and message.startswith("container runtime is down: ")

    await until(down, f"NotReady\n{node.log()}")
    url = f"http://{before.status.pod_ip}:8080/"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert await answer.text() == "web\n"
    await asyncio.to_thread(containerd.start)

    await until(node.is_ready, f"Ready\n{node.log()}")
    after = await node.get("web")
    first, second = before.status.container_statuses[0], after.status.container_statuses[0]
    assert (first.container_id, first.restart_count) == (second.container_id, second.restart_count)
    assert after.status.pod_ip == before.status.pod_ip


async def test_containers_stop_with_the_machine(node):
    await stopped_with_the_machine(node, {"image": "podwire/tools", **LOCAL})
