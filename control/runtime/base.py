"""The protocol between the agent and a container runtime, in the terms of CRI.

A sandbox is what a Pod's containers share (namespaces, addresses); containers run in it. Each
method is one call of CRI's RuntimeService. The runtime in ``control.runtime.builtin`` needs only a
kernel; that in ``control.runtime.cri`` calls a CRI runtime such as containerd; that in
``control.runtime.hollow`` only says that containers run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from control.runtime.used import MemoryUse, RuntimeUsage

RUNTIME_DOWN = "container runtime is down"  # kubelet's words for it, in the node's condition


class ContainerRuntimeError(Exception):
    """A call to a container runtime failed; the text names the object, the step, the cause.

    ``reason`` is the one that Kubernetes shows, such as CreateContainerError or ErrImagePull.
    """

    def __init__(self, message: str, reason: str = "RunContainerError") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PodRef:
    """The Pod to which an object belongs."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the node that is forwarded to the Pod."""

    host_port: int
    container_port: int
    protocol: str
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Resources:
    """Requests and limits; 0 is none. CPU in thousandths of a core, memory in bytes.

    A request of memory has no effect in the kernel. None: an older agent did not note it.
    """

    cpu_request: int = 0
    cpu_limit: int = 0
    memory_limit: int = 0
    pids_limit: int = 0
    oom_score_adj: int = 0
    memory_request: int | None = None


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """The configuration of what a Pod's containers share."""

    pod: PodRef
    attempt: int
    hostname: str
    log_directory: str
    hosts: str = ""  # lines for /etc/hosts besides the Pod's own
    resolv_conf: str = ""
    domain: str = ""  # the Pod's fully qualified name, if it has a subdomain
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_processes: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortMapping, ...] = ()
    ingress_rate: int = 0  # bits a second; 0 is unlimited
    egress_rate: int = 0
    addresses: tuple[str, ...] = ()  # those that the Pod had, and gets again if they are free
    resources: Resources | None = None  # what all containers may use together; None: no matter
    privileged: bool = False  # one of the containers is; CRI wants to know beforehand
    handler: str = ""  # of a RuntimeClass: how the runtime runs the Pod; "" is as all


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the node that a container sees.

    ``propagation``: "" for later mounts on either side that the other does not see, or Kubernetes'
    HostToContainer or Bidirectional.
    """

    source: str
    target: str
    read_only: bool = False
    sub_path: str = ""
    propagation: str = ""


@dataclass(frozen=True, slots=True)
class Rights:
    """A container's user and privileges; None leaves them to the image."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] = ()
    non_root: bool = False
    privileged: bool = False
    read_only_root: bool = False
    no_new_privileges: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    seccomp: str = ""  # "" is unconfined; or runtime/default, or localhost/PATH


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """One container of a sandbox. Empty command and arguments default to the image's."""

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
    stdin_once: bool = False  # the input ends when the first attached client ends it
    log_path: str = ""  # below the sandbox's log directory
    spec_hash: str = ""  # of the Pod's container at its start, to find later edits
    target: str = ""  # the container whose processes this one sees, if not its own


class Phase(StrEnum):
    """The phase of a container's life."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox as observed. One that is not ready has lost a part, and cannot be used again."""

    id: str
    pod: PodRef
    attempt: int
    ready: bool
    created: float
    addresses: tuple[str, ...] = ()
    host_network: bool = False
    resources: Resources | None = None  # those in force; None: an older agent set none


@dataclass(frozen=True, slots=True)
class Container:
    """A container as observed; times are seconds since the epoch, 0 for "not yet"."""

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
    resources: Resources | None = None  # those in force


@dataclass(frozen=True, slots=True)
class RuntimeState:
    """All sandboxes and containers of a runtime."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecResult:
    """The end of a command in a container; one that ``timed_out`` was killed."""

    exit_code: int
    output: bytes
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that a runtime has: its names, its size in bytes, its ID.

    One that is ``pinned`` is the runtime's own, and never removed.
    """

    names: tuple[str, ...]
    size: int
    id: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The bytes of a file system: all, and those that are free for anybody."""

    capacity: int
    available: int


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How much is kept of a container's log: ``most_files`` of up to ``most_bytes`` each.

    The values are kubelet's containerLogMaxSize and containerLogMaxFiles; a negative size is no
    limit. There are at least two files.
    """

    most_bytes: int = 10 * 1024 * 1024
    most_files: int = 5


