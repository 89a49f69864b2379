# ruff: noqa: ASYNC110, ASYNC240  tests wait for the world, and read its files
"""The built-in runtime with real namespaces: a container's view, its privileges, its end."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from control.linux import files, processes, syscalls
from control.runtime.base import (
    ContainerRuntimeError,
)
from control.runtime.builtin import spawn
from tests.support.control.containers import (
    config,
    ended,
    make,
    output,
    run,
    sandbox,
    view,
)


async def test_a_command_that_dies_with_its_container_was_killed(runtime, folder):
    """The end of a container kills also the process that waits for the command."""
    container = await run(runtime, folder, "sleep", "60")
    stream = await runtime.open_exec(container, ("cat",), stdin=True, terminal=False)
    os.kill(stream._process.pid, signal.SIGKILL)
    assert await stream.wait() == 137
    await stream.close()


async def test_a_line_without_an_end_is_whole(runtime, folder):
    assert await output(runtime, folder, "printf", "end") == "end"
    assert " stdout F end" in (folder / "logs/main/0.log").read_text()


async def test_a_shared_process_namespace_leads_to_no_files(runtime, folder):
    box = await runtime.run_sandbox(sandbox(folder, share_processes=True))
    container = await runtime.create_container(box.id, config("sh", "-c", "sleep 60"))
    await runtime.start_container(container)
    escape = await runtime.execute(container, ("ls", "/proc/1/root/"), 20)
    assert escape.exit_code != 0 or escape.output == b""


async def test_a_killed_shim_takes_its_container_along(runtime, folder):
    container = await run(runtime, folder, "sleep", "60")
    pid = runtime._containers[container].pid
    os.kill(spawn.find_shims()[str(folder / "containers" / container)], signal.SIGKILL)
    done = await ended(runtime, container)
    assert (done.exit_code, done.reason) == (137, "ContainerStatusUnknown")
    while processes.start_ticks(pid) is not None:
        await asyncio.sleep(0.01)


async def test_a_new_agent_adopts_a_shared_process_namespace(runtime, folder, restart):
    await runtime.run_sandbox(sandbox(folder, share_processes=True))
    second = await restart()
    assert second.observe().sandboxes[0].ready
    box = second.observe().sandboxes[0].id
    os.kill(spawn.find_shims()[str(folder / "sandboxes" / box / "pause")], signal.SIGKILL)
    while second.observe().sandboxes[0].ready:
        await asyncio.sleep(0.01)


async def test_an_end_while_no_agent_ran_is_known(runtime, folder, restart):
    container = await run(runtime, folder, "sh", "-c", "sleep 0.2; exit 9")
    runtime.close()
    while not (folder / "containers" / container / "exit.json").exists():
        await asyncio.sleep(0.01)
    assert view(await restart(), container).exit_code == 9


async def test_a_shim_that_died_while_no_agent_ran(runtime, folder, restart):
    container = await run(runtime, folder, "sleep", "60")
    runtime.close()
    pid = spawn.find_shims()[str(folder / "containers" / container)]
    os.kill(pid, signal.SIGKILL)
    while processes.start_ticks(pid) is not None:
        await asyncio.sleep(0.01)
    assert view(await restart(), container).reason == "ContainerStatusUnknown"


@pytest.mark.parametrize("name", ["config.json", "spec.json", "started.json"])
async def test_torn_checkpoints_cost_the_container_not_the_agent(runtime, folder, restart, name):
    container = await run(runtime, folder, "sleep", "60")
    runtime.close()
    (folder / "containers" / container / name).write_text('{"half')
    second = await restart()
    for box in second.observe().sandboxes:
        await second.remove_sandbox(box.id)
    assert not spawn.find_shims()


async def test_removal_leaves_nothing_and_can_be_repeated(runtime, folder, groups):
    mounts = Path("/proc/self/mountinfo").read_text()
    container = await run(runtime, folder, "sleep", "60")
    box = runtime.observe().sandboxes[0].id
    assert groups.pods() == {"uid-1"}
    for _ in range(2):
        await runtime.remove_container(container)
        await runtime.stop_sandbox(box)
        await runtime.remove_sandbox(box)
    assert runtime.observe().sandboxes == runtime.observe().containers == ()
    assert groups.pods() == frozenset()
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert not runtime._boxes.netns(box).exists()
    assert list((folder / "containers").iterdir()) == list((folder / "sandboxes").iterdir()) == []


async def test_a_full_disk_is_an_error_and_leaves_nothing(images, groups, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    syscalls.mount("small", str(small), "tmpfs", 0, "size=64k")
    runtime = make(small, images, groups)
    try:
        await runtime.open()
        (small / "ballast").write_bytes(b"x" * 61440)
        with pytest.raises(ContainerRuntimeError, match="No space left"):
            await runtime.run_sandbox(sandbox(small))
        assert runtime.observe().sandboxes == ()
        assert list((small / "sandboxes").iterdir()) == []
    finally:
        runtime.close()
        files.unmount(small)
