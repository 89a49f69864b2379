"""Starts processes without forking the agent, and waits for their end.

A fork of a process with threads copies locks that no thread of the child releases. So processes
are started by posix_spawn, and their end is seen by a pidfd.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from control.linux.processes import open_process

_ROOT = Path(__file__).parents[3]
_PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
# -I and -S keep every path out of sys.path, also that of this package: it is passed here.
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from control.runtime.shim.main import main; sys.exit(main(sys.argv[1:]))"
)


def shim_command(*arguments: str) -> list[str]:
    """Return the command line of a shim."""
    return [_PYTHON, "-IS", "-c", _BOOT, str(_ROOT), *arguments]


def spawn(command: list[str], *, stderr: Path, report: int) -> int:
    """Start a process in its own session, with ``report`` as descriptor 3; return its ID."""
    log = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    wired = ((nothing, 0), (nothing, 1), (log, 2), (report, 3))
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in wired]
    try:
        return os.posix_spawn(
            command[0],
            command,
            {"LANG": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)},
            file_actions=actions,
            setsid=True,
            setsigmask=(),
        )
    finally:
        os.close(log)
        os.close(nothing)


class Watch:
    """Calls ``ended`` once, on the event loop, when a process ends, a child or not."""

    def __init__(self, pid: int, ended: Callable[[], None]) -> None:
        """Begin to wait; raises ProcessLookupError if the process is gone already."""
        self._pid, self._ended = pid, ended
        self._descriptor = open_process(pid)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._fire)

    def _fire(self) -> None:
        self.close()
        self._ended()

    def close(self) -> None:
        """Stop waiting; reap a child that has ended."""
        if self._descriptor < 0:
            return
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        with suppress(ChildProcessError):
            os.waitpid(self._pid, os.WNOHANG)


async def read_line(descriptor: int) -> str:
    """Read the first line from a pipe, or all of it if it ends before, and close it."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    data = b""
    try:
        while not data.endswith(b"\n"):
            await readable.wait()
            readable.clear()
            piece = os.read(descriptor, 65536)
            if not piece:
                break
            data += piece
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return data.decode(errors="replace").strip()


async def run(command: Sequence[str], seconds: float = 30) -> None:
    """Run a tool for up to ``seconds``; raises OSError with its output if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds)
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        text = " ".join(output.decode(errors="replace").split())
        raise OSError(f"{command[0]}: {text or f'exit code {process.returncode}'}")


def find_shims() -> dict[str, int]:
    """Return the folders that shims of this process namespace serve, with the shims' IDs."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if len(words) > 6 and words[3] == _BOOT.encode() and words[5] == b"run":
            found[words[6].decode()] = int(entry.name)
    return found


def kill(pid: int) -> None:
    """Kill a process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
