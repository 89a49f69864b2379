"""The server's side of its workers: starts processes when they are needed, gives them jobs."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from control.server.state.workers.frames import LENGTH, packed, unpacked

if TYPE_CHECKING:
    from control.server.state.workers.snapshot import Snapshot

_IDLE = 60.0  # seconds after which an unused process ends
_COMMAND = (sys.executable, "-m", "control.server.state.workers.child")


class WorkerFailedError(RuntimeError):
    """A worker has died or met a bug; the computation had no effect."""


class Job(Struct, frozen=True):
    """A call of ``function(state, request, *arguments)``, a pure function of some module."""

    function: Callable[..., Any]
    snapshot: "Snapshot"
    request: Any
    arguments: tuple[Any, ...] = ()


class _Worker:
    """One process."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._input, self._output = sink, source
        self.reaper: asyncio.TimerHandle | None = None

    async def ask(self, job: Job) -> tuple[bool, Any]:
        """Send a job and wait for its result; raises WorkerFailedError."""
        try:
            self._input.write(packed(job))
            await self._input.drain()
            (size,) = LENGTH.unpack(await self._output.readexactly(LENGTH.size))
            found: tuple[bool, Any] = unpacked(await self._output.readexactly(size))
        except (OSError, asyncio.IncompleteReadError) as err:
            raise WorkerFailedError(f"worker {self._process.pid} has died") from err
        return found

    async def end(self) -> None:
        """End the process."""
        if self.reaper is not None:
            self.reaper.cancel()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._input.close()
        with suppress(OSError):  # the pipe of a process that died is broken
            await self._input.wait_closed()


class WorkerPool:
    """At most ``size`` processes; jobs wait for one in the order of their arrival."""

    def __init__(self, size: int = max(2, os.cpu_count() or 1)) -> None:
        self._free = asyncio.Semaphore(size)
        self._idle: list[_Worker] = []
        self._ending: set[asyncio.Task[None]] = set()

    async def run(self, job: Job) -> Any:
        """Return the job's result or raise its error; raises WorkerFailedError.

        A cancelled job's process is killed.
        """
        async with self._free:
            worker = self._idle.pop() if self._idle else await _start()
            done = False
            try:
                good, found = await worker.ask(job)
                done = True
            finally:
                if done:
                    self._rest(worker)
                else:
                    self._end(worker)
        if good:
            return found
        raise found

    async def close(self) -> None:
        """End all idle processes; jobs must have ended."""
        for worker in tuple(self._idle):
            self._retire(worker)
        await asyncio.gather(*self._ending)

    def _rest(self, worker: _Worker) -> None:
        if worker.reaper is not None:
            worker.reaper.cancel()
        worker.reaper = asyncio.get_running_loop().call_later(_IDLE, self._retire, worker)
        self._idle.append(worker)

    def _retire(self, worker: _Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
            self._end(worker)

    def _end(self, worker: _Worker) -> None:
        task = asyncio.get_running_loop().create_task(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _start() -> _Worker:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*_COMMAND, stdin=pipe, stdout=pipe)
    if process.stdin is None or process.stdout is None:  # never: both were asked for
        raise WorkerFailedError("a worker has no pipe")
    return _Worker(process, process.stdout, process.stdin)
