"""An agent as a process, with its Pods in the API."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest

from control.api import kinds
from control.api.pod import Pod
from control.client import ApiError, Client
from control.runtime.builtin import spawn
from tests.support.control.cluster import until
from tests.support.parts import program

BIN = Path(__file__).parents[3] / "bin"


class Node:
    """One node: the agent's process, and its Pods in the API."""

    def __init__(
        self, root: Path, images: Path, url: str, client: Client, cgroup: str, *flags: str
    ) -> None:
        self.flags = flags
        self.root, self.images, self.client, self.cgroup = root, images, client, cgroup
        self.process: subprocess.Popen[bytes] | None = None
        kubeconfig = root / "kubeconfig"
        kubeconfig.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\n"
            f"clusters: [{{name: x, cluster: {{server: '{url}'}}}}]\n"
            "users: [{name: x, user: {}}]\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n"
        )

    def command(self, *more: str) -> list[str]:
        return [
            *program("agent"),
            f"--kubeconfig={self.root}/kubeconfig",
            "--node-name=n1",
            "--node-ip=127.0.0.1",
            f"--root-dir={self.root}/agent",
            f"--image-dir={self.images}",
            f"--cni-conf-dir={self.root}/net.d",
            f"--cni-bin-dir={BIN}",
            f"--cni-cache-dir={self.root}/cni",
            f"--cgroup-root={self.cgroup}",
            "--eviction-hard=",  # how full the disk of this machine is decides nothing
            *self.flags,
            *more,
        ]

    def start(self) -> None:
        with (self.root / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def condition(self) -> tuple[str, str]:
        """Return the status and the message of the node's condition Ready."""
        found = await self.client.get(kinds.NODE, None, "n1")
        ready = [it for it in found.status.conditions if it.type == "Ready"]
        return (ready[0].status, ready[0].message or "") if ready else ("", "")

    async def is_ready(self) -> bool:
        """True if the node has a runtime and a network."""
        return (await self.condition())[0] == "True"

    async def create(self, name: str, container: dict, **spec) -> Pod:
        main = {"name": "main", "image": "podwire/tools", "imagePullPolicy": "IfNotPresent"}
        wire = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "nodeName": "n1",
                "terminationGracePeriodSeconds": 1,
                "containers": [{**main, **container}],
                **spec,
            },
        }
        return await self.client.create(kinds.POD, Pod.parse(wire))

    async def get(self, name: str) -> Pod | None:
        try:
            return await self.client.get(kinds.POD, "default", name)
        except ApiError as err:
            assert err.not_found
            return None

    async def ready(self, name: str) -> Pod:
        try:
            await until(lambda: self._is_ready(name))
        except AssertionError:
            pytest.fail(f"{name} is not ready: {await self.get(name)}\n{self.log()}")
        found = await self.get(name)
        assert found is not None
        return found

    async def _is_ready(self, name: str) -> bool:
        pod = await self.get(name)
        return pod is not None and any(
            it.type == "Ready" and it.status == "True" for it in pod.status.conditions
        )

    async def gone(self, name: str) -> None:
        await until(lambda: self._is_gone(name), f"{name} gone\n{self.log()}")

    async def _is_gone(self, name: str) -> bool:
        return await self.get(name) is None

    async def delete(self, name: str) -> None:
        await self.client.delete(kinds.POD, "default", name)

    def log(self) -> str:
        return (self.root / "agent.log").read_text()[-3000:]

    def remains(self) -> dict[str, list[str]]:
        """Return the remains of Pods."""
        folders = [*(self.root / "agent").glob("*/*"), *Path("/var/log/pods").glob("*")]
        folders += [*Path("/run/netns").glob("cni-*"), *(self.root / "cni/results").glob("*")]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return {
            "files": [str(path) for path in folders],
            "shims": list(spawn.find_shims()),
            "mounts": [line for line in mounts if str(self.root / "agent") in line],
            "cgroups": [str(it) for it in Path("/sys/fs/cgroup").glob(f"*/{self.cgroup}/pods/*")],
        }


NOTHING = {"files": [], "shims": [], "mounts": [], "cgroups": []}

SERVE = {"readinessProbe": {"httpGet": {"path": "/", "port": 8080}}}


async def has_cidr(client: Client) -> bool:
    """Give the node its range, in the controllers' place."""
    try:
        patch = {"spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}}
        await client.patch(kinds.NODE, None, "n1", patch)
    except ApiError as err:
        assert err.not_found
        return False
    return True


async def stopped_with_the_machine(node: Node, extra: dict[str, Any]) -> None:
    """Stop a Pod's container as ``podwire-pods.service`` does; the next agent begins it again."""
    deaf = {"command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]}
    await node.create("deaf", extra | deaf)
    before = await node.ready("deaf")
    node.kill()
    argv = node.command("--stop-containers=0.1")
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    node.start()

    async def again() -> bool:
        pod = await node.get("deaf")
        states = pod.status.container_statuses if pod else []
        return any(it.restart_count == 1 and it.ready for it in states)

    await until(again, f"a container again\n{node.log()}")
    after = await node.get("deaf")
    assert after.metadata.uid == before.metadata.uid
