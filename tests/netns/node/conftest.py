"""The built-in runtime for tests, and runtimes of later agents that adopt its containers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from control.runtime.builtin import cgroups
from control.runtime.builtin.runtime import BuiltinRuntime
from control.runtime.images import tools
from control.runtime.images.store import ImageStore
from tests.support.control.api_server import api_server
from tests.support.control.containers import make
from tests.support.groups import owned

__all__ = ["api_server"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    store = ImageStore(tmp_path_factory.mktemp("images"))
    tools.make(store, Path("/bin/busybox"))
    return store


@pytest.fixture
def groups() -> Iterator[cgroups.Cgroups]:
    mounts, own = (Path("/proc/self", name).read_text() for name in ("mountinfo", "cgroup"))
    with owned("runtime") as root:
        layout = cgroups.discover(mounts, own, root)
        yield cgroups.Cgroups(layout)
        asyncio.run(cgroups.Cgroups(layout).remove_all())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "agent"


@pytest.fixture
async def runtimes(
    folder: Path, images: ImageStore, groups: cgroups.Cgroups
) -> AsyncIterator[list[BuiltinRuntime]]:
    """The runtimes of successive agents; only the last one is alive."""
    runtimes = [make(folder, images, groups)]
    await runtimes[0].open()
    yield runtimes
    for sandbox in runtimes[-1].observe().sandboxes:
        await runtimes[-1].remove_sandbox(sandbox.id)
    runtimes[-1].close()


@pytest.fixture
def runtime(runtimes: list[BuiltinRuntime]) -> BuiltinRuntime:
    return runtimes[0]


@pytest.fixture
def restart(runtimes, folder, images, groups):
    """Start the runtime of a new agent after the old agent was killed."""

    async def again() -> BuiltinRuntime:
        runtimes[-1].close()
        runtimes.append(make(folder, images, groups))
        await runtimes[-1].open()
        return runtimes[-1]

    return again
