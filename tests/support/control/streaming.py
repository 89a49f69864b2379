"""A real API server and agent server, with processes of this machine as containers."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from control.agent.config import ServerConfig
from control.agent.server.app import serve as serve_agent
from control.api import kinds
from control.api.node import Node
from control.api.pod import Pod
from control.client import Client, ClientConfig
from control.metrics import Registry
from control.pki import Identity, create_authority, issue
from control.runtime.base import (
    Container,
    ContainerRuntimeError,
    Phase,
    PodRef,
    RuntimeState,
    Sandbox,
)
from control.runtime.builtin import command
from control.runtime.builtin.execution import CommandStream
from control.runtime.used import RuntimeUsage, Usage
from control.server.access.authn import Authenticator
from control.server.app import serve
from control.server.state.server import ApiServerConfig, ServerState
from control.store.memory import MemoryStore

NODE = "n1"


class Host:
    """A runtime whose containers are entries in a table and whose commands run on the host."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self.namespace = ""  # of Pods' sandboxes; empty: this machine's own
        self.containers: dict[str, Container] = {}
        self.streams: list[CommandStream] = []
        self.used = RuntimeUsage(0.0, Usage(0.0, 0))
        self.attached: tuple[str, ...] = ("cat",)  # what a container is, to who attaches to it

    def add(self, pod: Pod, name: str, attempt: int = 0, *, phase: Phase = Phase.RUNNING) -> Path:
        """Add a container; return the path of its log."""
        uid = pod.metadata.uid
        path = self._logs / f"default_{pod.metadata.name}_{uid}" / name / f"{attempt}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        ident = f"{pod.metadata.name}.{name}.{attempt}"
        ref = PodRef(pod.metadata.namespace or "", pod.metadata.name, uid)
        self.containers[ident] = Container(
            ident, "box", ref, name, attempt, phase, "image", "image", 0.0, log_path=str(path)
        )
        return path

    def end(self, ident: str) -> None:
        """Mark a container as ended."""
        self.containers[ident] = replace(self.containers[ident], phase=Phase.EXITED)

    def observe(self) -> RuntimeState:
        pods = {container.pod for container in self.containers.values()}
        boxes = (
            Sandbox(pod.uid, pod, 0, True, 0.0, host_network=not self.namespace) for pod in pods
        )
        return RuntimeState(tuple(boxes), tuple(self.containers.values()))

    async def network_namespace(self, sandbox_id: str) -> str:
        return self.namespace

    async def usage(self) -> RuntimeUsage:
        return self.used

    async def open_exec(
        self, container_id: str, words: tuple[str, ...], *, stdin: bool, terminal: bool
    ) -> CommandStream:
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        master, slave = os.openpty() if terminal else (None, None)
        ends = (slave,) * 3 if terminal else (pipe if stdin else nothing, pipe, pipe)
        wrapped = ("setsid", "--ctty", "--wait", *words) if terminal else words
        try:
            process = await command.start(wrapped, stdin=ends[0], stdout=ends[1], stderr=ends[2])
        except OSError as err:
            if master is not None:
                os.close(master)
            raise ContainerRuntimeError(f'exec: "{words[0]}": {err.strerror}') from err
        finally:
            if slave is not None:
                os.close(slave)
        stream = CommandStream(process, master)
        self.streams.append(stream)
        return stream

    async def open_attach(self, container_id: str, *, stdin: bool) -> CommandStream:
        return await self.open_exec(container_id, self.attached, stdin=stdin, terminal=False)


@dataclass
class PodTable:
    """The Pods that an informer would have."""

    pods: dict[tuple[str, str], Pod] = field(default_factory=dict)

    def get(self, namespace: str | None, name: str) -> Pod | None:
        return self.pods.get((namespace or "", name))

    def snapshot(self) -> dict[tuple[str, str], Pod]:
        return self.pods


@dataclass
class OneNode:
    """The node that the agent's server serves."""

    runtime: Any
    pods: PodTable
    name: str = NODE
    metrics: Registry = field(default_factory=Registry)
    settings: dict[str, object] = field(default_factory=dict)


@dataclass
class Streaming:
    """A cluster of one node that serves logs and commands."""

    url: str
    client: Client
    runtime: Host
    table: PodTable
    folder: Path
    state: ServerState

    async def pod(self, name: str, *containers: str, node: str | None = NODE, **status: Any) -> Pod:
        """Create a Pod in the API and in the agent's table."""
        specs = [{"name": container, "image": "image"} for container in containers or ("c",)]
        wire = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": specs} | ({"nodeName": node} if node else {}),
        }
        pod = await self.client.create(kinds.POD, Pod.parse(wire))
        if status:
            patch = {"status": status}
            pod = await self.client.patch(
                kinds.POD, "default", name, patch, type="strategic", subresource="status"
            )
        if node == NODE:
            self.table.pods["default", name] = pod
        return pod

    async def kubectl(
        self, *words: str, input: bytes = b"", program: str = "kubectl"
    ) -> tuple[int, bytes, str]:
        """Run kubectl; return (exit code, standard output, standard error)."""
        process = await self.start(*words, program=program)
        out, err = await process.communicate(input)
        return process.returncode or 0, out, err.decode()

    async def start(
        self, *words: str, program: str = "kubectl", **how: Any
    ) -> asyncio.subprocess.Process:
        """Start a kubectl in the background."""
        pipe = asyncio.subprocess.PIPE
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        return await asyncio.create_subprocess_exec(
            program,
            f"--server={self.url}",
            *words,
            **{"stdin": pipe, "stdout": pipe, "stderr": pipe, "env": environment, **how},
        )


@asynccontextmanager
async def streaming(folder: Path) -> AsyncIterator[Streaming]:
    """Run API server, agent server and client until the context ends."""
    make_certificates(folder)
    table, runtime = PodTable(), Host(folder / "logs")
    settings = ServerConfig(
        "127.0.0.1", 0, folder / "node.crt", folder / "node.key", folder / "ca.crt"
    )
    bound = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    store = MemoryStore()
    async with (
        serve_agent(settings, OneNode(runtime, table)) as port,
        serve(
            store, [bound], config=config(folder), authenticator=Authenticator(trusting=True)
        ) as state,
        Client(ClientConfig(url)) as client,
    ):
        await add_node(client, NODE, port)
        yield Streaming(url, client, runtime, table, folder, state)
    await store.close()


def make_certificates(folder: Path) -> None:
    authority = create_authority("test")
    authority.save(folder, "ca")
    for name in ("node", "kube-apiserver-kubelet-client", "stranger"):
        issue(authority, Identity(name, hosts=("127.0.0.1",))).save(folder, name)


def config(folder: Path, client: str = "kube-apiserver-kubelet-client") -> ApiServerConfig:
    pair = folder / f"{client}.crt", folder / f"{client}.key"
    return ApiServerConfig(kubelet_client=pair, client_ca=folder / "ca.crt")


async def add_node(client: Client, name: str, port: int) -> None:
    await client.create(kinds.NODE, Node.parse({"metadata": {"name": name}}))
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    await client.patch(kinds.NODE, None, name, {"status": status}, subresource="status")
