"""The built-in implementation of ``control.runtime.base.Runtime``."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from control.linux import files
from control.runtime.base import (
    DEFAULT_LOGS,
    ContainerConfig,
    ContainerRuntimeError,
    ExecResult,
    LogLimits,
    Phase,
    PodRef,
    Resources,
    Rights,
    RuntimeState,
    Sandbox,
    SandboxConfig,
    check_handler,
)
from control.runtime.builtin import (
    attachment,
    cgroups,
    container,
    execution,
    resizing,
    seccomp,
    spawn,
    usage,
)
from control.runtime.builtin.container import ContainerIdentity, ContainerProcess
from control.runtime.builtin.images import Images, LocalImages
from control.runtime.builtin.sandbox import PodNetwork, Sandboxes, SandboxRecord
from control.runtime.builtin.spec import (
    ContainerPlace,
    capabilities,
    render,
    render_exec,
    render_pause,
)
from control.runtime.used import MemoryUse, RuntimeUsage
from control.version import PODWIRE

logger = logging.getLogger(__name__)


class BuiltinRuntime(LocalImages):
    """Runs Pods with the kernel alone; see docs/runtime.md."""

    name = "podwire"
    version = PODWIRE
    rotates = True

    def __init__(
        self,
        root: Path,
        images: Images,
        network: PodNetwork,
        groups: cgroups.Cgroups,
        netns: Path = Path("/run/netns"),
        logs: LogLimits = DEFAULT_LOGS,
    ) -> None:
        super().__init__(images)
        self._root, self._groups, self._logs = root, groups, logs
        self._boxes = Sandboxes(root / "sandboxes", netns, network)
        self._sandboxes: dict[str, SandboxRecord] = {}
        self._containers: dict[str, ContainerProcess] = {}
        self._pauses: dict[str, ContainerProcess] = {}
        self._making: set[str] = set()
        self._callbacks: list[Callable[[PodRef], None]] = []

    async def open(self) -> None:
        """Adopt the sandboxes and containers on disk; remove those whose checkpoint is torn."""
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
            "container %s: never started, or its checkpoint is torn: removing it", folder.name[:13]
        )
        container.abandon(folder, shims)

    async def _adopt_pause(self, record: SandboxRecord, shims: dict[str, int]) -> None:
        process = self._pause(record)
        if await process.adopt(shims):
            self._pauses[record.id] = process

    def close(self) -> None:
        """Stop watching; containers keep running."""
        for process in (*self._containers.values(), *self._pauses.values()):
            process.close()

    def observe(self) -> RuntimeState:
        """Return all sandboxes and containers as they are now."""
        return RuntimeState(
            tuple(self._view(record) for record in self._sandboxes.values()),
            tuple(process.view() for process in self._containers.values()),
        )

    async def usage(self) -> RuntimeUsage:
        """Return what the node and the containers that run have used, by their control groups."""
        return await asyncio.to_thread(self._usage)

    def _usage(self) -> RuntimeUsage:
        found = {}
        for process in tuple(self._containers.values()):
            if process.phase is Phase.RUNNING:
                used = usage.of_folders(map(Path, process.cgroups))
                if used is not None:
                    found[process.identity.id] = used
        return RuntimeUsage(time.time(), self._groups.used_by_node(), found)

    def sandbox_ids(self) -> frozenset[str]:
        """Return the ID of every sandbox, also of one that is being made."""
        return frozenset(self._sandboxes) | self._making

    def _view(self, record: SandboxRecord) -> Sandbox:
        view = record.view()
        pause = self._pauses.get(record.id)
        held = not record.config.share_processes or (pause and pause.phase is Phase.RUNNING)
        return view if held else replace(view, ready=False)

    def subscribe(self, callback: Callable[[PodRef], None]) -> None:
        """Call ``callback`` when a container has ended by itself."""
        self._callbacks.append(callback)

    def _announce(self, pod: PodRef) -> None:
        for callback in self._callbacks:
            callback(pod)

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        """Make namespaces, network and shared files; raises ContainerRuntimeError."""
        check_handler(config.handler, self.name)
        sandbox_id = secrets.token_hex(32)
        self._making.add(sandbox_id)
        try:
            self._limit(config)
            record = await self._boxes.create(sandbox_id, config)
            if config.share_processes:
                await self._start_pause(record)
        except BaseException:
            # Observable only from here on: no caller may remove a sandbox that is being made.
            self._sandboxes[sandbox_id] = SandboxRecord(sandbox_id, config, time.time())
            with suppress(ContainerRuntimeError):  # it stays, not ready, and is removed later
                await self.remove_sandbox(sandbox_id)
            raise
        finally:
            self._making.discard(sandbox_id)
        self._sandboxes[sandbox_id] = record
        return record.view()

    def _limit(self, config: SandboxConfig) -> None:
        """Set what the Pod's containers may use together; raises ContainerRuntimeError."""
        if config.resources is None:
            return
        try:
            self._groups.limit_pod(config.pod.uid, config.resources)
        except OSError as err:
            why = f"sandbox of Pod {config.pod}: {err}"
            raise ContainerRuntimeError(why, "CreatePodSandboxError") from err

    def _pause(self, record: SandboxRecord) -> ContainerProcess:
        """The holder of a shared process namespace: a container with an empty root."""
        folder = self._boxes.folder(record.id) / "pause"
        config = ContainerConfig("POD", record.config.attempt, "")
        identity = ContainerIdentity(
            record.id, record.id, record.config.pod, config, "", record.created, ""
        )
        return ContainerProcess(folder, identity, self._announce)

    async def _start_pause(self, record: SandboxRecord) -> None:
        process = self._pause(record)
        place = ContainerPlace(
            str(process.folder),
            log_path=str(process.folder / "pause.log"),
            shim_cgroup=self._groups.shim_folder(record.config.pod.uid),
            join=self._boxes.namespaces(record),
        )
        process.save(render_pause(place))
        self._pauses[record.id] = process
        await process.start()

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Stop a sandbox's containers, then remove its network and namespaces.

        Raises ContainerRuntimeError; it may be called again then.
        """
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
        """Stop and remove a sandbox and its containers."""
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
        """Remove a Pod's control groups if it has no sandbox and no container any more."""
        uids = {record.config.pod.uid for record in self._sandboxes.values()}
        uids |= {process.identity.pod.uid for process in self._containers.values()}
        if uid not in uids:
            await self._groups.remove_pod(uid)

    def _of(self, sandbox_id: str) -> list[ContainerProcess]:
        every = self._containers.values()
        return [process for process in every if process.identity.sandbox_id == sandbox_id]

    async def network_namespace(self, sandbox_id: str) -> str:
        """Return the path of a sandbox's network namespace."""
        return str(self._boxes.netns(sandbox_id))

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Write a container's checkpoint; nothing runs yet. Raises ContainerRuntimeError."""
        record = self._sandboxes[sandbox_id]
        image_id, image = self._images.find(config.image)
        container_id = secrets.token_hex(32)
        folder = self._root / "containers" / container_id
        log_path = str(Path(record.config.log_directory) / config.log_path)
        identity = ContainerIdentity(
            container_id, sandbox_id, record.config.pod, config, image_id, time.time(), log_path
        )
        process = ContainerProcess(folder, identity, self._announce)
        try:
            process.save(render(config, image, self._place(record, folder, log_path, config)))
        except OSError as err:
            files.remove_tree(folder)
            raise ContainerRuntimeError(
                f"container {config.name}: cannot be saved: {err}", "CreateContainerError"
            ) from err
        self._containers[container_id] = process
        return container_id

    def _place(
        self, record: SandboxRecord, folder: Path, log_path: str, config: ContainerConfig
    ) -> ContainerPlace:
        uid = record.config.pod.uid
        name = f"{config.name}.{config.attempt}"
        init = self._init(record, config.target)
        shared = {"pid": f"/proc/{init}/ns/pid"} if init else {}
        return ContainerPlace(
            str(folder),
            log_path,
            self._logs,
            cgroups=self._groups.create(
                uid, name, config.resources, privileged=config.rights.privileged
            ),
            shim_cgroup=self._groups.shim_folder(uid),
            join={**self._boxes.namespaces(record), **shared},
            mounts=self._boxes.mounts(record.id),
            own_processes=not record.config.host_pid,
            seccomp=self._filter(config.rights),
        )

    def _init(self, record: SandboxRecord, target: str) -> int:
        """Return the process whose PID namespace a container joins; 0 if it gets its own.

        Raises ContainerRuntimeError if the target does not run.
        """
        pause = self._pauses.get(record.id)
        if pause or not target or record.config.host_pid:
            return pause.pid if pause else 0
        named = [each for each in self._of(record.id) if each.identity.config.name == target]
        if found := next((each.pid for each in named if each.pid), 0):
            return found
        raise ContainerRuntimeError(
            f"unable to find target container {target}: it does not run", "CreateContainerError"
        )

    def _filter(self, rights: Rights) -> str:
        if rights.privileged or not rights.seccomp:
            return ""
        return seccomp.program(rights.seccomp, capabilities(rights), self._root / "seccomp")

    async def start_container(self, container_id: str) -> None:
        """Start a container; raises ContainerRuntimeError."""
        await self._container(container_id).start()

    def resizes(self) -> bool:
        """Return True if the kernel has control groups for CPU and memory."""
        return self._groups.limits_resources

    async def update_sandbox(self, sandbox_id: str, resources: Resources) -> None:
        """Change what a Pod's containers may use together; raises ContainerRuntimeError."""
        if (record := self._sandboxes.get(sandbox_id)) is None:
            raise ContainerRuntimeError(f"sandbox {sandbox_id[:13]} is gone")
        made = resizing.resize_sandbox(self._groups, self._boxes, record, resources)
        self._sandboxes[sandbox_id] = made

    async def update_container(self, container_id: str, resources: Resources) -> None:
        """Change the requests and limits of a running one; raises ContainerRuntimeError."""
        resizing.resize_container(self._groups, self._container(container_id), resources)

    async def memory_use(self, sandbox_id: str) -> MemoryUse:
        """Return how much memory a Pod uses now, and each of its containers."""
        if (record := self._sandboxes.get(sandbox_id)) is None:
            return MemoryUse()
        uid = record.config.pod.uid
        return resizing.memory_use(self._groups, uid, self._of(sandbox_id))

    async def stop_container(self, container_id: str, grace: float) -> None:
        """Ask a container to end, then kill it; raises ContainerRuntimeError."""
        if process := self._containers.get(container_id):
            await process.stop(grace)

    async def remove_container(self, container_id: str) -> None:
        """Kill a container, if it runs, and remove it."""
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

    async def reopen_log(self, container_id: str) -> None:
        """Do nothing: the shim rotates its log itself."""

    async def execute(
        self, container_id: str, command: tuple[str, ...], seconds: float
    ) -> ExecResult:
        """Run a command to its end; raises ContainerRuntimeError if it cannot start."""
        spec = self._exec_spec(container_id, command, terminal=False)
        return await execution.run(spec, seconds)

    async def open_exec(
        self, container_id: str, command: tuple[str, ...], *, stdin: bool, terminal: bool
    ) -> execution.CommandStream:
        """Run a command with streams; raises ContainerRuntimeError."""
        spec = self._exec_spec(container_id, command, terminal=terminal)
        return await execution.open_stream(spec, stdin=stdin)

    async def open_attach(self, container_id: str, *, stdin: bool) -> attachment.AttachStream:
        """Attach to a container's own streams, from now on; raises ContainerRuntimeError."""
        return await attachment.open_stream(self._container(container_id).folder, stdin=stdin)

    def _exec_spec(
        self, container_id: str, command: tuple[str, ...], *, terminal: bool
    ) -> dict[str, object]:
        process = self._container(container_id)
        config = process.identity.config
        if not process.pid:
            raise ContainerRuntimeError(f"container {config.name} is not running")
        image = self._images.find(config.image)[1]
        return render_exec(
            config,
            image,
            command,
            pid=process.pid,
            cgroups=process.cgroups,
            seccomp=process.seccomp,
            terminal=terminal,
        )

    def _container(self, container_id: str) -> ContainerProcess:
        process = self._containers.get(container_id)
        if process is None:
            raise ContainerRuntimeError(f"container {container_id[:13]} is gone")
        return process