DEFAULT_LOGS = LogLimits()


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user of an image registry."""

    user: str
    password: str = field(repr=False)


def check_handler(handler: str, known: str) -> None:
    """Refuse a RuntimeClass's handler that is not there, in containerd's words.

    Raises ContainerRuntimeError.
    """
    if handler not in ("", known):
        text = f'failed to get sandbox runtime: no runtime for "{handler}" is configured'
        raise ContainerRuntimeError(text)


class ExecStream(Protocol):
    """A command that runs in a container, with its standard streams."""

    async def write(self, data: bytes) -> None:
        """Write to the command's standard input."""

    async def close_input(self) -> None:
        """Close the command's standard input."""

    async def read_output(self) -> bytes:
        """Return the next piece of standard output; empty at its end."""

    async def read_errors(self) -> bytes:
        """Return the next piece of standard error; empty at its end."""

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size."""

    async def wait(self) -> int:
        """Wait for the command's end, and return its exit code: 128 and its number for a signal."""

    async def close(self) -> None:
        """End the command, if it still runs, and close its streams."""


class Runtime(Protocol):
    """A container runtime. Every removal may be called again; an absent object is removed."""

    name: str
    version: str
    rotates: bool  # True: the runtime keeps logs in their limits itself
    pulls: bool  # False: images only come by import, and every pull fails

    async def open(self) -> None:
        """Adopt what an earlier agent left: running containers continue, remains are removed."""

    def close(self) -> None:
        """Stop watching; containers keep running."""

    def observe(self) -> RuntimeState:
        """Return all sandboxes and containers as they are now."""

    async def usage(self) -> RuntimeUsage:
        """Return what has been used until now; raises ContainerRuntimeError."""

    def sandbox_ids(self) -> frozenset[str]:
        """Return the ID of every sandbox, also of one that is being made and not observable yet."""

    def subscribe(self, callback: Callable[[PodRef], None]) -> None:
        """Call ``callback`` on the event loop when something of a Pod has changed by itself."""

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        """Make a sandbox and connect it; raises ContainerRuntimeError."""

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Remove a sandbox's network and namespaces; its containers are stopped already."""

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Stop and remove a sandbox and its containers."""

    async def image(self, reference: str) -> StoredImage | None:
        """Return an image that the runtime has; None if it has not. Raises ContainerRuntimeError.

        A reference may be short, and has a tag or digest.
        """

    async def images(self) -> tuple[StoredImage, ...]:
        """Return every image that the runtime has; raises ContainerRuntimeError."""

    async def pull_image(
        self, reference: str, sandbox_id: str, credentials: Credentials | None, /
    ) -> StoredImage:
        """Pull an image for a container of a sandbox; raises ContainerRuntimeError."""

    async def remove_image(self, image_id: str) -> None:
        """Remove an image with all of its names; raises ContainerRuntimeError."""

    async def image_disk(self) -> DiskSpace:
        """Return the space of the file system with the images; raises ContainerRuntimeError."""

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Create a container of an image that is here, and return its ID.

        Raises ContainerRuntimeError.
        """

    async def start_container(self, container_id: str) -> None:
        """Start a container; return when its command runs. Raises ContainerRuntimeError."""

    def resizes(self) -> bool:
        """Return True if the resources of a running container can be changed."""

    async def update_sandbox(self, sandbox_id: str, resources: Resources) -> None:
        """Change what a Pod's containers may use together; raises ContainerRuntimeError."""

    async def update_container(self, container_id: str, resources: Resources) -> None:
        """Change the requests and limits of a running one; raises ContainerRuntimeError."""

    async def memory_use(self, sandbox_id: str) -> MemoryUse:
        """Return how much memory is used now; raises ContainerRuntimeError."""

    async def stop_container(self, container_id: str, grace: float) -> None:
        """Ask a container to end, kill it after ``grace`` seconds, return when it has ended."""

    async def remove_container(self, container_id: str) -> None:
        """Kill a container, if it runs, and remove it."""

    async def reopen_log(self, container_id: str) -> None:
        """Write a container's log to a new file from now on: the old one was renamed.

        Raises ContainerRuntimeError.
        """

    async def execute(
        self, container_id: str, command: tuple[str, ...], seconds: float
    ) -> ExecResult:
        """Run a command in a container for up to ``seconds``; raises ContainerRuntimeError."""

    async def open_exec(
        self, container_id: str, command: tuple[str, ...], *, stdin: bool, terminal: bool
    ) -> ExecStream:
        """Run a command in a container, with streams; raises ContainerRuntimeError."""

    async def open_attach(self, container_id: str, *, stdin: bool) -> ExecStream:
        """Attach to a container's streams, from now on; raises ContainerRuntimeError.

        Closing the streams does not end the container.
        """

    async def network_namespace(self, sandbox_id: str) -> str:
        """Return the path of a sandbox's network namespace, for port-forward.

        Raises ContainerRuntimeError.
        """
