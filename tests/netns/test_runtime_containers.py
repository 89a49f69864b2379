"""The built-in runtime, with real namespaces: what a container sees, and how it ends."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from control.agent.builtin import cgroups, files, spawn
from control.agent.builtin.runtime import BuiltinRuntime
from control.agent.images import tools
from control.agent.images.store import ImageStore
from control.agent.runtime import (
    ContainerConfig,
    Mount,
    Phase,
    PodRef,
    Resources,
    Rights,
    RuntimeFailure,
    SandboxConfig,
)

POD = PodRef("default", "web", "uid-1")


class NoNetwork:
    """A Pod network that gives out one address and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def add(self, sandbox_id: str, config: SandboxConfig, netns: str) -> tuple[str, ...]:
        self.calls.append(f"add {Path(netns).exists()}")
        return ("10.1.2.3",)

    async def remove(self, sandbox_id: str, config: SandboxConfig, netns: str) -> None:
        self.calls.append("remove")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    store = ImageStore(tmp_path_factory.mktemp("images"))
    tools.make(store, Path("/bin/busybox"))
    return store


@pytest.fixture
def groups() -> Iterator[cgroups.Cgroups]:
    layout = cgroups.discover(
        Path("/proc/self/mountinfo").read_text(),
        Path("/proc/self/cgroup").read_text(),
        f"/podwire/test-{os.getpid()}",
    )
    yield cgroups.Cgroups(layout)
    asyncio.run(cgroups.Cgroups(layout).remove_all())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "agent"


@pytest.fixture
async def runtime(
    folder: Path, images: ImageStore, groups: cgroups.Cgroups
) -> AsyncIterator[BuiltinRuntime]:
    runtime = make(folder, images, groups)
    await runtime.open()
    yield runtime
    for sandbox in runtime.observe().sandboxes:
        await runtime.remove_sandbox(sandbox.id)
    runtime.close()


def make(folder: Path, images: ImageStore, groups: cgroups.Cgroups) -> BuiltinRuntime:
    return BuiltinRuntime(folder, images, NoNetwork(), groups)


def sandbox(folder: Path, **changes: object) -> SandboxConfig:
    values = {"pod": POD, "attempt": 0, "hostname": "web", "resolv_conf": "nameserver 10.96.0.10\n",
              "log_directory": str(folder / "logs"), **changes}  # fmt: skip
    return SandboxConfig(**values)  # type: ignore[arg-type]


def config(*command: str, **changes: object) -> ContainerConfig:
    values = {"name": "main", "attempt": 0, "image": "podwire/tools", "command": command,
              "log_path": "main/0.log", **changes}  # fmt: skip
    return ContainerConfig(**values)  # type: ignore[arg-type]


async def run(runtime: BuiltinRuntime, folder: Path, *command: str, **changes: object) -> str:
    """Run a container in a sandbox of its own; its ID."""
    box = await runtime.run_sandbox(sandbox(folder))
    container = await runtime.create_container(box.id, config(*command, **changes))
    await runtime.start_container(container)
    return container


def view(runtime: BuiltinRuntime, container: str):
    return next(item for item in runtime.observe().containers if item.id == container)


async def ended(runtime: BuiltinRuntime, container: str):
    while view(runtime, container).phase is not Phase.EXITED:
        await asyncio.sleep(0.01)
    return view(runtime, container)


def log(folder: Path) -> str:
    lines = (folder / "logs/main/0.log").read_text().splitlines()
    return "\n".join(line.split(" ", 3)[3] for line in lines)


async def output(runtime: BuiltinRuntime, folder: Path, *command: str, **changes: object) -> str:
    assert (await ended(runtime, await run(runtime, folder, *command, **changes))).exit_code == 0
    return log(folder)


async def test_a_container_sees_its_own_world(runtime, folder):
    script = "hostname; cat /etc/hosts /etc/resolv.conf; ls /proc | grep -c '^[0-9]'; echo $$; ls /"
    text = await output(runtime, folder, "sh", "-c", script)
    assert text.startswith("web\n")
    assert "10.1.2.3\tweb" in text and "nameserver 10.96.0.10" in text
    assert "\n1\n" in text
    assert "work" not in text
