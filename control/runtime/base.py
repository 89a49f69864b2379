"""What the agent asks of whatever runs containers, in the terms of the Container Runtime Interface.

A sandbox is what a Pod's containers share (namespaces, addresses); a container runs in one. Each
method is one call of CRI's RuntimeService, so that a runtime behind CRI fits in later; the one in
``control.runtime.builtin`` needs nothing but a kernel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class RuntimeFailure(Exception):
    """A runtime could not do what it was asked; the text names the object, the step, the cause.

    ``reason`` is what Kubernetes shows for it, such as CreateContainerError or ErrImagePull.
    """

    def __init__(self, message: str, reason: str = "RunContainerError") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PodRef:
    """Which Pod something belongs to."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the node that leads to the Pod."""

    host_port: int
    container_port: int
    protocol: str
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """What a Pod's containers share."""

    pod: PodRef
    attempt: int
    hostname: str
    log_directory: str
    hosts: str = ""  # lines for /etc/hosts besides the Pod's own
    resolv_conf: str = ""
    domain: str = ""  # the Pod's fully qualified name, when it has a subdomain
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_processes: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortMapping, ...] = ()
    ingress_rate: int = 0  # bits a second; 0 is unlimited
    egress_rate: int = 0


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the node inside a container."""

    source: str
    target: str
    read_only: bool = False
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits; 0 is none. CPU in thousandths of a core, memory in bytes."""

    cpu_request: int = 0
    cpu_limit: int = 0
    memory_limit: int = 0
    pids_limit: int = 0
    oom_score_adj: int = 0


@dataclass(frozen=True, slots=True)
class Rights:
    """As whom a container runs, and what it may do. ``None`` leaves it to the image."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] = ()
    non_root: bool = False
    privileged: bool = False
    read_only_root: bool = False
    no_new_privileges: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """One container of a sandbox. Empty command and arguments are the image's own."""

    name: str
    attempt: int
    image: str
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    directory: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    resources: Resources = Resources()
    rights: Rights = Rights()
    terminal: bool = False
    stdin: bool = False
    stdin_once: bool = False  # its input ends with the first who was attached to it
    log_path: str = ""  # below the sandbox's log directory
    spec_hash: str = ""  # of the Pod's container as it was, to see that it was edited


class Phase(StrEnum):
    """Where a container is in its life."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox as it is. Not ready: something of it is gone, and it cannot be used again."""

    id: str
    pod: PodRef
    attempt: int
    ready: bool
    created: float
    addresses: tuple[str, ...] = ()
    host_network: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """A container as it is; times are seconds since the epoch, 0 for "not yet"."""

    id: str
    sandbox_id: str
    pod: PodRef
    name: str
    attempt: int
    phase: Phase
    image: str
    image_id: str
    created: float
    started: float = 0
    finished: float = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    log_path: str = ""
    spec_hash: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything a runtime has."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a command in a container ended. ``timed_out`` ones were killed."""

    exit_code: int
    output: bytes
    timed_out: bool = False


class ExecStream(Protocol):
    """A command that runs in a container, with its standard streams."""

    async def write(self, data: bytes) -> None:
        """Feed its standard input."""

    async def close_input(self) -> None:
        """End its standard input."""

    async def read_output(self) -> bytes:
        """The next piece of its standard output; empty at its end."""

    async def read_errors(self) -> bytes:
        """The next piece of its standard error; empty at its end."""

    def resize(self, width: int, height: int) -> None:
        """Tell its terminal the new size."""

    async def wait(self) -> int:
        """Its exit code, once it has ended."""

    async def close(self) -> None:
        """End it, if it still runs, and free what it held."""


class Runtime(Protocol):
    """Runs containers. Every removal may be asked twice; what is absent is removed."""

    name: str
    version: str

    async def open(self) -> None:
        """Adopt what an earlier agent left: running containers go on, remains are removed."""

    def close(self) -> None:
        """Stop watching; containers go on."""

    def observe(self) -> Observed:
        """What there is now."""

    def sandbox_ids(self) -> frozenset[str]:
        """Every sandbox, also one that is just being made and not shown yet."""

    def subscribe(self, callback: Callable[[PodRef], None]) -> None:
        """Call back, on the event loop, when something of a Pod changed by itself."""

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        """Make a sandbox with its network. Raises RuntimeFailure."""

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Take its network and namespaces away; its containers are stopped already."""

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Stop it, and forget it and its containers."""

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Make a container, not yet running; returns its ID. Raises RuntimeFailure."""

    async def start_container(self, container_id: str) -> None:
        """Run it; returns when its command was executed. Raises RuntimeFailure."""

    async def stop_container(self, container_id: str, grace: float) -> None:
        """Ask it to end, and after ``grace`` seconds make it; returns when it has ended."""

    async def remove_container(self, container_id: str) -> None:
        """Kill it, if it runs, and forget it."""

    async def execute(
        self, container_id: str, command: tuple[str, ...], seconds: float
    ) -> ExecResult:
        """Run a command in it, for so long at most. Raises RuntimeFailure if it does not run."""

    async def open_exec(
        self, container_id: str, command: tuple[str, ...], *, stdin: bool, terminal: bool
    ) -> ExecStream:
        """Run a command in it, with streams. Raises RuntimeFailure."""

    async def open_attach(self, container_id: str, *, stdin: bool) -> ExecStream:
        """Its own streams, from now on; closing them does not end it. Raises RuntimeFailure."""

    def network_namespace(self, sandbox_id: str) -> str:
        """The path of its network namespace, for a port-forward."""
