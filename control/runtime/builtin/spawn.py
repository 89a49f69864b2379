"""Starting processes without forking the agent: posix_spawn, and a pidfd to see them end.

The agent has threads and an event loop, in which a fork would copy locks that nobody releases.
"""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
# -I -S keep everything out of the shim's way, also this checkout: it is named here.
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from control.runtime.shim.main import main; sys.exit(main(sys.argv[1:]))"
)


def shim_command(*arguments: str) -> list[str]:
    """The command line of a shim."""
    return [_PYTHON, "-IS", "-c", _BOOT, str(_ROOT), *arguments]


def spawn(command: list[str], *, stderr: Path, report: int) -> int:
    """Start a process in a session of its own; ``report`` becomes its descriptor 3; its ID."""
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


def open_process(pid: int) -> int:
    """A pidfd; raises ProcessLookupError when the process is gone.

    Of 0, of a process that is being reaped in just this moment, and of a number that is a thread's
    by now the kernel says EINVAL, or since Linux 6.15 ENOENT (pidfd_prepare in kernel/fork.c).
    """
    try:
        return os.pidfd_open(pid)
    except OSError as err:
        if err.errno in (errno.EINVAL, errno.ENOENT):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from err
        raise


class Watch:
    """Waits for the end of a process, a child or not; calls ``ended`` once, on the event loop."""

    def __init__(self, pid: int, ended: Callable[[], None]) -> None:
        """Raises ProcessLookupError when it is gone already."""
        self._pid, self._ended = pid, ended
        self._descriptor = open_process(pid)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._fire)

    def _fire(self) -> None:
        self.close()
        self._ended()

    def close(self) -> None:
        """Stop waiting; a child that has ended is reaped."""
        if self._descriptor < 0:
            return
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        with suppress(ChildProcessError):
            os.waitpid(self._pid, os.WNOHANG)


async def read_line(descriptor: int) -> str:
    """What is written on a pipe up to its first line's end or its end; closes it."""
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
    """Run a tool; raises OSError with what it said when it fails or does not end in time."""
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
    """The folders that shims serve in this process namespace, with the shims' process IDs."""
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
    """SIGKILL, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def start_ticks(pid: int) -> int | None:
    """When a process started, as in the shim's record; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
