"""Makes a lab: credentials and processes, then the wait until every node is ready."""

import asyncio
import gc
import socket
from collections.abc import Callable
from pathlib import Path

from control.api import kinds
from control.api.node import Node
from control.client import Client, Informer
from control.linux.errors import cause
from control.runtime.base import ContainerRuntimeError
from control.runtime.images import tools
from control.runtime.images.store import ImageStore
from lab import main, modules
from lab.change import require_backend
from lab.components import save_components
from lab.credentials import write_credentials
from lab.down import remove
from lab.keeper import launch
from lab.machine import BOUND
from lab.parts import machines
from lab.report import Say, Steps
from lab.spec import LabSpec
from lab.state import IMAGES, ROOT, LabDir, lab_dir, locked

BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static
READY_SECONDS = 60
READY_SECONDS_PER_NODE = 10


class LabExistsError(Exception):
    """A lab of this name runs already; the text says how to end it."""


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
    if not modules.is_bridge_filter_loaded():
        _load_bridge_filter(steps)
    try:
        with steps.step("images", animated=False):
            _ensure_image()
        with steps.step("certificates", animated=False):
            management = _prepare(lab, spec)
        with steps.step(f"{spec.nodes} nodes and the control plane", animated=False):
            _start(lab, spec, management)
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
    if lab.path.exists():
        with steps.step(f"what a killed lab {lab.name} left behind, removed", animated=False):
            remove(lab)
    lab.create(spec)


def _load_bridge_filter(steps: Steps) -> None:
    """Load br_netfilter; without it the lab works only in part, which the step says."""
    with steps.step("kernel module br_netfilter", animated=False) as say:
        try:
            modules.load_bridge_filter()
        except modules.ModuleMissingError as err:
            say(f"no br_netfilter, so no Pod reaches Pods of its own node by a Service: {err}")


def _ensure_image() -> None:
    """Make the demo's image, if it is missing; raises OSError."""
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
        for folder in BOUND:
            (lab.machine(machine.name) / folder).mkdir(parents=True, exist_ok=True)
        save_components(lab, machine)
    write_credentials(lab, spec, hosts, f"https://127.0.0.1:{management.getsockname()[1]}")
    return management


def _start(lab: LabDir, spec: LabSpec, management: socket.socket) -> None:
    for name in main.DAEMONS:
        main.load(name)  # imported here once, and shared with the forks
    gc.collect()
    with management:
        launch(lab, spec, machines(spec), management, main.run)


def wait_ready(kubeconfig: Path, spec: LabSpec, say: Say) -> None:
    """Wait until every node is ready; raises NotReadyError, which names the others."""
    asyncio.run(_wait_ready(kubeconfig, spec, say))


async def _wait_ready(kubeconfig: Path, spec: LabSpec, say: Say) -> None:
    expected = {machine.name for machine in machines(spec)[1:]}
    ready: set[str] = set()
    reasons: dict[str, str] = {}

    def seen(node: Node) -> bool:
        is_ready, reasons[node.metadata.name] = readiness(node)
        (ready.add if is_ready else ready.discard)(node.metadata.name)
        say(f"nodes ready: {len(ready)} of {len(expected)}")
        return ready >= expected

    try:
        async with asyncio.timeout(READY_SECONDS + READY_SECONDS_PER_NODE * spec.nodes):
            await follow(kubeconfig, kinds.NODE, seen)
    except TimeoutError:
        missing = "; ".join(
            f"{name} ({reasons.get(name, 'not registered')})" for name in sorted(expected - ready)
        )
        raise NotReadyError(
            f"not ready in time: {missing}; see: podwire lab logs agent --name {spec.name}"
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


def readiness(node: Node) -> tuple[bool, str]:
    """Return true if a node is ready, and the reason that its agent gives."""
    for condition in node.status.conditions:
        if condition.type == "Ready":
            return condition.status == "True", condition.message or "no reason given"
    return False, "the agent has not reported"
