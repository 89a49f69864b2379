"""What kubectl shows of Pods and does in them, on both runtimes: streams, ends, changes."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from control.api import kinds
from control.api.cluster import ConfigMap
from control.api.service import Service
from control.controllers.endpoints.slices import EndpointSliceController
from control.controllers.loop import Manager
from control.server.access.authn import Authenticator
from control.server.app import serve
from control.store.memory import MemoryStore
from tests.support.control.agent_process import SERVE, Node
from tests.support.control.api_server import ApiServer
from tests.support.control.cluster import running, until
from tests.support.control.streaming import config, make_certificates
from tests.support.e2e.typist import Typist

COUNT = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.1; done"
PIPE = asyncio.subprocess.PIPE


@pytest.fixture
async def api_server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """A server that shows the agent a certificate, for logs and streams."""
    make_certificates(tmp_path)
    bound, store = socket.create_server(("127.0.0.1", 0)), MemoryStore()
    port = bound.getsockname()[1]
    trusting = Authenticator(trusting=True)
    async with serve(store, [bound], config=config(tmp_path), authenticator=trusting) as state:
        yield ApiServer(f"http://127.0.0.1:{port}", port, state)
    await store.close()


@pytest.fixture
def flags(tmp_path: Path, runtime_flags: tuple[str, ...]) -> tuple[str, ...]:
    keys = (f"--tls-cert={tmp_path}/node.crt", f"--tls-key={tmp_path}/node.key")
    return (*runtime_flags, *keys, f"--client-ca={tmp_path}/ca.crt")


@dataclass
class Kubectl:
    """The real kubectl."""

    url: str
    folder: Path

    def argv(self, *words: str) -> list[str]:
        where = f"--server={self.url}", f"--cache-dir={self.folder}", "--kubeconfig=/dev/null"
        return ["kubectl", *where, *words]

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.argv(*words), stdin=PIPE, stdout=PIPE, stderr=PIPE
        )

    async def __call__(self, *words: str, stdin: bytes = b"", code: int = 0) -> bytes:
        """Return the output of a command that ends with a code."""
        process = await self.start(*words)
        out, err = await process.communicate(stdin)
        assert process.returncode == code, (words, out, err)
        return out


@pytest.fixture
def kubectl(api_server: ApiServer, tmp_path: Path) -> Kubectl:
    return Kubectl(api_server.url, tmp_path / "kubectl")


async def test_streams(node: Node, kubectl: Kubectl, tmp_path: Path) -> None:
    await node.create("talker", {"command": ["sh", "-c", COUNT]})
    await node.create("shell", {"command": ["sh"], "stdin": True, "tty": True})
    await node.create("web", SERVE)
    for name in ("talker", "shell", "web"):
        await node.ready(name)
    await logs_are_followed(kubectl)
    command = ("exec", "-i", "web", "--", "sh", "-c", "cat; exit 7")
    assert await kubectl(*command, stdin=b"in", code=7) == b"in"
    await asyncio.to_thread(terminals, kubectl)
    await files_are_copied(kubectl, tmp_path)
    await a_port_is_forwarded(kubectl)
    debug = ("debug", "talker", "--image=podwire/tools", "--image-pull-policy=IfNotPresent")
    more = ("--target=main", "--profile=general", "-c", "looker", "--quiet", "--", "ps")
    await kubectl(*debug, *more)
    await until(lambda: ended(node, "talker"), f"the debugger's end\n{node.log()}")
    assert b"echo line" in await kubectl("logs", "talker", "-c", "looker")


async def ended(node: Node, name: str) -> bool:
    """True if all ephemeral containers of a Pod have ended."""
    pod = await node.get(name)
    states = pod.status.ephemeral_container_statuses if pod else []
    return bool(states) and all(it.state.terminated for it in states)


async def logs_are_followed(kubectl: Kubectl) -> None:
    process = await kubectl.start("logs", "-f", "talker")
    assert process.stdout is not None
    lines = [await process.stdout.readline() for _ in range(12)]
    process.terminate()
    await process.communicate()
    assert lines == [b"line %d\n" % number for number in range(1, 13)]


def terminals(kubectl: Kubectl) -> None:
    """Type at a command of its own, then at the container's first process."""
    typist = Typist(kubectl.argv("exec", "-it", "web", "--", "sh"))
    typist.type("tty; echo $((40 + 2))\n")
    assert "/dev/pts/" in typist.until("42\r\n")
    typist.type("exit 5\n")
    assert typist.end()[0] == 5
    typist = Typist(kubectl.argv("attach", "-it", "shell"))
    typist.type("echo I am $$\n")
    typist.until("I am 1\r\n")
    os.kill(typist.pid, signal.SIGKILL)
    typist.end()


