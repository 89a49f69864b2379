"""One container: its folder on disk, and its shim process."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from control.linux import files, processes
from control.runtime.base import (
    Container,
    ContainerConfig,
    ContainerRuntimeError,
    Mount,
    Phase,
    PodRef,
    Resources,
    Rights,
)
from control.runtime.builtin import cgroups, spawn

logger = logging.getLogger(__name__)

_ADOPT_SECONDS = 2.0
_KILL_SECONDS = 30  # until a killed container is reported as stuck
# Kubelet's report of a container whose end was not seen.
_UNKNOWN: dict[str, Any] = {
    "code": 137,
    "reason": "ContainerStatusUnknown",
    "message": "The container's shim was killed: the container's exit code is unknown",
}


@dataclass(frozen=True, slots=True)
class ContainerIdentity:
    """The unchanging part of a container."""

    id: str
    sandbox_id: str
    pod: PodRef
    config: ContainerConfig
    image_id: str
    created: float
    log_path: str


class ContainerProcess:
    """One container: its files and, while it runs, the watch on its shim."""

    def __init__(
        self, folder: Path, identity: ContainerIdentity, changed: Callable[[PodRef], None]
    ) -> None:
        self.folder, self.identity = folder, identity
        self._changed = changed
        self._watch: spawn.Watch | None = None
        self._ended = asyncio.Event()
        self._started: dict[str, Any] | None = None
        self._exit: dict[str, Any] | None = None

    @property
    def phase(self) -> Phase:
        """The phase, by the files that the shim has written."""
        if self._exit is not None:
            return Phase.EXITED
        return Phase.RUNNING if self._started is not None else Phase.CREATED

    @property
    def pid(self) -> int:
        """The ID of the first process; 0 if that is gone, even if another process has its ID."""
        if self._started is None or self._exit is not None:
            return 0
        alive = processes.start_ticks(self._started["pid"]) == self._started["pid_start"]
        return int(self._started["pid"]) if alive else 0

    def view(self) -> Container:
        """Return the container as the runtime's users see it."""
        identity, ended = self.identity, self._exit or {}
        return Container(
            identity.id,
            identity.sandbox_id,
            identity.pod,
            identity.config.name,
            identity.config.attempt,
            self.phase,
            identity.config.image,
            identity.image_id,
            identity.created,
            started=(self._started or {}).get("time", 0.0),
            finished=ended.get("time", 0.0),
            exit_code=ended.get("code", 0),
            reason=ended.get("reason", ""),
            message=ended.get("message", ""),
            log_path=identity.log_path,
            spec_hash=identity.config.spec_hash,
            resources=identity.config.resources,
        )

    @property
    def cgroups(self) -> tuple[str, ...]:
        """The folders of the container's control groups."""
        spec = files.read_json(self.folder / "spec.json") or {}
        return tuple(spec.get("cgroups", ()))

    @property
    def seccomp(self) -> str:
        """The program that filters the container's system calls; "" if none does."""
        return str((files.read_json(self.folder / "spec.json") or {}).get("seccomp", ""))

    def save(self, spec: dict[str, Any]) -> None:
        """Write what a later agent needs to know, before any other effect; raises OSError."""
        self.folder.mkdir(parents=True)
        files.write_json(self.folder / "spec.json", spec)
        files.write_json(self.folder / "config.json", asdict(self.identity))

    def note(self, resources: Resources) -> None:
        """Keep what the container may use from now on, for a later agent too; raises OSError."""
        config = replace(self.identity.config, resources=resources)
        self.identity = replace(self.identity, config=config)
        files.write_json(self.folder / "config.json", asdict(self.identity))

    async def adopt(self, shims: dict[str, int]) -> bool:
        """Take over a container of an earlier agent; False if it was never started."""
        self._started = files.read_json(self.folder / "started.json")
        self._exit = files.read_json(self.folder / "exit.json")
        if self._exit is not None:
            return True
        pid = shims.get(str(self.folder))
        if pid is None:
            if self._started is None:
                return False
            self._lost()
            return True
        self._follow(pid)
        until = time.monotonic() + _ADOPT_SECONDS
        while self._started is None and self._exit is None:
            # The shim will write either file in some milliseconds; or the file is torn.
            if time.monotonic() > until:
                spawn.kill(pid)
            await asyncio.sleep(0.005)
            self._started = files.read_json(self.folder / "started.json")
        return True

    async def start(self) -> None:
        """Start the shim; return when the command runs. Raises ContainerRuntimeError."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(writer, True)
        command = spawn.shim_command("run", str(self.folder), "3")
        try:
            pid = spawn.spawn(command, stderr=self.folder / "shim.log", report=writer)
        except OSError as err:
            os.close(reader)
            raise ContainerRuntimeError(f"container {self.identity.config.name}: {err}") from err
        finally:
            os.close(writer)
        outcome = asyncio.ensure_future(spawn.read_line(reader))
        self._follow(pid)
        text = await outcome
        self._started = self._started or files.read_json(self.folder / "started.json")
        if text != "ok":
            await self._ended.wait()
            raise ContainerRuntimeError(
                f"container {self.identity.config.name}: {text or 'its shim died'}",
                "RunContainerError",
            )

    def _follow(self, pid: int) -> None:
        try:
            self._watch = spawn.Watch(pid, self._on_end)
        except ProcessLookupError:
            self._on_end()

    def _on_end(self) -> None:
        """Read the exit record of the ended shim; without one, the container's end is unknown."""
        self._started = self._started or files.read_json(self.folder / "started.json")
        self._exit = files.read_json(self.folder / "exit.json")
        if self._exit is None:
            self._lost()
        self._ended.set()
        self._changed(self.identity.pod)

    def _lost(self) -> None:
        """Kill a container that has lost its shim, and record an unknown end."""
        logger.error(
            "container %s of Pod %s: its shim is gone: killing it",
            self.identity.config.name,
            self.identity.pod,
        )
        self.kill()
        self._exit = {**_UNKNOWN, "time": time.time()}
        self._ended.set()
        with suppress(OSError):  # on a full disk the next agent does the same
            files.write_json(self.folder / "exit.json", self._exit)

    def kill(self) -> None:
        """Kill all processes of the container, known or unknown."""
        for folder in self.cgroups:
            if Path(folder).is_dir():
                cgroups.kill(Path(folder))
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        """Signal the first process, by a pidfd: never another process that has its ID by now."""
        if not (pid := self.pid):
            return
        try:
            descriptor = processes.open_process(pid)
        except ProcessLookupError:
            return
        with suppress(ProcessLookupError):
            if self.pid == pid:
                signal.pidfd_send_signal(descriptor, number)
        os.close(descriptor)

    async def stop(self, grace: float) -> None:
        """Ask the container to end, wait, kill it, wait; raises ContainerRuntimeError."""
        if self.phase is not Phase.RUNNING:
            return
        if grace > 0:
            self._signal(self._stop_signal())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), grace)
                return
        self.kill()
        try:
            await asyncio.wait_for(self._ended.wait(), _KILL_SECONDS)
        except TimeoutError:
            raise ContainerRuntimeError(
                f"container {self.identity.config.name} of Pod {self.identity.pod} was killed and "
                f"is still there after {_KILL_SECONDS} s: see /proc/{self.pid}/stack"
            ) from None

    def _stop_signal(self) -> int:
        """The image's STOPSIGNAL, such as ``SIGQUIT`` or ``3``; SIGTERM if it is invalid."""
        name = str((files.read_json(self.folder / "spec.json") or {}).get("stop_signal", ""))
        if name.isdecimal() and int(name) in set(signal.Signals):
            return int(name)
        return int(getattr(signal, name, signal.SIGTERM)) if name.startswith("SIG") else 15

    def close(self) -> None:
        """Stop watching; the container keeps running."""
        if self._watch is not None:
            self._watch.close()


