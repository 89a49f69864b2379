# ruff: noqa: ASYNC110, ASYNC240  tests wait for the world, and read its files
"""What is special to a CRI runtime: its crash, its absence, its images, and what is left."""

import asyncio
import gzip
from pathlib import Path

import pytest

from control.agent.images.collection import CollectionPolicy, ImageCollector
from control.agent.images.pulled import PulledImages
from control.agent.rotation import LogRotation
from control.runtime.base import (
    ContainerRuntimeError,
    Credentials,
    DiskSpace,
    LogLimits,
    Phase,
    Resources,
    Rights,
)
from control.runtime.cri.runtime import CriRuntime
from tests.support.control.archives import member, tar
from tests.support.control.containerd import OFTEN, PAUSE, Containerd, one_address
from tests.support.control.containers import config, ended, output, run, sandbox, view
from tests.support.control.layouts import blob_of, write_index
from tests.support.control.registry import HERE, PASSWORD, USER, free_port, registry

MASKED = "ls /sys/firmware | wc -l; touch /proc/sys/kernel/domainname 2>/dev/null"


@pytest.fixture(params=["containerd"])
def maker(containerd, groups):
    if containerd.process.poll() is not None:
        containerd.start()  # a test that has failed left it dead
    return lambda folder: CriRuntime(containerd.endpoint, folder, groups, OFTEN)


async def test_the_runtime_says_who_it_is(runtime):
    assert runtime.name == "containerd" and runtime.version.startswith("1.6.")
    assert await runtime.problem() == ""


async def test_containers_survive_a_crash_of_the_runtime(runtime, folder, containerd):
    container = await run(runtime, folder, "sh", "-c", 'trap "exit 7" TERM; sleep 60 & wait')
    before = view(runtime, container)
    said: list[None] = []
    runtime.on_health(lambda: said.append(None))
    containerd.kill()
    with pytest.raises(
        ContainerRuntimeError, match=r"container runtime at \S+/containerd.sock: ExecSync: "
    ):
        await runtime.execute(container, ("true",), 5)
    assert "container runtime is down: " in await runtime.problem()
    while not said:
        await asyncio.sleep(0.05)
    assert view(runtime, container) == before
    await asyncio.to_thread(containerd.start)
    while len(said) < 2:
        await asyncio.sleep(0.05)
    assert view(runtime, container) == before
    assert (await runtime.execute(container, ("echo", "on"), 20)).output == b"on\n"
    await runtime.stop_container(container, 20)
    assert view(runtime, container).exit_code == 7


