"""The built-in runtime: ``control.runtime.base.Runtime`` from sandboxes, shims and local images."""

import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from control.linux import files
from control.runtime.base import (
    ContainerConfig,
    ExecResult,
    Observed,
    Phase,
    PodRef,
    RuntimeFailure,
    Sandbox,
    SandboxConfig,
)
from control.runtime.builtin import attachment, cgroups, container, execution, spawn
from control.runtime.builtin.container import ContainerProcess, Identity
from control.runtime.builtin.sandbox import PodNetwork, Record, Sandboxes
from control.runtime.builtin.spec import ImageConfig, Place, render, render_exec, render_pause
from control.version import PODWIRE

logger = logging.getLogger(__name__)


class Images(Protocol):
    """Where images come from."""

    def find(self, reference: str) -> tuple[str, ImageConfig]:
        """(image ID, configuration) of a local image. Raises RuntimeFailure."""


class BuiltinRuntime:
    """Pods from Linux alone; see docs/runtime.md."""

    name = "podwire"
    version = PODWIRE

    def __init__(
        self,
        root: Path,
        images: Images,
        network: PodNetwork,
        groups: cgroups.Cgroups,
        netns: Path = Path("/run/netns"),
    ) -> None:
        self._root, self._images, self._groups = root, images, groups
        self._boxes = Sandboxes(root / "sandboxes", netns, network)
        self._sandboxes: dict[str, Record] = {}
        self._containers: dict[str, ContainerProcess] = {}
        self._pauses: dict[str, ContainerProcess] = {}
        self._making: set[str] = set()
        self._callbacks: list[Callable[[PodRef], None]] = []

    # -- the whole -------------------------------------------------------------------------------

    async def open(self) -> None:
        """Adopt what is on disk; remove what is torn."""
        for folder in (self._root / "sandboxes", self._root / "containers"):
            folder.mkdir(parents=True, exist_ok=True)
        shims = spawn.find_shims()
        self._sandboxes = {record.id: record for record in self._boxes.load()}
        for folder in sorted((self._root / "containers").iterdir()):
            await self._adopt(folder, shims)
        for record in self._sandboxes.values():
            if record.config.share_processes:
                await self._adopt_pause(record, shims)

    async def _adopt(self, folder: Path, shims: dict[str, int]) -> None:
        identity = container.load(folder)
        if identity is not None:
            process = ContainerProcess(folder, identity, self._announce)
            if await process.adopt(shims):
                self._containers[identity.id] = process
                return
        logger.warning(
            "container %s: it never ran, or its checkpoint is torn: removing it", folder.name[:13]
        )
        container.abandon(folder, shims)

    async def _adopt_pause(self, record: Record, shims: dict[str, int]) -> None:
        process = self._pause(record)
        if await process.adopt(shims):
            self._pauses[record.id] = process

    def close(self) -> None:
        """Stop watching; containers go on."""
        for process in (*self._containers.values(), *self._pauses.values()):
            process.close()

    def observe(self) -> Observed:
        """What there is now."""
        return Observed(
            tuple(self._view(record) for record in self._sandboxes.values()),
            tuple(process.view() for process in self._containers.values()),
        )

    def sandbox_ids(self) -> frozenset[str]:
        """Every sandbox, also one that is just being made."""
        return frozenset(self._sandboxes) | self._making

    def _view(self, record: Record) -> Sandbox:
        view = record.view()
        pause = self._pauses.get(record.id)
        held = not record.config.share_processes or (pause and pause.phase is Phase.RUNNING)
        return view if held else replace(view, ready=False)

    def subscribe(self, callback: Callable[[PodRef], None]) -> None:
        """Call back when a container ended by itself."""
        self._callbacks.append(callback)

    def _announce(self, pod: PodRef) -> None:
        for callback in self._callbacks:
            callback(pod)

    # -- sandboxes -------------------------------------------------------------------------------

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        """Namespaces, then the network, then what is shared. Raises RuntimeFailure."""
        sandbox_id = secrets.token_hex(32)
        self._making.add(sandbox_id)
        try:
            record = await self._boxes.create(sandbox_id, config)
            if config.share_processes:
                await self._start_pause(record)
        except BaseException:
            # Known only from here on: nobody may take away what is just being made.
            self._sandboxes[sandbox_id] = Record(sandbox_id, config, time.time())
            with suppress(RuntimeFailure):  # it is listed as not ready, and removed again later
                await self.remove_sandbox(sandbox_id)
            raise
        finally:
            self._making.discard(sandbox_id)
        self._sandboxes[sandbox_id] = record
        return record.view()

    def _pause(self, record: Record) -> ContainerProcess:
        """The holder of a shared process namespace: a container, but for its empty root."""
        folder = self._boxes.folder(record.id) / "pause"
        config = ContainerConfig("POD", record.config.attempt, "")
        identity = Identity(record.id, record.id, record.config.pod, config, "", record.created, "")
        return ContainerProcess(folder, identity, self._announce)

    async def _start_pause(self, record: Record) -> None:
        process = self._pause(record)
        place = Place(
            str(process.folder),
            log_path=str(process.folder / "pause.log"),
            shim_cgroup=self._groups.shim_folder(record.config.pod.uid),
            join=self._boxes.namespaces(record),
        )
        process.save(render_pause(place))
        self._pauses[record.id] = process
        await process.start()

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Its containers, its network, its namespaces. Raises RuntimeFailure; ask again then."""
        record = self._sandboxes.get(sandbox_id)
        if record is None:
            return
        for process in self._of(sandbox_id):
            await process.stop(0)
        if pause := self._pauses.get(sandbox_id):
            await pause.stop(0)
        await self._boxes.stop(record)
        self._sandboxes[sandbox_id] = replace(record, ready=False, addresses=())

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Stop it, and forget it and its containers."""
        record = self._sandboxes.get(sandbox_id)
        if record is None:
            return
        await self.stop_sandbox(sandbox_id)
        for process in self._of(sandbox_id):
            await self.remove_container(process.identity.id)
        if pause := self._pauses.pop(sandbox_id, None):
            pause.close()
        self._boxes.remove(sandbox_id)
        del self._sandboxes[sandbox_id]
        await self._release(record.config.pod.uid)

    async def _release(self, uid: str) -> None:
        """With the last that is known of a Pod, its control groups go."""
        uids = {it.config.pod.uid for it in self._sandboxes.values()}
        uids |= {it.identity.pod.uid for it in self._containers.values()}
        if uid not in uids:
            await self._groups.remove_pod(uid)

    def _of(self, sandbox_id: str) -> list[ContainerProcess]:
        every = self._containers.values()
        return [process for process in every if process.identity.sandbox_id == sandbox_id]

    def network_namespace(self, sandbox_id: str) -> str:
        """The path of a sandbox's network namespace."""
        return str(self._boxes.netns(sandbox_id))

    # -- containers ------------------------------------------------------------------------------

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Write a container down; nothing runs yet. Raises RuntimeFailure."""
        record = self._sandboxes[sandbox_id]
        image_id, image = self._images.find(config.image)
        container_id = secrets.token_hex(32)
        folder = self._root / "containers" / container_id
        log_path = str(Path(record.config.log_directory) / config.log_path)
        identity = Identity(
            container_id, sandbox_id, record.config.pod, config, image_id, time.time(), log_path
        )
        process = ContainerProcess(folder, identity, self._announce)
        try:
            process.save(render(config, image, self._place(record, folder, log_path, config)))
        except OSError as err:
            files.remove_tree(folder)
            raise RuntimeFailure(
                f"container {config.name}: cannot be written down: {err}", "CreateContainerError"
            ) from err
        self._containers[container_id] = process
        return container_id

    def _place(self, record: Record, folder: Path, log_path: str, config: ContainerConfig) -> Place:
        uid = record.config.pod.uid
        name = f"{config.name}.{config.attempt}"
        pause = self._pauses.get(record.id)
        shared = {"pid": f"/proc/{pause.pid}/ns/pid"} if pause else {}
        return Place(
            str(folder),
            log_path,
            cgroups=self._groups.create(uid, name, config.resources),
            shim_cgroup=self._groups.shim_folder(uid),
            join={**self._boxes.namespaces(record), **shared},
            mounts=self._boxes.mounts(record.id),
            own_processes=not record.config.host_pid,
        )

    async def start_container(self, container_id: str) -> None:
        """Run it. Raises RuntimeFailure."""
        await self._container(container_id).start()

    async def stop_container(self, container_id: str, grace: float) -> None:
        """Ask it to end, then make it. Raises RuntimeFailure when it cannot be killed."""
        if process := self._containers.get(container_id):
            await process.stop(grace)

    async def remove_container(self, container_id: str) -> None:
        """Kill it, if it runs, and forget it."""
        process = self._containers.get(container_id)
        if process is None:
            return
        await process.stop(0)
        process.close()
        for folder in process.cgroups:
            await cgroups.remove(Path(folder))
        files.remove_tree(process.folder)
        self._containers.pop(container_id, None)
        await self._release(process.identity.pod.uid)

    # -- commands in containers ------------------------------------------------------------------

    async def execute(
        self, container_id: str, command: tuple[str, ...], seconds: float
    ) -> ExecResult:
        """Run a command to its end. Raises RuntimeFailure when that cannot even start."""
        spec = self._exec_spec(container_id, command, terminal=False)
        return await execution.run(spec, seconds)

    async def open_exec(
        self, container_id: str, command: tuple[str, ...], *, stdin: bool, terminal: bool
    ) -> execution.Stream:
        """Run a command with streams. Raises RuntimeFailure."""
        spec = self._exec_spec(container_id, command, terminal=terminal)
        return await execution.open_stream(spec, stdin=stdin)

    async def open_attach(self, container_id: str, *, stdin: bool) -> attachment.Attachment:
        """A container's own streams, from now on. Raises RuntimeFailure."""
        return await attachment.open_stream(self._container(container_id).folder, stdin=stdin)

    def _exec_spec(
        self, container_id: str, command: tuple[str, ...], *, terminal: bool
    ) -> dict[str, object]:
        process = self._container(container_id)
        config = process.identity.config
        if not process.pid:
            raise RuntimeFailure(f"container {config.name} is not running")
        image = self._images.find(config.image)[1]
        return render_exec(
            config, image, command, pid=process.pid, cgroups=process.cgroups, terminal=terminal
        )

    def _container(self, container_id: str) -> ContainerProcess:
        process = self._containers.get(container_id)
        if process is None:
            raise RuntimeFailure(f"container {container_id[:13]} is gone")
        return process