def abandon(folder: Path, shims: dict[str, int]) -> None:
    """Kill what may run in a folder whose checkpoint cannot be read, and remove the folder."""
    if pid := shims.get(str(folder)):
        spawn.kill(pid)
    spec = files.read_json(folder / "spec.json") or {}
    for path in spec.get("cgroups", ()):
        cgroups.kill(Path(path))
    files.remove_tree(folder)


def load(folder: Path) -> ContainerIdentity | None:
    """Read a folder's checkpoint; None if it is torn."""
    saved = files.read_json(folder / "config.json")
    try:
        return _identity(saved or {})
    except (KeyError, TypeError):
        return None


def _identity(saved: dict[str, Any]) -> ContainerIdentity:
    values = dict(saved)
    config = dict(values["config"])
    config.pop("pull_policy", None)  # an older agent kept it
    config["mounts"] = tuple(Mount(**item) for item in config["mounts"])
    config["resources"] = Resources(**config["resources"])
    rights: dict[str, Any] = config["rights"]
    for name in ("groups", "add_capabilities", "drop_capabilities"):
        rights[name] = tuple(rights[name])
    config["rights"] = Rights(**rights)
    config["environment"] = tuple((name, value) for name, value in config["environment"])
    for name in ("command", "arguments"):
        config[name] = tuple(config[name])
    values["config"] = ContainerConfig(**config)
    values["pod"] = PodRef(**values["pod"])
    return ContainerIdentity(**values)
