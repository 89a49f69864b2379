# ruff: noqa: ASYNC110  tests wait for the world
"""A container's own streams: input, terminals, attached clients, and a restart of the agent."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from control.runtime.base import ContainerRuntimeError, Phase, Rights
from control.runtime.builtin import spawn
from tests.support.control.containers import (
    ended,
    log,
    run,
    view,
)

LOOP = "while read line; do echo got $line; done; echo over"


async def until(read, text: bytes) -> bytes:
    """Read output up to ``text``."""
    seen = b""
    while text not in seen:
        piece = await read()
        assert piece, seen
        seen += piece
    return seen


async def rest(read) -> bytes:
    seen = b""
    while piece := await read():
        seen += piece
    return seen


def shim_of(folder: Path, container: str) -> Path:
    return Path("/proc") / str(spawn.find_shims()[str(folder / "containers" / container)])


async def at_rest(process: Path) -> None:
    """Wait until a process uses no CPU time; a busy loop never stops using it."""
    before = None
    while before != (now := (process / "stat").read_text().rpartition(")")[2].split()[11:13]):
        before = now
        await asyncio.sleep(0.3)


def descriptors(process: Path) -> int:
    return len(list((process / "fd").iterdir()))


async def test_input_goes_in_and_output_comes_back_on_its_channel(runtime, folder):
    script = "read line; echo out $line; echo err $line >&2; sleep 60"
    container = await run(runtime, folder, "sh", "-c", script, stdin=True)
    stream = await runtime.open_attach(container, stdin=True)
    await stream.write(b"one\n")
    assert await until(stream.read_output, b"\n") == b"out one\n"
    assert await until(stream.read_errors, b"\n") == b"err one\n"
    await stream.close()
    assert view(runtime, container).phase is Phase.RUNNING


async def test_the_streams_end_with_the_container_and_nothing_is_lost(runtime, folder):
    script = "read go; seq 20000; printf end"
    container = await run(runtime, folder, "sh", "-c", script, stdin=True)
    stream = await runtime.open_attach(container, stdin=True)
    await stream.write(b"go\nmore that nobody reads\n")
    seen = await rest(stream.read_output)
    assert seen == b"".join(b"%d\n" % number for number in range(1, 20001)) + b"end"
    assert await stream.wait() == 0
    await stream.close()
    await ended(runtime, container)
    assert log(folder).endswith("20000\nend")


async def test_without_stdin_there_is_output_only(runtime, folder):
    script = "read line || echo none; while :; do echo beat; sleep 0.05; done"
    container = await run(runtime, folder, "sh", "-c", script)
    stream = await runtime.open_attach(container, stdin=True)
    await stream.write(b"typed\n")
    await stream.close_input()  # there is no input: the attachment continues
    assert b"typed" not in await until(stream.read_output, b"beat\n")
    await stream.close()
    assert log(folder).startswith("none")


async def test_stdin_once_ends_with_the_first_client(runtime, folder):
    container = await run(runtime, folder, "sh", "-c", LOOP, stdin=True, stdin_once=True)
    looker = await runtime.open_attach(container, stdin=False)
    await looker.close()  # a client without input ends nothing
    stream = await runtime.open_attach(container, stdin=True)
    await stream.write(b"one\n")
    await stream.close_input()
    assert await rest(stream.read_output) == b"got one\nover\n"
    await stream.close()
    assert (await ended(runtime, container)).exit_code == 0


async def test_a_client_that_vanishes_ends_stdin_once_too(runtime, folder):
    container = await run(runtime, folder, "sh", "-c", LOOP, stdin=True, stdin_once=True)
    stream = await runtime.open_attach(container, stdin=True)
    await stream.write(b"last\n")
    await stream.close()
    await ended(runtime, container)
    assert log(folder) == "got last\nover"


async def test_without_once_the_input_stays_open_for_the_next(runtime, folder):
    container = await run(runtime, folder, "sh", "-c", LOOP, stdin=True)
    first = await runtime.open_attach(container, stdin=True)
    await first.write(b"one\n")
    await until(first.read_output, b"got one\n")
    await first.close_input()
    await first.wait()  # the attachment ends, but not the container's input
    await first.close()
    second = await runtime.open_attach(container, stdin=True)
    await second.write(b"two\n")
    await until(second.read_output, b"got two\n")
    await second.close()


async def test_more_input_than_a_pipe_holds_arrives_whole(runtime, folder):
    script = "sleep 0.2; wc -c; sleep 0.1"
    container = await run(runtime, folder, "sh", "-c", script, stdin=True, stdin_once=True)
    stream = await runtime.open_attach(container, stdin=True)
    await stream.write(b"x" * 1_000_000)
    await stream.close_input()
    assert await until(stream.read_output, b"\n") == b"1000000\n"
    await stream.close()


async def test_every_attached_client_gets_all_output(runtime, folder):
    container = await run(runtime, folder, "sh", "-c", LOOP, stdin=True)
    streams = [await runtime.open_attach(container, stdin=True) for _ in range(3)]
    for number, stream in enumerate(streams):
        await stream.write(b"%d\n" % number)
        for other in streams:
            assert await until(other.read_output, b"\n") == b"got %d\n" % number
    for stream in streams:
        await stream.close()


async def test_a_terminal_of_the_container(runtime, folder):
    container = await run(runtime, folder, "sh", stdin=True, terminal=True)
    stream = await runtime.open_attach(container, stdin=True)
    stream.resize(100, 30)
    await stream.write(b"tty; stty size; test -t 2 && ls -l /dev/pts/0 && echo $((40 + 2))\n")
    seen = await until(stream.read_output, b"42\r\n")
    assert b"/dev/pts/0\r\n" in seen and b"30 100\r\n" in seen
    await stream.write(b"sleep 60\n")
    await asyncio.sleep(0.1)
    await stream.write(
        b"\x03echo $((50 + 3)); exit 6\n"
    )  # control-C works: it is a controlling terminal
    await until(stream.read_output, b"53\r\n")
    await stream.wait()
    await stream.close()
    assert (await ended(runtime, container)).exit_code == 6
    assert "42\r" in (folder / "logs/main/0.log").read_bytes().decode()


@pytest.mark.parametrize("rights", [Rights(user=1000, group=1000), Rights(privileged=True)])
async def test_a_process_can_open_its_terminal_by_name(runtime, folder, rights):
    container = await run(runtime, folder, "sh", stdin=True, terminal=True, rights=rights)
    stream = await runtime.open_attach(container, stdin=True)
    await stream.write(b"echo $((40 + 2)) >/dev/stdout; echo $((50 + 2)) >$(tty)\n")
    assert b"denied" not in await until(stream.read_output, b"52\r\n")
    await stream.close()


async def test_exec_on_a_terminal_that_has_a_name_in_the_container(runtime, folder):
    container = await run(runtime, folder, "sleep", "60")
    stream = await runtime.open_exec(container, ("tty",), stdin=True, terminal=True)
    assert await rest(stream.read_output) == b"/dev/pts/0\r\n"
    assert await stream.wait() == 0
    await stream.close()
    missing = await runtime.open_exec(container, ("nonsense",), stdin=True, terminal=True)
    assert b'"nonsense": executable file not found' in await rest(missing.read_output)
    assert await missing.wait() == 126
    await missing.close()


async def test_no_terminal_in_an_ending_container(runtime, folder, monkeypatch):
    container = await run(runtime, folder, "sleep", "60")
    process = runtime._containers[container]
    gone = process.pid
    await runtime.stop_container(container, 0)
    monkeypatch.setattr(type(process), "pid", property(lambda _: gone))
    with pytest.raises(
        ContainerRuntimeError, match=r"no terminal in the container: .*No such file"
    ):
        await runtime.open_exec(container, ("tty",), stdin=True, terminal=True)


async def test_input_and_terminal_outlive_the_agent(runtime, folder, restart):
    container = await run(runtime, folder, "sh", stdin=True, terminal=True)
    first = await runtime.open_attach(container, stdin=True)
    await first.write(b"kept=$((40 + 2))\n")
    await until(first.read_output, b"kept")
    await first.close()
    second = await restart()
    stream = await second.open_attach(container, stdin=True)
    await stream.write(b"echo still $kept\n")
    await until(stream.read_output, b"still 42\r\n")
    await stream.close()
    assert view(second, container).phase is Phase.RUNNING


async def test_a_stalled_client_blocks_its_container_only_while_attached(runtime, folder):
    script = "read go; head -c 3000000 /dev/zero | tr '\\0' a; echo; echo done; sleep 60"
    container = await run(runtime, folder, "sh", "-c", script, stdin=True)
    stream = await runtime.open_attach(container, stdin=True)
    await stream.write(b"go\n")
    await at_rest(shim_of(folder, container))
    assert "done" not in log(folder)
    await stream.close()
    while "done" not in log(folder):
        await asyncio.sleep(0.02)


async def test_a_stalled_client_does_not_prevent_a_containers_end(runtime, folder):
    container = await run(runtime, folder, "sh", "-c", "read go; yes", stdin=True)
    stream = await runtime.open_attach(container, stdin=True)
    await stream.write(b"go\n")
    await asyncio.sleep(0.3)
    await runtime.stop_container(container, 0)
    assert view(runtime, container).exit_code == 137
    await stream.close()


async def test_attaching_and_detaching_leaves_no_descriptors(runtime, folder):
    container = await run(runtime, folder, "sh", "-c", LOOP, stdin=True)
    shim = shim_of(folder, container)

    async def come_and_go() -> None:
        stream = await runtime.open_attach(container, stdin=True)
        await stream.write(b"x\n")
        await until(stream.read_output, b"got x\n")
        await stream.close()
        command = await runtime.open_exec(container, ("tty",), stdin=True, terminal=True)
        await rest(command.read_output)
        await command.close()

    await come_and_go()
    agents, shims = descriptors(Path("/proc/self")), descriptors(shim)
    for _ in range(5):
        await come_and_go()
    assert descriptors(Path("/proc/self")) == agents
    while descriptors(shim) > shims:
        await asyncio.sleep(0.01)
    result = await runtime.execute(container, ("ls", "-l", "/proc/1/fd"), 20)
    assert b"socket" not in result.output and b"ptmx" not in result.output


async def test_an_ended_container_cannot_be_attached(runtime, folder):
    container = await run(runtime, folder, "true", stdin=True)
    await ended(runtime, container)
    with pytest.raises(ContainerRuntimeError, match="cannot be attached to"):
        await runtime.open_attach(container, stdin=True)


async def test_a_killed_shim_ends_the_attachment(runtime, folder):
    container = await run(runtime, folder, "sleep", "60", stdin=True)
    stream = await runtime.open_attach(container, stdin=True)
    os.kill(int(shim_of(folder, container).name), signal.SIGKILL)
    assert await stream.wait() == 0
    await stream.write(b"too late")
    await stream.close()


async def test_invalid_messages_change_nothing(runtime, folder):
    container = await run(runtime, folder, "sh", "-c", LOOP, stdin=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        here = os.open(folder / "containers" / container, os.O_PATH)
        stranger.connect(f"/proc/self/fd/{here}/attach")
        os.close(here)
        for message in (b"\x04short", b"\x09what", b"\x04\xff\xff\xff\xff"):
            stranger.send(message)
        stream = await runtime.open_attach(container, stdin=True)
        await stream.write(b"fine\n")
        await until(stream.read_output, b"got fine\n")
        await stream.close()
