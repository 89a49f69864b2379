"""Makes a lab: credentials and processes, then the wait until every node is ready."""

import gc
import socket
from pathlib import Path

from control.linux.errors import cause
from control.reported import ReportedError
from control.runtime.base import ContainerRuntimeError
from control.runtime.images import names, tools
from control.runtime.images.store import ImageStore
from lab import containerd, main, models, modules, needs
from lab.cgroups import remove_cgroups
from lab.change import require_backend
from lab.cloud import write_machines
from lab.credentials import write_credentials
from lab.down import remove
from lab.folders import make_folders
from lab.keeper import launch
from lab.parts import machines
from lab.report import Steps
from lab.spec import CONTAINERD, ETCD, LabSpec
from lab.state import IMAGES, ROOT, LabDir, lab_dir, locked
from lab.status import named, stopped

BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static


class LabExistsError(ReportedError):
    """There is a lab of this name already; the text says how to start or end it."""


class LabCreationError(ReportedError):
    """The lab could not be made; the text names the cause."""


def make(spec: LabSpec, steps: Steps) -> LabDir:
    """Start the lab's processes; after a failure nothing is left behind.

    Raises LabExistsError, LaunchError, LabCreationError, BackendMissingError, MissingPackagesError,
    RemovalError.
    """
    _require(spec)
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
    remove_cgroups(lab)  # those of a lab that was killed; another mount namespace's lab is refused
    lab.create(spec)


def prepare_host(spec: LabSpec, steps: Steps) -> None:
    """See to what a lab needs of the host: a kernel module, an image.

    Raises BackendMissingError, MissingPackagesError, OSError.
    """
    _require(spec)
    if not modules.is_bridge_filter_loaded():
        _load_bridge_filter(steps)
    with steps.step("images", animated=False):
        ensure_tools()
        if spec.runtime == CONTAINERD:
            ensure_pause()


def _require(spec: LabSpec) -> None:
    require_backend(spec.proxy)
    if spec.runtime == CONTAINERD:
        containerd.require()
    if spec.store == ETCD:
        needs.require_of(needs.ETCD)


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


def ensure_pause() -> None:
    """Make the image of sandboxes that containerd makes, if it is missing; raises OSError."""
    store = ImageStore(IMAGES)
    try:
        store.find(names.PAUSE)
    except ContainerRuntimeError:
        tools.make_pause(store, BUSYBOX)


def _prepare(lab: LabDir, spec: LabSpec) -> socket.socket:
    """Make the files that the first process needs, and the API's socket."""
    management = socket.create_server(("127.0.0.1", 0), backlog=1024)
    hosts = machines(spec)
    for machine in hosts:
        make_folders(lab, machine)
    write_credentials(lab, spec, hosts, f"https://127.0.0.1:{management.getsockname()[1]}")
    return management


def start(lab: LabDir, spec: LabSpec, management: socket.socket) -> None:
    """Start the processes of the lab's machines but of stopped nodes; raises LaunchError."""
    running = [machine for machine in machines(spec) if machine.name not in stopped(spec)]
    for name in main.DAEMONS:
        main.load_whole(name)  # imported here once, and shared with the forks
    if spec.runtime == CONTAINERD:
        main.load_for_containerd()
    models.build()
    gc.collect()
    write_machines(lab, spec)
    with management:
        launch(lab, spec, running, management, main.run)
