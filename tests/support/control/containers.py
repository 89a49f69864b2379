# ruff: noqa: ASYNC110, ASYNC240  tests wait for the world, and read its files
"""Sandboxes and containers of the built-in runtime, in one line each."""

import asyncio
from pathlib import Path

from control.runtime.base import ContainerConfig, Phase, PodRef, Runtime, SandboxConfig
from control.runtime.builtin import cgroups
from control.runtime.builtin.runtime import BuiltinRuntime
from control.runtime.images.store import ImageStore

POD = PodRef("default", "web", "uid-1")


class FakePodNetwork:
    """A Pod network that gives out one address and records its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def add(self, sandbox_id: str, config: SandboxConfig, netns: str) -> tuple[str, ...]:
        self.calls.append(f"add {Path(netns).exists()}")
        return ("10.1.2.3",)

    async def remove(self, sandbox_id: str, config: SandboxConfig, netns: str) -> None:
        self.calls.append("remove")


def make(folder: Path, images: ImageStore, groups: cgroups.Cgroups) -> BuiltinRuntime:
    return BuiltinRuntime(folder, images, FakePodNetwork(), groups)


def sandbox(folder: Path, **changes: object) -> SandboxConfig:
    values = {
        "pod": POD,
        "attempt": 0,
        "hostname": "web",
        "resolv_conf": "nameserver 10.96.0.10\n",
        "log_directory": str(folder / "logs"),
        **changes,
    }
    return SandboxConfig(**values)  # type: ignore[arg-type]


def config(*command: str, **changes: object) -> ContainerConfig:
    values = {
        "name": "main",
        "attempt": 0,
        "image": "podwire/tools",
        "command": command,
        "log_path": "main/0.log",
        **changes,
    }
    return ContainerConfig(**values)  # type: ignore[arg-type]


async def run(runtime: Runtime, folder: Path, *command: str, **changes: object) -> str:
    """Run a container in its own sandbox, and return its ID."""
    made = config(*command, **changes)
    box = await runtime.run_sandbox(sandbox(folder, privileged=made.rights.privileged))
    container = await runtime.create_container(box.id, made)
    await runtime.start_container(container)
    return container


def view(runtime: Runtime, container: str):
    return next(item for item in runtime.observe().containers if item.id == container)


async def ended(runtime: Runtime, container: str):
    while view(runtime, container).phase is not Phase.EXITED:
        await asyncio.sleep(0.01)
    return view(runtime, container)


def log(folder: Path) -> str:
    """Return the complete lines of the container's log."""
    *lines, _ = (folder / "logs/main/0.log").read_text().split("\n")
    return "\n".join(line.split(" ", 3)[3] for line in lines)


async def output(runtime: Runtime, folder: Path, *command: str, **changes: object) -> str:
    assert (await ended(runtime, await run(runtime, folder, *command, **changes))).exit_code == 0
    return log(folder)
