"""The implementation of ``control.runtime.base.Runtime`` by a CRI runtime."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from grpclib.const import Status

from control.runtime import hosts
from control.runtime.base import (
    ContainerConfig,
    ContainerRuntimeError,
    Credentials,
    DiskSpace,
    ExecResult,
    ExecStream,
    Phase,
    PodRef,
    Resources,
    RuntimeState,
    Sandbox,
    SandboxConfig,
    StoredImage,
)
from control.runtime.cri import calls, inspect, render, streams, usage
from control.runtime.cri.cache import Cache
from control.runtime.cri.calls import CallError, Calls
from control.runtime.cri.endpoint import socket_path
from control.runtime.cri.groups import PodGroups
from control.runtime.cri.images import Images, stored
from control.runtime.cri.mounts import Mounts
from control.runtime.cri.records import Records
from control.runtime.cri.relist import RELIST_SECONDS, Relist
from control.runtime.cri.v1 import api_pb2 as pb
from control.runtime.used import MemoryUse, RuntimeUsage

logger = logging.getLogger(__name__)

_MOST_OUTPUT = 10 * 1024  # bytes of a probe's output, as in kubelet
_SPARE_SECONDS = 120.0  # for a call that itself waits, beyond what it waits for
_RESIZE = "ResizePodInPlaceError"


class CriRuntime:
    """Runs Pods through a CRI runtime; see docs/cri.md."""

    rotates = False
    pulls = True

    def __init__(
        self, endpoint: str, root: Path, groups: PodGroups, period: float = RELIST_SECONDS
    ) -> None:
        """Raises EndpointError; the runtime is not asked before ``open``, then each ``period``."""
        self.name, self.version = "", ""
        self._root, self._groups = root, groups
        self._call = Calls(socket_path(endpoint))
        self._cache, self._records = Cache(), Records(root)
        self._relist = Relist(self._call, self._cache, self._records, period)
        self._images = Images(self._call)
        self._mounts = Mounts(root / "subpaths")
        self._making: set[str] = set()
        self._callbacks: list[Callable[[PodRef], None]] = []
        self._watching: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Find what runs, then watch it; raises ContainerRuntimeError."""
        self.name, self.version = await inspect.version(self._call)
        logger.info("container runtime %s %s at %s", self.name, self.version, self._call.socket)
        await self._relist.once()
        for sandbox_id in self._records.ids():
            if self._cache.sandboxes.get(sandbox_id) is None:
                self._forget(sandbox_id)
        self._watching = asyncio.create_task(self._relist.run(self._making, self._announce))

    def close(self) -> None:
        """Stop watching; containers keep running."""
        if self._watching is not None:
            self._watching.cancel()
        self._call.close()

    async def problem(self) -> str:
        """Return why no Pod can be run or connected now; empty if nothing is wrong."""
        return await inspect.problem(self._call)

    def on_health(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the runtime has begun or ceased to answer."""
        self._relist.on_health = callback

    def observe(self) -> RuntimeState:
        """Return what was last seen: it is at most a second old while the runtime answers."""
        return self._cache.state()

    def sandbox_ids(self) -> frozenset[str]:
        """Return the ID of every sandbox."""
        return frozenset(item.id for item in self._cache.sandboxes.items())

    def subscribe(self, callback: Callable[[PodRef], None]) -> None:
        """Call ``callback`` when something of a Pod has changed by itself."""
        self._callbacks.append(callback)

    def _announce(self, pod: PodRef) -> None:
        for callback in self._callbacks:
            callback(pod)

    async def usage(self) -> RuntimeUsage:
        """Return what has been used until now, as the runtime counts it."""
        return await usage.of_node(self._call, self._cache, self._groups)

    async def memory_use(self, sandbox_id: str) -> MemoryUse:
        """Return how much memory a Pod uses now, and each of its containers."""
        return await usage.memory(self._call, self._cache, self._groups, sandbox_id)

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        """Make a sandbox, whose network the runtime connects; raises ContainerRuntimeError."""
        uid = config.pod.uid
        self._making.add(uid)
        try:
            return await self._run_sandbox(config)
        except OSError as err:
            why = f"sandbox of Pod {config.pod}: {err}"
            raise ContainerRuntimeError(why, "CreatePodSandboxError") from err
        except ContainerRuntimeError as err:
            err.reason = "CreatePodSandboxError"
            raise
        finally:
            self._making.discard(uid)

    async def _run_sandbox(self, config: SandboxConfig) -> Sandbox:
        uid = config.pod.uid
        if config.resources is not None:
            self._groups.limit_pod(uid, config.resources)
        await asyncio.to_thread(Path(config.log_directory).mkdir, parents=True, exist_ok=True)
        message = render.sandbox(config, self._groups.pod_parent(uid))
        request = pb.RunPodSandboxRequest(config=message, runtime_handler=config.handler)
        made = await self._call(calls.RUN_SANDBOX, request)
        sandbox_id = made.pod_sandbox_id
        box = await self._relist.read(sandbox_id)
        if box is None:
            raise ContainerRuntimeError(f"sandbox of Pod {config.pod}: it is gone, just made")
        lines = hosts.render(config, box.addresses)
        self._records.save(sandbox_id, message, lines, config.resources)
        box = replace(box, resources=config.resources)
        self._cache.sandboxes.put(box)
        return box

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Stop a sandbox's containers, and disconnect it; raises ContainerRuntimeError."""
        request = pb.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._absent_is_done(self._call(calls.STOP_SANDBOX, request))
        await self._refresh_sandbox(sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Stop and remove a sandbox and its containers; raises ContainerRuntimeError."""
        box = self._cache.sandboxes.get(sandbox_id)
        await self.stop_sandbox(sandbox_id)
        for container in self._cache.of(sandbox_id):
            await self.remove_container(container.id)
        request = pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._absent_is_done(self._call(calls.REMOVE_SANDBOX, request))
        self._forget(sandbox_id)
        self._cache.sandboxes.drop(sandbox_id)
        if box is not None:
            await self._release(box.pod.uid)

    def _forget(self, sandbox_id: str) -> None:
        self._mounts.remove(sandbox_id)
        self._records.remove(sandbox_id)

    async def _release(self, uid: str) -> None:
        """Remove a Pod's control groups if it has no sandbox any more."""
        boxes = self._cache.sandboxes.items()
        if uid not in self._making and all(box.pod.uid != uid for box in boxes):
            await self._groups.remove_pod(uid)

    async def _refresh_sandbox(self, sandbox_id: str) -> None:
        if self._cache.sandboxes.get(sandbox_id) is None:
            return
        found = await self._relist.sandbox(sandbox_id)
        if found is None:
            self._cache.sandboxes.drop(sandbox_id)
        else:
            self._cache.sandboxes.put(found)
        for container in self._cache.of(sandbox_id):
            await self._refresh(container.id, sandbox_id)

    async def _refresh(self, container_id: str, sandbox_id: str) -> None:
        found = await self._relist.container(container_id, sandbox_id)
        if found is None:
            self._cache.containers.drop(container_id)
        else:
            self._cache.containers.put(found)

    async def _absent_is_done(self, call: Awaitable[object]) -> None:
        """Await the removal of something; it may be gone already."""
        try:
            await call
        except CallError as err:
            if err.status is not Status.NOT_FOUND:
                raise

    async def image(self, reference: str) -> StoredImage | None:
        """Return an image that the runtime has; None if it has not."""
        found = await self._images.find(reference)
        return stored(found) if found is not None else None

    async def images(self) -> tuple[StoredImage, ...]:
        """Return every image that the runtime has; raises ContainerRuntimeError."""
        return await self._images.list()

    async def pull_image(
        self, reference: str, sandbox_id: str, credentials: Credentials | None
    ) -> StoredImage:
        """Pull an image for a container of a sandbox; raises ContainerRuntimeError."""
        return stored(await self._images.pull(reference, credentials, self._shared(sandbox_id)))

    async def remove_image(self, image_id: str) -> None:
        """Remove an image with all of its names; raises ContainerRuntimeError."""
        await self._images.remove(image_id)

    async def image_disk(self) -> DiskSpace:
        """Return the space of the file system with the images; raises ContainerRuntimeError."""
        return await self._images.disk()

    def _shared(self, sandbox_id: str) -> pb.PodSandboxConfig:
        """Return the message of a sandbox that is there; raises ContainerRuntimeError."""
        shared = self._records.config(sandbox_id)
        if shared is None:
            raise ContainerRuntimeError("the Pod's sandbox is gone", "CreateContainerError")
        return shared

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Create a container of an image that is here; raises ContainerRuntimeError."""
        shared = self._shared(sandbox_id)
        image = await self._images.find(config.image)
        if image is None:
            why = f'image "{config.image}" is not in the runtime any more'
            raise ContainerRuntimeError(why, "CreateContainerError")
        try:
            message = render.container(
                config,
                shared,
                image,
                mounts=self._mounts.make(sandbox_id, config, self._records.hosts(sandbox_id)),
                target=self._target(sandbox_id, config.target),
                seccomp_root=str(self._root / "seccomp"),
            )
            request = pb.CreateContainerRequest(
                pod_sandbox_id=sandbox_id, config=message, sandbox_config=shared
            )
            container_id = (await self._call(calls.CREATE, request)).container_id
            self._records.save_container(sandbox_id, container_id, config)
        except (CallError, OSError) as err:
            raise ContainerRuntimeError(str(err), "CreateContainerError") from err
        await self._refresh(container_id, sandbox_id)
        return container_id

    def _target(self, sandbox_id: str, name: str) -> str:
        """Return the ID of the container whose processes another one is to see; "" without one."""
        if not name:
            return ""
        for container in self._cache.of(sandbox_id):
            if container.name == name and container.phase is Phase.RUNNING:
                return container.id
        raise ContainerRuntimeError(
            f"unable to find target container {name}: it does not run", "CreateContainerError"
        )

    async def start_container(self, container_id: str) -> None:
        """Start a container; raises ContainerRuntimeError, and it has ended then."""
        sandbox_id = self._sandbox_of(container_id)
        try:
            await self._call(calls.START, pb.StartContainerRequest(container_id=container_id))
        finally:
            await self._refresh(container_id, sandbox_id)

    def _sandbox_of(self, container_id: str) -> str:
        found = self._cache.containers.get(container_id)
        if found is None:
            raise ContainerRuntimeError(f"container {container_id[:13]} is gone")
        return found.sandbox_id

    async def stop_container(self, container_id: str, grace: float) -> None:
        """Ask a container to end, kill it after ``grace`` seconds, rounded up to whole ones."""
        found = self._cache.containers.get(container_id)
        if found is None:
            return
        timeout = render.whole_seconds(grace)
        request = pb.StopContainerRequest(container_id=container_id, timeout=timeout)
        await self._absent_is_done(self._call(calls.STOP, request, timeout + _SPARE_SECONDS))
        await self._refresh(container_id, found.sandbox_id)

    async def remove_container(self, container_id: str) -> None:
        """Kill a container, if it runs, and remove it; raises ContainerRuntimeError."""
        found = self._cache.containers.get(container_id)
        if found is None:
            return
        if found.phase is Phase.RUNNING:
            await self.stop_container(container_id, 0)
        request = pb.RemoveContainerRequest(container_id=container_id)
        await self._absent_is_done(self._call(calls.REMOVE, request))
        self._mounts.remove_container(found.sandbox_id, f"{found.name}.{found.attempt}")
        self._records.remove_container(found.sandbox_id, container_id)
        self._cache.containers.drop(container_id)

    def resizes(self) -> bool:
        """Return True: UpdateContainerResources is older than the first v1."""
        return True

    async def update_sandbox(self, sandbox_id: str, resources: Resources) -> None:
        """Change what a Pod's containers may use together; raises ContainerRuntimeError."""
        box = self._cache.sandboxes.get(sandbox_id)
        if box is None:
            raise ContainerRuntimeError(f"sandbox {sandbox_id[:13]} is gone")
        try:
            self._groups.limit_pod(box.pod.uid, resources)
            self._records.limit(sandbox_id, resources)
        except OSError as err:
            why = f"Pod {box.pod}: its resources cannot be changed: {err}"
            raise ContainerRuntimeError(why, _RESIZE) from err
        self._cache.sandboxes.put(replace(box, resources=resources))

    async def update_container(self, container_id: str, resources: Resources) -> None:
        """Change the requests and limits of a running one; raises ContainerRuntimeError."""
        sandbox_id = self._sandbox_of(container_id)
        message = render.resources(resources)
        request = pb.UpdateContainerResourcesRequest(container_id=container_id, linux=message)
        try:
            await self._call(calls.UPDATE, request)
            self._records.limit_container(sandbox_id, container_id, resources)
        except (CallError, OSError) as err:
            raise ContainerRuntimeError(str(err), _RESIZE) from err
        await self._refresh(container_id, sandbox_id)

    async def reopen_log(self, container_id: str) -> None:
        """Write a container's log to a new file from now on; raises ContainerRuntimeError."""
        await self._call(calls.REOPEN_LOG, pb.ReopenContainerLogRequest(container_id=container_id))

    async def execute(
        self, container_id: str, command: tuple[str, ...], seconds: float
    ) -> ExecResult:
        """Run a command for up to ``seconds``, rounded up; raises ContainerRuntimeError.

        The output is what it wrote to its standard output, then to its standard error.
        """
        timeout = max(1, render.whole_seconds(seconds))
        request = pb.ExecSyncRequest(container_id=container_id, cmd=command, timeout=timeout)
        try:
            done = await self._call(calls.EXEC_SYNC, request, timeout + _SPARE_SECONDS)
        except CallError as err:
            if err.status is Status.DEADLINE_EXCEEDED:
                return ExecResult(-1, b"", timed_out=True)
            raise
        return ExecResult(done.exit_code, (done.stdout + done.stderr)[:_MOST_OUTPUT])

    async def open_exec(
        self, container_id: str, command: tuple[str, ...], *, stdin: bool, terminal: bool
    ) -> ExecStream:
        """Run a command with streams; raises ContainerRuntimeError."""
        request = pb.ExecRequest(
            container_id=container_id,
            cmd=command,
            stdin=stdin,
            tty=terminal,
            stdout=True,
            stderr=not terminal,
        )
        url = (await self._call(calls.EXEC, request)).url
        return await streams.connect(url, stdin=stdin, stderr=not terminal, terminal=terminal)

    async def open_attach(self, container_id: str, *, stdin: bool) -> ExecStream:
        """Attach to a container's streams; raises ContainerRuntimeError."""
        terminal = self._records.terminal(self._sandbox_of(container_id), container_id)
        request = pb.AttachRequest(
            container_id=container_id,
            stdin=stdin,
            tty=terminal,
            stdout=True,
            stderr=not terminal,
        )
        url = (await self._call(calls.ATTACH, request)).url
        return await streams.connect(url, stdin=stdin, stderr=not terminal, terminal=terminal)

    async def network_namespace(self, sandbox_id: str) -> str:
        """Return the path of a sandbox's network namespace; raises ContainerRuntimeError."""
        return await inspect.network_namespace(self._call, sandbox_id)