async def files_are_copied(kubectl: Kubectl, folder: Path) -> None:
    content = os.urandom(300_000)
    (folder / "there").write_bytes(content)
    await kubectl("cp", str(folder / "there"), "web:/tmp/file")
    await kubectl("cp", "web:/tmp/file", str(folder / "back"), "--retries=2")
    assert (folder / "back").read_bytes() == content


async def a_port_is_forwarded(kubectl: Kubectl) -> None:
    process = await kubectl.start("port-forward", "web", ":8080")
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()  # Forwarding from 127.0.0.1:PORT -> 8080
    url = f"http://{line.split()[2]}/"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert await answer.text() == "web\n"
    process.terminate()
    await process.communicate()


async def test_ends_probes_and_changes(node: Node, kubectl: Kubectl) -> None:
    async with running(Manager(node.client, [EndpointSliceController()]).run()):
        await make_pods(node)
        await a_failing_probe_leaves_the_service(node, kubectl)
        await a_change_is_seen_in_the_volume(node, kubectl)
    assert await end_of(node, "greedy") == (137, "OOMKilled", None)
    assert await end_of(node, "failing") == (3, "Error", "last words\n")
    assert await end_of(node, "killed") == (137, "Error", None)
    assert await end_of(node, "done") == (0, "Completed", None)


async def make_pods(node: Node) -> None:
    settings = {"metadata": {"name": "settings", "namespace": "default"}, "data": {"word": "first"}}
    await node.client.create(kinds.CONFIG_MAP, ConfigMap.parse(settings))
    spec = {"selector": {"app": "gate"}, "ports": [{"port": 80, "targetPort": 8080}]}
    gate = {"metadata": {"name": "gate", "namespace": "default"}, "spec": spec}
    await node.client.create(kinds.SERVICE, Service.parse(gate))
    probe = {
        "exec": {"command": ["test", "-f", "/tmp/open"]},
        "periodSeconds": 1,
        "failureThreshold": 1,
        "timeoutSeconds": 20,
    }
    mount = [{"name": "settings", "mountPath": "/settings"}]
    volume = [{"name": "settings", "configMap": {"name": "settings"}}]
    await node.create("gate", {"readinessProbe": probe, "volumeMounts": mount}, volumes=volume)
    patch = {"metadata": {"labels": {"app": "gate"}}}
    await node.client.patch(kinds.POD, "default", "gate", patch)
    limit = {"resources": {"limits": {"memory": "32Mi"}}}
    scripts = {
        # containerd hears of a kill apart from the end, and never if the group is gone.
        "greedy": "tail /dev/zero; code=$?; sleep 3; exit $code",
        "failing": "echo last words >/dev/termination-log; exit 3",
        "killed": "sleep 100 & kill -9 $!; wait $!",
        "done": "true",
    }
    for name, script in scripts.items():
        await node.create(name, {"command": ["sh", "-c", script], **limit}, restartPolicy="Never")


async def a_failing_probe_leaves_the_service(node: Node, kubectl: Kubectl) -> None:
    async def running_now() -> bool:
        pod = await node.get("gate")
        return pod is not None and pod.status.phase == "Running"

    await until(running_now, f"gate runs\n{node.log()}")
    assert not await serving(node)
    for command, wanted in (("touch", True), ("rm", False)):
        await kubectl("exec", "gate", "--", command, "/tmp/open")
        await until(becomes(node, wanted), f"ready: {wanted}\n{node.log()}")


def becomes(node: Node, wanted: bool) -> Callable[[], Awaitable[bool]]:
    async def is_it() -> bool:
        return await serving(node) is wanted

    return is_it


async def serving(node: Node) -> bool:
    """True if the Service has a ready endpoint."""
    slices = (await node.client.list(kinds.ENDPOINT_SLICE, "default")).items
    return any(end.conditions and end.conditions.ready for it in slices for end in it.endpoints)


async def a_change_is_seen_in_the_volume(node: Node, kubectl: Kubectl) -> None:
    """Within a minute, or at once when the Pod changes, as with kubelet."""
    read = ("exec", "gate", "--", "cat", "/settings/word")
    assert await kubectl(*read) == b"first"
    await kubectl("patch", "configmap", "settings", "-p", '{"data": {"word": "second"}}')
    await kubectl("annotate", "pod", "gate", "look=now")

    async def seen() -> bool:
        return await kubectl(*read) == b"second"

    await until(seen, f"the change\n{node.log()}")


async def end_of(node: Node, name: str) -> tuple[int, str | None, str | None]:
    """Return (exit code, reason, message) of a Pod's container when it has ended."""

    async def over() -> bool:
        pod = await node.get(name)
        return pod is not None and pod.status.phase in ("Failed", "Succeeded")

    await until(over, f"the end of {name}\n{node.log()}")
    pod = await node.get(name)
    assert pod is not None
    done = pod.status.container_statuses[0].state.terminated
    assert done is not None
    return done.exit_code, done.reason, done.message
