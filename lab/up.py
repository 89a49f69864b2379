"""Makes a lab: credentials and processes, then the wait until every node is ready."""

import asyncio
import gc
import socket
from collections.abc import Callable, Collection
from pathlib import Path

from control.api import kinds
from control.api.node import Node
from control.api.times import seconds_of
from control.client import Client, Informer
from control.cloud.nodes.decide import waits
from control.linux.errors import cause
from control.runtime.base import ContainerRuntimeError
from control.runtime.images import tools
from control.runtime.images.store import ImageStore
from lab import main, modules
from lab.change import require_backend
from lab.cloud import write_machines
from lab.components import save_components
from lab.credentials import write_credentials
from lab.down import remove
from lab.keeper import launch
from lab.machine import BOUND
from lab.parts import machines
from lab.report import Say, Steps
from lab.spec import LabSpec, Machine
from lab.state import IMAGES, ROOT, LabDir, lab_dir, locked
from lab.status import named, stopped

BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static
READY_SECONDS = 60
READY_SECONDS_PER_NODE = 10


class LabExistsError(Exception):
    """There is a lab of this name already; the text says how to start or end it."""


class LabCreationError(Exception):
    """The lab could not be made; the text names the cause."""


class NotReadyError(Exception):
    """A part of the running lab did not become ready in time; the text names it."""


def make(spec: LabSpec, steps: Steps) -> LabDir:
    """Start the lab's processes; after a failure nothing is left behind.

    Raises LabExistsError, LaunchError, LabCreationError, BackendMissingError.
    """
    require_backend(spec.proxy)
    try:
        return _make(spec, steps)
    except OSError as err:
        raise LabCreationError(
            f"lab {spec.name} cannot be made below {ROOT.parent}: {cause(err)}"
        ) from err


def _make(spec: LabSpec, steps: Steps) -> LabDir:
    lab = lab_dir(spec.name)
    with locked():
        _claim(lab, spec, steps)
    try:
        prepare_host(spec, steps)
        with steps.step("certificates", animated=False):
            management = _prepare(lab, spec)
        with steps.step(f"{len(spec.nodes)} nodes and the control plane", animated=False):
            start(lab, spec, management)
    except BaseException:
        remove(lab)
        raise
    return lab


def _claim(lab: LabDir, spec: LabSpec, steps: Steps) -> None:
    keeper = lab.keeper()
    if keeper is not None and keeper.alive:
        raise LabExistsError(
            f"lab {lab.name} is up already; end it with: podwire lab down --name {lab.name}"
        )
    if keeper is not None and lab.spec() is not None:
        raise LabExistsError(
            f"lab {lab.name} is there, and does not run; start it with: podwire lab start"
            f"{named(lab)}; or remove it with: podwire lab down{named(lab)}"
        )
    if lab.path.exists():
        with steps.step(f"what a half-made lab {lab.name} left behind, removed", animated=False):
            remove(lab)
    lab.create(spec)


def prepare_host(spec: LabSpec, steps: Steps) -> None:
    """See to what a lab needs of the host: a kernel module, an image.

    Raises BackendMissingError, OSError.
    """
    require_backend(spec.proxy)
    if not modules.is_bridge_filter_loaded():
        _load_bridge_filter(steps)
    with steps.step("images", animated=False):
        ensure_tools()


def _load_bridge_filter(steps: Steps) -> None:
    """Load br_netfilter; without it the lab works only in part, which the step says."""
    with steps.step("kernel module br_netfilter", animated=False) as say:
        try:
            modules.load_bridge_filter()
        except modules.ModuleMissingError as err:
            say(f"no br_netfilter, so no Pod reaches Pods of its own node by a Service: {err}")


def ensure_tools() -> None:
    """Make the demo's image, podwire/tools, if it is missing; raises OSError."""
    store = ImageStore(IMAGES)
    try:
        store.find(tools.NAME)
    except ContainerRuntimeError:
        tools.make(store, BUSYBOX)


def _prepare(lab: LabDir, spec: LabSpec) -> socket.socket:
    """Make the files that the first process needs, and the API's socket."""
    management = socket.create_server(("127.0.0.1", 0), backlog=1024)
    hosts = machines(spec)
    for machine in hosts:
        make_folders(lab, machine)
    write_credentials(lab, spec, hosts, f"https://127.0.0.1:{management.getsockname()[1]}")
    return management


def make_folders(lab: LabDir, machine: Machine) -> None:
    """Make the folders of a machine, and its list of components; raises OSError."""
    for folder in BOUND:
        (lab.machine(machine.name) / folder).mkdir(parents=True, exist_ok=True)
    lab.loaded_images(machine.name).mkdir(exist_ok=True)
    save_components(lab, machine)


def start(lab: LabDir, spec: LabSpec, management: socket.socket) -> None:
    """Start the processes of the lab's machines but of stopped nodes; raises LaunchError."""
    running = [machine for machine in machines(spec) if machine.name not in stopped(spec)]
    for name in main.DAEMONS:
        main.load(name)  # imported here once, and shared with the forks
    gc.collect()
    write_machines(lab, spec)
    with management:
        launch(lab, spec, running, management, main.run)


def wait_ready(lab: LabDir, expected: Collection[str], say: Say, *, since: float = 0) -> None:
    """Wait until nodes are ready; raises NotReadyError, which names the others.

    A node's word counts if it has spoken at ``since``, in seconds since 1970, or later.
    """
    asyncio.run(_wait_ready(lab, set(expected), say, since))


async def _wait_ready(lab: LabDir, expected: set[str], say: Say, since: float) -> None:
    ready: set[str] = set()
    reasons: dict[str, str] = {}

    def seen(node: Node) -> bool:
        name = node.metadata.name
        is_ready, reasons[name] = readiness(node, since)
        (ready.add if is_ready and name in expected else ready.discard)(name)
        say(f"nodes ready: {len(ready)} of {len(expected)}")
        return ready >= expected

    try:
        async with asyncio.timeout(READY_SECONDS + READY_SECONDS_PER_NODE * len(expected)):
            await follow(lab.kubeconfig, kinds.NODE, seen)
    except TimeoutError:
        missing = "; ".join(
            f"{name} ({reasons.get(name, 'not registered')})" for name in sorted(expected - ready)
        )
        raise NotReadyError(
            f"not ready in time: {missing}; see: podwire lab logs{named(lab)} agent"
        ) from None


async def follow(
    kubeconfig: Path, kind: kinds.Kind[kinds.M], enough: Callable[[kinds.M], bool]
) -> None:
    """Call ``enough`` with every changed object of a kind until it returns True."""
    done = asyncio.Event()

    def changed(_: kinds.M | None, new: kinds.M | None) -> None:
        if new is not None and enough(new):
            done.set()

    async with Client.from_kubeconfig(kubeconfig) as client:
        informer = Informer(client, kind)
        informer.subscribe(changed)
        watching = asyncio.create_task(informer.run())
        try:
            await done.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def readiness(node: Node, since: float = 0) -> tuple[bool, str]:
    """Return true if a node is ready, and the reason that its agent gives, ``since`` a time."""
    for condition in node.status.conditions:
        spoken = seconds_of(condition.last_heartbeat_time) or 0
        if condition.type == "Ready" and spoken >= int(since):
            if condition.status == "True" and waits(node):
                return False, "podwire cloud has not initialized it; see: podwire lab logs cloud"
            return condition.status == "True", condition.message or "no reason given"
    return False, "the agent has not reported"
