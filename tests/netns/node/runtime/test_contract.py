# ruff: noqa: ASYNC110  tests wait for the world, and read its files
"""What every runtime does behind the agent's protocol: one table for all of them.

A container's view, its privileges, its output, its end; and what a new agent finds.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from control.linux import files, syscalls
from control.runtime.base import (
    ContainerRuntimeError,
    Mount,
    Phase,
    Resources,
    Rights,
)
from control.runtime.cri.runtime import CriRuntime
from tests.support.control.containers import (
    config,
    ended,
    log,
    output,
    run,
    sandbox,
    view,
)


async def test_a_container_sees_only_its_namespaces(runtime, folder):
    script = "hostname; cat /etc/hosts /etc/resolv.conf; ls /proc | grep -c '^[0-9]'; echo $$; ls /"
    text = await output(runtime, folder, "sh", "-c", script)
    assert text.startswith("web\n")
    assert "10.1.2.3\tweb" in text and "nameserver 10.96.0.10" in text
    assert "\n1\n" in text
    assert "work" not in text


async def test_a_process_may_handle_the_stop_signal(runtime, folder):
    script = 'trap "echo bye; exit 7" TERM; echo up; sleep 60 & wait'
    container = await run(runtime, folder, "sh", "-c", script)
    while not (folder / "logs/main/0.log").exists() or "up" not in log(folder):
        await asyncio.sleep(0.01)
    await runtime.stop_container(container, 20)
    assert view(runtime, container).exit_code == 7
    assert log(folder) == "up\nbye"


async def test_a_process_that_ignores_the_signal_is_killed_after_its_grace(runtime, folder):
    container = await run(runtime, folder, "sh", "-c", 'trap "" TERM; while :; do sleep 1; done')
    await runtime.stop_container(container, 0.2)
    done = view(runtime, container)
    assert (done.exit_code, done.reason) == (137, "Error")
    await runtime.stop_container(container, 0.2)


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        (("true",), 0, "Completed"),
        (("sh", "-c", "exit 3"), 3, "Error"),
        (("sh", "-c", "kill -SEGV $$"), 0, "Completed"),  # process 1 ignores its own signals
    ],
)
async def test_exit_codes(runtime, folder, command, code, reason):
    done = await ended(runtime, await run(runtime, folder, *command))
    assert (done.exit_code, done.reason) == (code, reason)
    assert done.started <= done.finished


async def test_a_missing_command_says_so(runtime, folder):
    box = await runtime.run_sandbox(sandbox(folder))
    container = await runtime.create_container(box.id, config("nonsense"))
    with pytest.raises(
        ContainerRuntimeError, match=r'"nonsense": executable file not found in \$PATH'
    ):
        await runtime.start_container(container)
    done = view(runtime, container)
    assert (done.phase, done.exit_code, done.reason) == (Phase.EXITED, 128, "StartError")


async def test_the_image_gives_the_defaults(runtime, folder):
    container = await run(runtime, folder)  # the command of podwire/tools: serve
    assert view(runtime, container).phase is Phase.RUNNING
    result = await runtime.execute(container, ("cat", "/proc/1/cmdline"), 20)
    assert result.output == b"/bin/sh\0/bin/serve\0"


async def test_an_absent_image_cannot_be_pulled(runtime, folder):
    box = await runtime.run_sandbox(sandbox(folder))
    with pytest.raises(ContainerRuntimeError, match=r"connection refused|pulls from no registry"):
        await runtime.pull_image("127.0.0.1:1/absent:1", box.id, None)
    with pytest.raises(ContainerRuntimeError):
        await runtime.create_container(box.id, config("true", image="127.0.0.1:1/absent:1"))


async def test_a_container_has_few_rights(runtime, folder):
    script = (
        "grep CapBnd /proc/1/status; mount -t tmpfs x /mnt 2>/dev/null; echo $?; ls /sys/firmware"
    )
    text = await output(runtime, folder, "sh", "-c", script)
    assert (
        text.splitlines()[0].split()[1] == "00000000a80425fb"
    )  # the default of containerd and Docker
    assert text.splitlines()[1] != "0"
    assert len(text.splitlines()) == 2


async def test_a_user_without_rights(runtime, folder):
    rights = Rights(user=1000, group=2000, groups=(3000,), no_new_privileges=True)
    script = (
        "id -u; id -g; id -G; grep -E 'CapEff|NoNewPrivs' /proc/self/status; "
        "touch /x 2>/dev/null || echo refused"
    )
    text = await output(runtime, folder, "sh", "-c", script, rights=rights)
    assert text.splitlines() == [
        "1000",
        "2000",
        "2000 3000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "refused",
    ]


async def test_a_privileged_container_has_all_rights(runtime, folder):
    script = "mount -t tmpfs x /mnt && echo mounted; ls /dev/kmsg"
    text = await output(runtime, folder, "sh", "-c", script, rights=Rights(privileged=True))
    assert text.splitlines()[0] == "mounted"


async def test_a_read_only_root(runtime, folder):
    script = "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo shm"
    rights = Rights(read_only_root=True)
    assert await output(runtime, folder, "sh", "-c", script, rights=rights) == "refused\nshm"


async def test_mounts_and_sub_paths(runtime, folder, tmp_path):
    volume = tmp_path / "volume"
    (volume / "in").mkdir(parents=True)
    (volume / "in/file").write_text("inside\n")
    (volume / "out").symlink_to("/etc")
    mounts = (
        Mount(str(volume), "/data", read_only=True),
        Mount(str(volume), "/sub", sub_path="in"),
        Mount(str(volume), "/one", sub_path="in/file"),
        Mount(str(volume), "/made/deep", sub_path="fresh/folder"),
    )
    script = (
        "cat /sub/file /one; touch /data/x 2>/dev/null || echo ro; "
        "touch /made/deep/y; ls /made/deep"
    )
    text = await output(runtime, folder, "sh", "-c", script, mounts=mounts)
    assert text.splitlines() == ["inside", "inside", "ro", "y"]
    assert (volume / "fresh/folder/y").exists()


@pytest.mark.parametrize("way", ["", "HostToContainer", "Bidirectional"])
async def test_later_mounts_are_seen_as_asked(runtime, folder, shared, way):
    mount, rights = Mount(str(shared), "/data", propagation=way), Rights(privileged=True)
    if way == "Bidirectional" and runtime.name == "podwire":
        with pytest.raises(ContainerRuntimeError, match="needs a CRI runtime"):
            await run(runtime, folder, "sleep", "60", mounts=(mount,), rights=rights)
        return
    container = await run(runtime, folder, "sleep", "60", mounts=(mount,), rights=rights)
    (shared / "out").mkdir()
    syscalls.mount("out", shared / "out", "tmpfs", 0)
    (shared / "out/file").write_text("later")
    script = "cat /data/out/file; mkdir /data/in && mount -t tmpfs x /data/in"
    found = await runtime.execute(container, ("sh", "-c", script), 20)
    assert (b"later" in found.output) is bool(way)
    assert files.is_mounted(shared / "in") is (way == "Bidirectional")


async def test_a_sub_path_that_leads_out_of_its_volume_is_refused(runtime, folder, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "out").symlink_to("/etc")
    box = await runtime.run_sandbox(sandbox(folder))
    mount = Mount(str(volume), "/sub", sub_path="out")
    with pytest.raises(ContainerRuntimeError, match="subPath 'out' leads out of its volume"):
        container = await runtime.create_container(box.id, config("true", mounts=(mount,)))
        await runtime.start_container(container)


async def test_long_lines_and_both_streams_are_logged(runtime, folder):
    script = "head -c 40000 /dev/zero | tr '\\0' a; echo; echo oops >&2; echo end"
    await ended(runtime, await run(runtime, folder, "sh", "-c", script))
    raw = (folder / "logs/main/0.log").read_text().splitlines()
    tags = [tuple(line.split(" ", 3)[1:3]) for line in raw]
    assert sorted(tags) == sorted([("stdout", "P")] * 2 + [("stdout", "F")] * 2 + [("stderr", "F")])
    assert sum(line.count("a") for line in raw if " stdout " in line) == 40000


async def test_containers_share_the_sandbox(runtime, folder):
    box = await runtime.run_sandbox(sandbox(folder))
    for number, script in enumerate(("echo x >/dev/shm/f; sleep 60", "sleep 60")):
        item = config("sh", "-c", script, name=f"c{number}", log_path=f"c{number}/0.log")
        await runtime.start_container(await runtime.create_container(box.id, item))
    other = runtime.observe().containers[1].id
    wait = ("sh", "-c", "until [ -s /dev/shm/f ]; do sleep 0.01; done; cat /dev/shm/f")
    assert (await runtime.execute(other, wait, 20)).output == b"x\n"
    assert (await runtime.execute(other, ("ls", "/proc/2"), 20)).exit_code != 0


async def test_a_shared_process_namespace(runtime, folder):
    box = await runtime.run_sandbox(sandbox(folder, share_processes=True))
    container = await runtime.create_container(box.id, config("sh", "-c", "sleep 60"))
    await runtime.start_container(container)
    result = await runtime.execute(container, ("sh", "-c", "echo $$; ps | grep -c sleep"), 20)
    assert int(result.output.split()[0]) > 1
    await runtime.stop_container(container, 0)
    assert view(runtime, container).exit_code == 137


async def test_exec_gets_input_and_reports_the_code(runtime, folder):
    container = await run(runtime, folder, "sleep", "60")
    stream = await runtime.open_exec(
        container, ("sh", "-c", "cat; exit 4"), stdin=True, terminal=False
    )
    await stream.write(b"hello")
    await stream.close_input()
    assert await stream.read_output() == b"hello"
    assert await stream.wait() == 4
    await stream.close()


async def test_exec_on_a_terminal(runtime, folder):
    container = await run(runtime, folder, "sleep", "60")
    # Size and input come by ways of their own, so either may be the first.
    script = "read go; until stty size | grep 0; do sleep 0.01; done; test -t 1; exit $((5 + $?))"
    stream = await runtime.open_exec(container, ("sh", "-c", script), stdin=True, terminal=True)
    stream.resize(100, 30)
    await stream.write(b"go\n")
    text = b""
    while piece := await stream.read_output():
        text += piece
    assert await stream.wait() == 5
    await stream.close()
    assert b"30 100" in text


async def test_a_command_that_hangs_is_killed(runtime, folder):
    container = await run(runtime, folder, "sleep", "60")
    # Long enough for a busy machine to start the command; the test always takes this time.
    result = await runtime.execute(container, ("sh", "-c", "echo begun; sleep 50"), 2)
    assert result.timed_out and result.output in (b"begun\n", b"")  # CRI has none then
    left = await runtime.execute(container, ("sh", "-c", "ps | grep -c '[s]leep 50'"), 20)
    assert left.output.strip() == b"0"


async def test_a_new_agent_adopts_running_containers(runtime, folder, restart):
    container = await run(runtime, folder, "sh", "-c", "sleep 0.3; echo later; sleep 60")
    before = runtime.observe()
    second = await restart()
    assert second.observe() == before
    while "later" not in log(folder):
        await asyncio.sleep(0.01)
    assert (await second.execute(container, ("echo", "ok"), 20)).output == b"ok\n"
    await second.stop_container(container, 0)
    assert view(second, container).exit_code == 137


GREEDY = """
dd if=/dev/zero of=/dev/shm/big bs=1M count=40
code=$?
: > /dev/shm/big
[ $code -eq 0 ] || until [ -f /noticed ]; do sleep 0.05; done
exit $code
"""


async def test_memory_beyond_the_limit_is_reported(runtime, folder):
    limits = Resources(memory_limit=16 * 1024 * 1024)
    container = await run(runtime, folder, "sh", "-c", GREEDY, resources=limits)
    await noticed(runtime, container)
    await touched(runtime, container, "/noticed")
    done = await ended(runtime, container)
    if done.exit_code == 0:
        pytest.skip("no memory controller for cgroups here")
    assert done.reason == "OOMKilled"


async def test_only_the_command_itself_is_in_its_containers_groups(runtime, folder):
    """What starts it would take of the container's memory, and be killed for it."""
    container = await run(runtime, folder, "sleep", "61")
    running = asyncio.create_task(runtime.execute(container, ("sleep", "62"), 20))
    while not (command := processes("sleep", "62")):
        await asyncio.sleep(0.01)
    (group,) = {groups(pid) for pid in processes("sleep", "61")}
    assert groups(command[0]) == group
    assert members(group) == ["sleep", "sleep"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def processes(*argv):
    """The IDs of the processes with a command line, as this namespace counts them."""
    wanted = "".join(f"{word}\0" for word in argv)
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [path.parts[2]] * (path.read_text() == wanted)
    return found


def members(group):
    """The names of the processes in control groups, in order."""
    every = Path("/proc").glob("[0-9]*/comm")
    return sorted(path.read_text().strip() for path in every if groups(path.parts[2]) == group)


def groups(pid):
    """The control groups of a process; "" if it has ended."""
    with suppress(OSError):
        return Path("/proc", pid, "cgroup").read_text()
    return ""


async def touched(runtime, container, path):
    """Make a file in a container that has not ended; the kernel may kill any process there."""
    while view(runtime, container).phase is Phase.RUNNING:
        with suppress(ContainerRuntimeError):
            if (await runtime.execute(container, ("touch", path), 20)).exit_code == 0:
                return
        await asyncio.sleep(0.05)


async def noticed(runtime, container):
    """Wait until a runtime has heard that the kernel has killed a process of a container.

    containerd hears it from the shim apart from the container's end, and never if the group is
    gone by the time that the shim looks (1.6).
    """
    box = view(runtime, container).sandbox_id
    while isinstance(runtime, CriRuntime) and view(runtime, container).phase is Phase.RUNNING:
        if (await runtime._relist.container(container, box)).reason == "OOMKilled":
            return
        await asyncio.sleep(0.05)