async def test_an_end_while_neither_ran_is_known(runtime, folder, containerd, restart):
    container = await run(runtime, folder, "sh", "-c", "until [ -f /go ]; do sleep 0.1; done")
    await runtime.execute(container, ("sh", "-c", "sleep 1; touch /go &"), 20)
    runtime.close()
    containerd.kill()
    await asyncio.to_thread(containerd.start)
    second = await restart()
    assert (await ended(second, container)).exit_code == 0


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A registry that asks for a password, where containerd is, with an image."""
    folder = tmp_path_factory.mktemp("registry")
    with registry(HERE, folder, free_port(), users=True) as found:
        layer = tar(member("bin/x", b"program", mode=0o755))
        blobs = write_index(folder / "app", blob_of(folder / "app", layer))
        found.push(f"oci:{blobs}", "app:1")
        yield found


async def test_a_registry_with_users(runtime, folder, guarded):
    box, name = await runtime.run_sandbox(sandbox(folder)), f"{guarded.host}/app:1"
    for nobody in (None, Credentials("ann", "wrong")):
        with pytest.raises(ContainerRuntimeError, match=r"401 Unauthorized|no basic auth"):
            await runtime.pull_image(name, box.id, nobody)
    assert await runtime.image(name) is None
    pulled = await runtime.pull_image(name, box.id, Credentials(USER, PASSWORD))
    assert name in pulled.names and pulled.size > 0
    assert await runtime.image(name) == pulled
    container = await runtime.create_container(box.id, config("/bin/x", image=name))
    assert view(runtime, container).image == name


async def test_unused_images_go_when_the_disk_is_full(runtime, folder, guarded, tmp_path):
    pulled, now, events = PulledImages(tmp_path / "pulls.json"), [1000.0], []
    box, who = await runtime.run_sandbox(sandbox(folder)), Credentials(USER, PASSWORD)
    image = await runtime.pull_image(f"{guarded.host}/app:1", box.id, who)
    runtime.image_disk = is_full
    collector = ImageCollector(
        runtime,
        CollectionPolicy(),
        pulled,
        lambda reason, _text: events.append(reason),
        lambda: now[0],
    )
    await run_again(runtime, box.id)
    used = await runtime.image("docker.io/podwire/tools:latest")
    await collector.once()
    assert image in await runtime.images()  # it is too new
    now[0] += 121
    await collector.once()
    left = await runtime.images()
    assert image not in left
    assert used.id in [it.id for it in left]
    assert [it.pinned for it in left if PAUSE in it.names] == [True]
    assert "FreeDiskSpaceFailed" in events


async def is_full() -> DiskSpace:
    return DiskSpace(1 << 40, 1)


async def run_again(runtime, box: str) -> None:
    """Run a container in a sandbox that is there."""
    await runtime.start_container(await runtime.create_container(box, config("sleep", "60")))


async def test_what_the_kernel_says_of_the_node_is_masked(runtime, folder):
    assert await output(runtime, folder, "sh", "-c", f"{MASKED} || echo refused") == "0\nrefused"


@pytest.mark.parametrize(
    ("rights", "why"),
    [
        (Rights(non_root=True), "image will run as root"),
        (Rights(non_root=True, user=0), "runAsUser breaks non-root policy"),
    ],
)
async def test_a_root_that_is_not_allowed(runtime, folder, rights, why):
    box = await runtime.run_sandbox(sandbox(folder))
    with pytest.raises(ContainerRuntimeError, match=why) as err:
        await runtime.create_container(box.id, config("true", rights=rights))
    assert err.value.reason == "CreateContainerConfigError"


async def test_resources_and_their_change(runtime, folder):
    limits = Resources(cpu_request=100, memory_limit=64 << 20)
    container = await run(runtime, folder, "sleep", "60", resources=limits)
    assert view(runtime, container).resources == limits
    more = Resources(cpu_request=200, memory_limit=96 << 20)
    await runtime.update_container(container, more)
    assert view(runtime, container).resources == more
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    found = await runtime.execute(container, ("sh", "-c", script), 20)
    assert str(96 << 20).encode() in found.output
    box = view(runtime, container).sandbox_id
    used = await runtime.memory_use(box)
    assert used.containers[container] > 0
    assert (await runtime.usage()).containers[container].memory > 0


async def test_a_container_joins_the_processes_of_another(runtime, folder):
    target = await run(runtime, folder, "sleep", "1234")
    box = view(runtime, target).sandbox_id
    debug = config("sh", "-c", "ps", name="debug", target="main", log_path="debug/0.log")
    container = await runtime.create_container(box, debug)
    await runtime.start_container(container)
    await ended(runtime, container)
    assert "sleep 1234" in (folder / "logs/debug/0.log").read_text()


async def test_a_log_is_rotated_without_a_lost_line(runtime, folder):
    script = "n=0; while [ ! -f /stop ]; do echo $((n += 1)); sleep 0.002; done"
    container = await run(runtime, folder, "sh", "-c", script)
    log, times = folder / "logs/main/0.log", iter(range(1_000_000, 2_000_000))
    rotation = LogRotation(runtime, LogLimits(400, 4), lambda: float(next(times)))
    for count in range(1, 4):
        while log.stat().st_size < 400:
            await asyncio.sleep(0.01)
        await rotation.once()
        assert len(list(log.parent.iterdir())) == count + 1
    await runtime.execute(container, ("touch", "/stop"), 20)
    await ended(runtime, container)
    first, second, third, last = sorted(log.parent.iterdir(), key=lambda it: (it == log, it.name))
    assert [it.suffix for it in (first, second)] == [".gz", ".gz"] and last == log
    text = b"".join(gzip.decompress(it.read_bytes()) for it in (first, second))
    lines = (text + third.read_bytes() + log.read_bytes()).decode().splitlines()
    assert [int(line.split(" ")[3]) for line in lines] == [*range(1, len(lines) + 1)]


async def test_attach_takes_input_and_gives_output(runtime, folder):
    container = await run(runtime, folder, "cat", stdin=True)
    stream = await runtime.open_attach(container, stdin=True)
    await stream.write(b"hello\n")
    assert await stream.read_output() == b"hello\n"
    await stream.close_input()
    await stream.close()
    assert view(runtime, container).phase is Phase.RUNNING  # as stdinOnce is not set


async def test_a_command_that_cannot_start_says_why(runtime, folder):
    container = await run(runtime, folder, "sleep", "60")
    stream = await runtime.open_exec(container, ("nonsense",), stdin=False, terminal=False)
    with pytest.raises(ContainerRuntimeError, match="executable file not found"):
        await stream.wait()
    await stream.close()


async def test_the_network_namespace_is_known(runtime, folder):
    container = await run(runtime, folder, "sleep", "60")
    path = await runtime.network_namespace(view(runtime, container).sandbox_id)
    assert Path(path).exists()


async def test_removal_leaves_nothing_and_can_be_repeated(runtime, folder, groups):
    container = await run(runtime, folder, "sleep", "60")
    mounts = Path("/proc/self/mountinfo").read_text()
    box = view(runtime, container).sandbox_id
    assert groups.pods() == {"uid-1"}
    for _ in range(2):
        await runtime.stop_sandbox(box)
        await runtime.remove_sandbox(box)
        await runtime.remove_container(container)
    assert runtime.observe().sandboxes == runtime.observe().containers == ()
    assert groups.pods() == frozenset()
    assert box not in Path("/proc/self/mountinfo").read_text()
    assert len(Path("/proc/self/mountinfo").read_text()) < len(mounts)
    assert list((folder / "sandboxes").iterdir()) == []


async def test_a_sandbox_that_was_not_finished_is_not_ready(runtime, folder, restart):
    box = await runtime.run_sandbox(sandbox(folder))
    (folder / "sandboxes" / box.id / "config.pb").unlink()
    second = await restart()
    assert [it.ready for it in second.observe().sandboxes] == [False]
    await second.remove_sandbox(box.id)


async def test_a_sandbox_is_whole_with_its_hosts(runtime, folder, restart):
    making = asyncio.create_task(runtime.run_sandbox(sandbox(folder)))
    while not list(folder.glob("sandboxes/*/config.pb")):
        await asyncio.sleep(0)
    making.cancel()  # as if the agent were killed now
    await asyncio.gather(making, return_exceptions=True)
    second = await restart()
    (box,) = second.observe().sandboxes
    assert box.ready
    assert "10.1.2.3" in (folder / "sandboxes" / box.id / "hosts").read_text()


async def test_no_socket(folder, groups):
    runtime = CriRuntime("unix:///run/absent.sock", folder, groups)
    with pytest.raises(ContainerRuntimeError, match=r"/run/absent.sock: .*: no such socket"):
        await runtime.open()
    runtime.close()


async def test_a_runtime_without_cri(tmp_path, folder, groups):
    made = Containerd(
        tmp_path, *one_address(tmp_path, "10.1.2.3"), without="io.containerd.grpc.v1.cri"
    )
    await asyncio.to_thread(made.start)
    runtime = CriRuntime(made.endpoint, folder, groups)
    try:
        with pytest.raises(ContainerRuntimeError, match="disabled_plugins"):
            await runtime.open()
    finally:
        runtime.close()
        made.kill()


async def test_a_sandbox_without_a_network(runtime, folder, containerd):
    plugin = containerd.root / "bin/one"
    text = plugin.read_text()
    plugin.write_text('#!/bin/sh\necho \'{"code": 11, "msg": "no address is free"}\'; exit 1\n')
    try:
        with pytest.raises(ContainerRuntimeError, match="no address is free") as err:
            await runtime.run_sandbox(sandbox(folder))
        assert err.value.reason == "CreatePodSandboxError"
    finally:
        plugin.write_text(text)
    assert (await runtime.run_sandbox(sandbox(folder, attempt=1))).addresses == ("10.1.2.3",)
