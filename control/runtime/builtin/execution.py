"""Commands in running containers: a short-lived shim enters the namespaces and runs them.

Agent and shim share a socket: the specification goes there, and a terminal, which the shim opens
inside of the container, comes back.
"""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from control.runtime.base import ExecResult, RuntimeFailure
from control.runtime.builtin import spawn
from control.runtime.builtin.command import Command, start
from control.runtime.shim import terminal

_MOST_OUTPUT = 10 * 1024  # of a probe, as kubelet keeps
_END_SECONDS = 2.0
_PIECE = 32 * 1024


async def run(spec: dict[str, Any], seconds: float) -> ExecResult:
    """Run a command to its end, or kill it after that time; its outputs are one, and cut.

    A command that cannot be executed has exit code 126, one whose container is going away 125.
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


async def open_stream(spec: dict[str, Any], *, stdin: bool, merged: bool = False) -> "Stream":
    """Start a command with streams; raises RuntimeFailure."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours:
        with theirs:
            process = await _start(theirs.fileno(), stdin and not spec["terminal"], merged)
        stream = Stream(process, None)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                await asyncio.get_running_loop().sock_sendall(ours, json.dumps(spec).encode())
                ours.shutdown(socket.SHUT_WR)
            return Stream(process, await _terminal(ours, stream)) if spec["terminal"] else stream
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
        raise RuntimeFailure(f"exec: {err}") from err


async def _terminal(channel: socket.socket, shim: "Stream") -> int:
    """The master of the terminal that the shim opens; raises RuntimeFailure with what it says."""
    await _readable(channel.fileno())
    try:
        return terminal.take_over(channel)
    except (OSError, EOFError):
        said = (await shim.read_errors()).decode(errors="replace").strip()
        raise RuntimeFailure(f"exec: no terminal in the container: {said}") from None


class Stream:
    """``control.runtime.base.ExecStream`` of one command."""

    def __init__(self, process: Command, master: int | None) -> None:
        self._process, self._master = process, master
        if master is not None:
            os.set_blocking(master, False)

    async def write(self, data: bytes) -> None:
        """Feed its standard input; what it no longer reads is lost."""
        if self._master is not None:
            await _write_all(self._master, data)
        elif self._process.stdin is not None:
            with suppress(BrokenPipeError, ConnectionResetError):
                self._process.stdin.write(data)
                await self._process.stdin.drain()

    async def close_input(self) -> None:
        """End its standard input; on a terminal that is control-D."""
        if self._master is not None:
            await self.write(b"\x04")
        elif self._process.stdin is not None:
            self._process.stdin.close()

    async def read_output(self) -> bytes:
        """The next piece of its standard output; empty at its end."""
        if self._master is not None:
            return await self._read_terminal(self._master)
        return await self._process.stdout.read(_PIECE) if self._process.stdout else b""

    async def read_errors(self) -> bytes:
        """The next piece of its standard error; empty at its end."""
        return await self._process.stderr.read(_PIECE) if self._process.stderr else b""

    async def _read_terminal(self, master: int) -> bytes:
        while True:
            try:
                return os.read(master, _PIECE)
            except BlockingIOError:
                await _readable(master, lambda: self._master is not None)
            except OSError:  # EIO: nobody has its other end open any more
                return b""

    def resize(self, width: int, height: int) -> None:
        """Tell its terminal the new size."""
        if self._master is not None:
            terminal.resize(self._master, width, height)

    async def wait(self) -> int:
        """Its exit code."""
        return await self._process.wait()

    async def close(self) -> None:
        """End it, if it still runs, and free what it held."""
        if self._master is not None:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            self._master = None
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.send_signal(signal.SIGTERM)  # the shim kills the command, and reaps it
        try:
            await asyncio.wait_for(self._process.wait(), _END_SECONDS)
        except TimeoutError:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        finally:
            self._process.close()


async def _readable(descriptor: int, is_open: Callable[[], bool] = lambda: True) -> None:
    """Wait for output. Watched only meanwhile: a slow reader must not keep the loop busy."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        if is_open():  # once closed, the number may be another file's
            loop.remove_reader(descriptor)


async def _write_all(master: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(master, data) :]
        except BlockingIOError:  # the program does not read what is typed; it may later
            await asyncio.sleep(0.02)
