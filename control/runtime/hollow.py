"""A runtime that runs nothing: it keeps what it was asked for, and says that it runs.

A hollow node has it, to measure what a cluster costs beside its containers. It is a full
implementation of the protocol: tests/netns/node/runtime/test_life.py asks the same of all runtimes.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TypeVar

from control.runtime.base import (
    Container,
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
    check_handler,
)
from control.runtime.used import MemoryUse, RuntimeUsage, Usage
from control.version import PODWIRE

T = TypeVar("T", Sandbox, Container)

NO_RANGE = "the Node has no Pod CIDRs yet"
_KILLED = 137  # nothing in a container heeds the signal, as with process 1 of a namespace
_DISK = 100 << 30
_IMAGE_BYTES = 1 << 20


class HollowRuntime:
    """Sandboxes and containers as values, of one node."""

    name = "hollow"
    version = PODWIRE
    rotates = True  # there are no logs
    pulls = True

    def __init__(
        self,
        ranges: Callable[[], Sequence[str]],
        full_name: Callable[[str], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``ranges`` returns the node's Pod CIDRs, at most one of each IP version.

        ``full_name`` completes the name of an image, which may be short.
        """
        self._ranges, self._full_name, self._clock = ranges, full_name, clock
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, Container] = {}
        self._images: dict[str, StoredImage] = {}
        self._taken: set[str] = set()
        self._numbers = itertools.count(1)
        self._seen: RuntimeState | None = None

    async def open(self) -> None:
        """Find nothing: no container outlives its agent."""

    def close(self) -> None:
        """Stop nothing."""

    async def problem(self) -> str:
        """Return what keeps Pods from an address; "" if nothing does."""
        return "" if self._ranges() else NO_RANGE

    def observe(self) -> RuntimeState:
        """Return all sandboxes and containers."""
        if self._seen is None:
            self._seen = RuntimeState(
                tuple(self._sandboxes.values()), tuple(self._containers.values())
            )
        return self._seen

    async def usage(self) -> RuntimeUsage:
        """Return that nothing has been used."""
        running = [it.id for it in self._containers.values() if it.phase is Phase.RUNNING]
        return RuntimeUsage(self._clock(), Usage(0, 0), dict.fromkeys(running, Usage(0, 0)))

    def sandbox_ids(self) -> frozenset[str]:
        """Return the ID of every sandbox."""
        return frozenset(self._sandboxes)

    def subscribe(self, callback: Callable[[PodRef], None]) -> None:
        """Take a callback that is never called: nothing changes by itself."""

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        """Say that a sandbox is there; raises ContainerRuntimeError."""
        check_handler(config.handler, self.name)
        addresses = () if config.host_network else self._allocate(config.addresses)
        made = Sandbox(
            f"sandbox-{next(self._numbers)}",
            config.pod,
            config.attempt,
            ready=True,
            created=self._clock(),
            addresses=addresses,
            host_network=config.host_network,
            resources=config.resources,
        )
        self._keep(self._sandboxes, made)
        return made

    def _allocate(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Take a free address of each range: the wanted one if it can be had."""
        if not (ranges := self._ranges()):
            raise ContainerRuntimeError(NO_RANGE)
        free = [self._free(each, wanted) for each in ranges]
        self._taken.update(free)
        return tuple(free)

    def _free(self, cidr: str, wanted: Sequence[str]) -> str:
        hosts = iter(ip_network(cidr).hosts())
        gateway = str(next(hosts, ""))
        candidates = itertools.chain(_inside(wanted, cidr), map(str, hosts))
        taken = self._taken | {gateway}
        found = next((address for address in candidates if address not in taken), None)
        if found is None:
            raise ContainerRuntimeError(f"no address of {cidr} is free")
        return found

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Free a sandbox's addresses."""
        if (found := self._sandboxes.get(sandbox_id)) and found.ready:
            self._taken.difference_update(found.addresses)
            for container in self._of(sandbox_id):
                self._end(container)
            self._keep(self._sandboxes, replace(found, ready=False, addresses=()))

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Forget a sandbox and its containers."""
        await self.stop_sandbox(sandbox_id)
        for container in self._of(sandbox_id):
            del self._containers[container.id]
        self._sandboxes.pop(sandbox_id, None)
        self._seen = None

    def _of(self, sandbox_id: str) -> list[Container]:
        return [it for it in self._containers.values() if it.sandbox_id == sandbox_id]

    async def image(self, reference: str) -> StoredImage | None:
        """Return an image that was "pulled"."""
        return self._images.get(self._full_name(reference))

    async def images(self) -> tuple[StoredImage, ...]:
        """Return every image that was "pulled"."""
        return tuple(self._images.values())

    async def pull_image(
        self, reference: str, sandbox_id: str, credentials: Credentials | None, /
    ) -> StoredImage:
        """Say that an image is here from now on, whatever its name."""
        del sandbox_id, credentials
        name = self._full_name(reference)
        image = StoredImage((name,), _IMAGE_BYTES, f"sha256:hollow-{len(self._images) + 1}")
        return self._images.setdefault(name, image)

    async def remove_image(self, image_id: str) -> None:
        """Forget an image."""
        self._images = {name: it for name, it in self._images.items() if it.id != image_id}

    async def image_disk(self) -> DiskSpace:
        """Return a disk on which nothing is."""
        return DiskSpace(_DISK, _DISK)

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Note a container of an image that is here; raises ContainerRuntimeError."""
        box = self._sandboxes.get(sandbox_id)
        if box is None or not box.ready:
            raise ContainerRuntimeError(f"no sandbox {sandbox_id}", "CreateContainerError")
        image = await self.image(config.image)
        if image is None:
            raise ContainerRuntimeError(f"no image {config.image}", "CreateContainerError")
        made = Container(
            id=f"container-{next(self._numbers)}",
            sandbox_id=sandbox_id,
            pod=box.pod,
            name=config.name,
            attempt=config.attempt,
            phase=Phase.CREATED,
            image=config.image,
            image_id=image.id,
            created=self._clock(),
            spec_hash=config.spec_hash,
            resources=config.resources,
        )
        self._keep(self._containers, made)
        return made.id

    async def start_container(self, container_id: str) -> None:
        """Say that a container runs; raises ContainerRuntimeError."""
        found = self._known(container_id)
        self._keep(self._containers, replace(found, phase=Phase.RUNNING, started=self._clock()))

    def resizes(self) -> bool:
        """Return True: there is nothing to hold anybody to."""
        return True

    async def update_sandbox(self, sandbox_id: str, resources: Resources) -> None:
        """Note what a Pod's containers may use together; raises ContainerRuntimeError."""
        if sandbox_id not in self._sandboxes:
            raise ContainerRuntimeError(f"no sandbox {sandbox_id}")
        self._keep(self._sandboxes, replace(self._sandboxes[sandbox_id], resources=resources))

    async def update_container(self, container_id: str, resources: Resources) -> None:
        """Note the requests and limits of a container; raises ContainerRuntimeError."""
        self._keep(self._containers, replace(self._known(container_id), resources=resources))

    async def memory_use(self, sandbox_id: str) -> MemoryUse:
        """Return that no memory is used."""
        return MemoryUse(0, {it.id: 0 for it in self._of(sandbox_id)})

    async def stop_container(self, container_id: str, grace: float) -> None:
        """Say that a container has ended, at once."""
        del grace
        if found := self._containers.get(container_id):
            self._end(found)

    def _end(self, container: Container) -> None:
        if container.phase is not Phase.EXITED:
            ended = replace(
                container,
                phase=Phase.EXITED,
                finished=self._clock(),
                exit_code=_KILLED,
                reason="Error",
            )
            self._keep(self._containers, ended)

    async def remove_container(self, container_id: str) -> None:
        """Forget a container."""
        self._containers.pop(container_id, None)
        self._seen = None

    async def reopen_log(self, container_id: str) -> None:
        """Do nothing: there is no log."""

    async def execute(
        self, container_id: str, command: tuple[str, ...], seconds: float
    ) -> ExecResult:
        """Say that a command has worked, as a probe wants to hear; raises ContainerRuntimeError."""
        del command, seconds
        self._known(container_id)
        return ExecResult(0, b"")

    async def open_exec(
        self, container_id: str, command: tuple[str, ...], *, stdin: bool, terminal: bool
    ) -> ExecStream:
        """Refuse: raises ContainerRuntimeError."""
        del command, stdin, terminal
        raise self._nothing_runs(container_id)

    async def open_attach(self, container_id: str, *, stdin: bool) -> ExecStream:
        """Refuse: raises ContainerRuntimeError."""
        del stdin
        raise self._nothing_runs(container_id)

    async def network_namespace(self, sandbox_id: str) -> str:
        """Refuse: raises ContainerRuntimeError."""
        raise ContainerRuntimeError(f"sandbox {sandbox_id} is hollow: it has no network namespace")

    def _nothing_runs(self, container_id: str) -> ContainerRuntimeError:
        return ContainerRuntimeError(f"container {container_id} is hollow: nothing runs in it")

    def _known(self, container_id: str) -> Container:
        if found := self._containers.get(container_id):
            return found
        raise ContainerRuntimeError(f"no container {container_id}")

    def _keep(self, known: dict[str, T], item: T) -> None:
        known[item.id] = item
        self._seen = None


def _inside(addresses: Sequence[str], cidr: str) -> Iterator[str]:
    """Return the addresses that are of a range."""
    network = ip_network(cidr)
    return (text for text in addresses if ip_address(text) in network)
