"""Runs commands in running containers: a short-lived shim enters the namespaces.

Agent and shim share a socket. The agent sends the specification; the shim sends back the terminal
that it has opened inside the container.
"""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from control.runtime.base import ContainerRuntimeError, ExecResult
from control.runtime.builtin import spawn
from control.runtime.builtin.command import Command, start
from control.runtime.shim import terminal

_MOST_OUTPUT = 10 * 1024  # bytes of a probe's output, as in kubelet
_END_SECONDS = 2.0
_PIECE = 32 * 1024


async def run(spec: dict[str, Any], seconds: float) -> ExecResult:
    """Run a command; kill it after ``seconds``. Both outputs are merged, and cut.

    The exit code is 126 if the command cannot be executed, 125 if its container is ending.
    """
    stream = await open_stream(spec, stdin=False, merged=True)
    output = b""
    try:
        async with asyncio.timeout(seconds):
            while piece := await stream.read_output():
                output = (output + piece)[:_MOST_OUTPUT]
            code = await stream.wait()
    except TimeoutError:
        return ExecResult(-1, output, timed_out=True)
    finally:
        await stream.close()
    return ExecResult(code, output)


async def open_stream(
    spec: dict[str, Any], *, stdin: bool, merged: bool = False
) -> "CommandStream":
    """Start a command with streams; raises ContainerRuntimeError."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours:
        with theirs:
            process = await _start(theirs.fileno(), stdin and not spec["terminal"], merged)
        stream = CommandStream(process, None)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                await asyncio.get_running_loop().sock_sendall(ours, json.dumps(spec).encode())
                ours.shutdown(socket.SHUT_WR)
            return (
                CommandStream(process, await _terminal(ours, stream))
                if spec["terminal"]
                else stream
            )
        except BaseException:
            await stream.close()
            raise


async def _start(channel: int, stdin: bool, merged: bool) -> Command:
    pipe = asyncio.subprocess.PIPE
    try:
        return await start(
            spawn.shim_command("exec", str(channel)),
            stdin=pipe if stdin else asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=asyncio.subprocess.STDOUT if merged else pipe,
            pass_fds=(channel,),
            start_new_session=True,
        )
    except OSError as err:
        raise ContainerRuntimeError(f"exec: {err}") from err


async def _terminal(channel: socket.socket, shim: "CommandStream") -> int:
    """Receive the master of the terminal that the shim opens; raises ContainerRuntimeError."""
    await _readable(channel.fileno())
    try:
        return terminal.take_over(channel)
    except (OSError, EOFError):
        text = (await shim.read_errors()).decode(errors="replace").strip()
        raise ContainerRuntimeError(f"exec: no terminal in the container: {text}") from None


class CommandStream:
    """``control.runtime.base.ExecStream`` of one command."""

    def __init__(self, process: Command, master: int | None) -> None:
        self._process, self._master = process, master
        if master is not None:
            os.set_blocking(master, False)

    async def write(self, data: bytes) -> None:
        """Write to the command's standard input; input that it no longer reads is lost."""
        if self._master is not None:
            await _write_all(self._master, data)
        elif self._process.stdin is not None:
            with suppress(BrokenPipeError, ConnectionResetError):
                self._process.stdin.write(data)
                await self._process.stdin.drain()

    async def close_input(self) -> None:
        """Close the command's standard input; on a terminal, send control-D."""
        if self._master is not None:
            await self.write(b"\x04")
        elif self._process.stdin is not None:
            self._process.stdin.close()

    async def read_output(self) -> bytes:
        """Return the next piece of standard output; empty at its end."""
        if self._master is not None:
            return await self._read_terminal(self._master)
        return await self._process.stdout.read(_PIECE) if self._process.stdout else b""

    async def read_errors(self) -> bytes:
        """Return the next piece of standard error; empty at its end."""
        return await self._process.stderr.read(_PIECE) if self._process.stderr else b""

    async def _read_terminal(self, master: int) -> bytes:
        while True:
            try:
                return os.read(master, _PIECE)
            except BlockingIOError:
                await _readable(master, lambda: self._master is not None)
            except OSError:  # EIO: no process has the other end open any more
                return b""

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size."""
        if self._master is not None:
            terminal.resize(self._master, width, height)

    async def wait(self) -> int:
        """Wait for the command's end, and return its exit code."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code  # a signal ended the command's shim

    async def close(self) -> None:
        """End the command, if it still runs, and close its streams."""
        if self._master is not None:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            self._master = None
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.send_signal(signal.SIGTERM)  # the shim kills and reaps the command
        try:
            await asyncio.wait_for(self._process.wait(), _END_SECONDS)
        except TimeoutError:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        finally:
            self._process.close()


async def _readable(descriptor: int, is_open: Callable[[], bool] = lambda: True) -> None:
    """Wait for output; watch only while waiting, so that a slow reader keeps no loop busy."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        if is_open():  # after a close another file may have the number
            loop.remove_reader(descriptor)


async def _write_all(master: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(master, data) :]
        except BlockingIOError:  # the program does not read its input now; it may do so later
            await asyncio.sleep(0.02)
