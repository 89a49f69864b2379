"""Each runtime in turn, behind the protocol that the agent uses."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from control.linux import files, syscalls
from control.runtime.base import Runtime
from control.runtime.builtin import cgroups
from control.runtime.cri.runtime import CriRuntime
from control.runtime.hollow import HollowRuntime
from control.runtime.images.names import normalize
from control.runtime.images.store import ImageStore
from tests.support.control.containerd import OFTEN, Containerd, archives, one_address, running
from tests.support.control.containers import make

Maker = Callable[[Path], Runtime]
ADDRESS = "10.1.2.3"  # of every Pod; also in tests.support.control.containers


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    root = tmp_path_factory.mktemp("containerd")
    made = Containerd(root, *one_address(root, ADDRESS))
    with running(made, *archives(root)):
        yield made
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if str(root) in line.split()[4]:
            syscalls.unmount(line.split()[4])


def hollow(_: Path) -> HollowRuntime:
    return HollowRuntime(lambda: ("10.1.2.0/24",), normalize)


@pytest.fixture(params=["builtin", "containerd"])
def maker(request: pytest.FixtureRequest, images: ImageStore, groups: cgroups.Cgroups) -> Maker:
    """Makes the runtime of an agent whose folder is given."""
    if request.param == "hollow":
        return hollow
    if request.param == "builtin":
        return lambda folder: make(folder, images, groups)
    made: Containerd = request.getfixturevalue("containerd")
    return lambda folder: CriRuntime(made.endpoint, folder, groups, OFTEN)


@pytest.fixture
async def runtimes(folder: Path, maker: Maker) -> AsyncIterator[list[Runtime]]:
    """The runtimes of successive agents; only the last one is alive."""
    runtimes = [maker(folder)]
    try:
        await runtimes[0].open()
        if isinstance(runtimes[0], HollowRuntime):
            await runtimes[0].pull_image("podwire/tools", "", None)  # the others were made with it
        yield runtimes
        for sandbox in runtimes[-1].observe().sandboxes:
            await runtimes[-1].remove_sandbox(sandbox.id)
    finally:
        runtimes[-1].close()


@pytest.fixture
def restart(runtimes: list[Runtime], folder: Path, maker: Maker):
    """Start the runtime of a new agent after the old agent was killed."""

    async def again() -> Runtime:
        runtimes[-1].close()
        runtimes.append(maker(folder))
        await runtimes[-1].open()
        return runtimes[-1]

    return again


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A folder whose mounts are seen elsewhere, as those of a node that systemd has booted."""
    folder = tmp_path / "volume"
    folder.mkdir()
    syscalls.mount("volume", folder, "tmpfs", 0)
    syscalls.mount(None, folder, None, syscalls.MS_SHARED)
    yield folder
    for inner in folder.iterdir():
        files.unmount(inner)
    files.unmount(folder)
