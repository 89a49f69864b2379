"""The Node object of this machine. Pure, except for ``look``."""

import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.api import node as api
from control.api.meta import Condition, ObjectMeta
from control.api.node import Node
from control.api.times import rfc3339
from control.api.types.conform import conform_message
from control.linux.architecture import architecture
from control.runtime.base import RUNTIME_DOWN
from control.version import KUBERNETES, PODWIRE

PORT = 10250
VERSION = f"v{KUBERNETES}-podwire"
SHUTTING_DOWN = "node is shutting down"
NOTHING_RESERVED: Mapping[str, int] = {}
_MOST_PODS = 110
_LOW_PIDS = 0.05
# Source: k8s.io/cloud-provider/api/well_known_taints.go, well_known_annotations.go
_UNINITIALIZED = ("node.cloudprovider.kubernetes.io/uninitialized", "true", "NoSchedule")
_NODE_IP = "alpha.kubernetes.io/provided-node-ip"
# kube-apiserver 1.36 and later passes a client's WebSocket on to a node that declares this: to
# exec and attach by v5.channel.k8s.io, to port-forward by a SPDY tunnel. To others it speaks SPDY.
# As kubelet declares them, in the order of their names.
_FEATURES = (
    "ExtendWebSocketsToKubelet",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
)


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Capacity and identity of the host, as read from the kernel."""

    cpus: int = 1
    memory: int = 0  # bytes
    memory_available: int = 0
    disk: int = 0  # bytes, of the agent's folder
    disk_available: int = 0
    pids: int = 0
    pids_used: int = 0
    kernel: str = ""
    os_image: str = ""
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    inodes: int = 0  # of the same file system as the disk space; 0: it counts none
    inodes_available: int = 0


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """The name, addresses, labels and taints under which this node registers."""

    name: str
    addresses: tuple[str, ...]
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[tuple[str, str, str], ...] = ()  # key, value, effect; for a new Node only
    cloud: bool = False  # a cloud controller manager initializes the Node
    runtime: str = f"podwire://{PODWIRE}"


def look(folder: Path) -> HostFacts:
    """Read the host's facts; those that cannot be read are zero or empty."""
    memory = _meminfo()
    disk, files = shutil.disk_usage(folder), os.statvfs(folder)
    return HostFacts(
        cpus=len(os.sched_getaffinity(0)),
        memory=memory.get("MemTotal", 0),
        memory_available=memory.get("MemAvailable", 0),
        disk=disk.total,
        disk_available=disk.free,
        inodes=files.f_files,
        inodes_available=files.f_favail,
        pids=int(_read("/proc/sys/kernel/pid_max") or 0),
        pids_used=sum(entry.name.isdecimal() for entry in Path("/proc").iterdir()),
        kernel=platform.release(),
        os_image=_os_image(),
        machine_id=_read("/etc/machine-id"),
        system_uuid=_read("/sys/class/dmi/id/product_uuid"),
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
    )


def _meminfo() -> dict[str, int]:
    values = {}
    for line in _read("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()
        if number and number[0].isdecimal():
            values[name] = int(number[0]) * 1024
    return values


def _os_image() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text().strip()
    return ""


def labels(identity: NodeIdentity) -> dict[str, str]:
    """Return the labels that a node gives itself."""
    machine = architecture()
    own = {
        "kubernetes.io/hostname": identity.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine,
    }
    return own | dict(identity.labels)


def annotations(identity: NodeIdentity) -> dict[str, str]:
    """Return the annotations that a node gives itself: a cloud must keep the address it chose."""
    return {_NODE_IP: ",".join(identity.addresses)} if identity.cloud else {}


def node(identity: NodeIdentity, status: api.NodeStatus) -> Node:
    """Return the object to register; with a cloud, Pods wait until that has initialized it."""
    marks = (*identity.taints, _UNINITIALIZED) if identity.cloud else identity.taints
    taints = [api.Taint(key=k, value=v or None, effect=e) for k, v, e in marks]
    return Node(
        metadata=ObjectMeta(
            name=identity.name, labels=labels(identity), annotations=annotations(identity)
        ),
        spec=api.NodeSpec(taints=taints),
        status=status,
    )


def status(
    identity: NodeIdentity,
    machine: HostFacts,
    before: api.NodeStatus,
    *,
    network_problem: str,
    images: Iterable[api.ContainerImage],
    now: float,
    shortages: frozenset[str] = frozenset(),
    reserved: Mapping[str, int] = NOTHING_RESERVED,
) -> api.NodeStatus:
    """Return the status to report, without conditions that others keep (NetworkUnavailable).

    ``shortages`` are the conditions that eviction has found, ``reserved`` the bytes of resources
    that no Pod can have. With a cloud the addresses of
    ``before`` stay, as with the kubelet's --cloud-provider=external.
    """
    addresses = [api.NodeAddress(type="InternalIP", address=text) for text in identity.addresses]
    addresses += [api.NodeAddress(type="Hostname", address=identity.name)]
    return api.NodeStatus(
        capacity=_resources(machine),
        allocatable=_resources(machine) | allocatable(machine, reserved),
        conditions=_conditions(machine, before.conditions, network_problem, shortages, now),
        addresses=(identity.cloud and before.addresses) or addresses,
        node_info=_info(identity, machine),
        daemon_endpoints=api.NodeDaemonEndpoints(kubelet_endpoint=api.DaemonEndpoint(port=PORT)),
        images=list(images),
        declared_features=list(_FEATURES),
    )


def _resources(machine: HostFacts) -> dict[str, str]:
    return {
        "cpu": str(machine.cpus),
        "memory": f"{machine.memory // 1024}Ki",
        "ephemeral-storage": f"{machine.disk // 1024}Ki",
        "pods": str(_MOST_PODS),
    }


def allocatable(machine: HostFacts, reserved: Mapping[str, int]) -> dict[str, str]:
    """Return what Pods can have of the resources of which something is reserved."""
    amounts = {"memory": machine.memory, "ephemeral-storage": machine.disk}
    return {name: f"{max(0, amounts[name] - it) // 1024}Ki" for name, it in reserved.items()}


def _info(identity: NodeIdentity, machine: HostFacts) -> api.NodeSystemInfo:
    return api.NodeSystemInfo(
        machine_id=machine.machine_id,
        system_uuid=machine.system_uuid,
        boot_id=machine.boot_id,
        kernel_version=machine.kernel,
        os_image=machine.os_image,
        container_runtime_version=identity.runtime,
        kubelet_version=VERSION,
        kube_proxy_version="",
        operating_system="linux",
        architecture=architecture(),
    )


def _conditions(
    machine: HostFacts,
    before: Iterable[Condition],
    network_problem: str,
    shortages: frozenset[str],
    now: float,
) -> list[Condition]:
    low_memory, low_disk = (f"{it}Pressure" in shortages for it in ("Memory", "Disk"))
    low_pids = 0 < machine.pids * (1 - _LOW_PIDS) < machine.pids_used
    wanted = [
        _pressure("Memory", low_memory, "InsufficientMemory", "SufficientMemory"),
        _pressure("Disk", low_disk, "DiskPressure", "NoDiskPressure"),
        _pressure("PID", low_pids, "InsufficientPID", "SufficientPID"),
        _ready(network_problem),
    ]
    old = {item.type: item for item in before}
    return [_timed(item, old.get(item.type), now) for item in wanted]


def _pressure(kind: str, on: bool, bad: str, good: str) -> Condition:
    what = kind if kind == "PID" else kind.lower()
    message = f"kubelet has {'insufficient' if on else 'sufficient'} {what} available"
    if kind == "Disk":
        message = f"kubelet has {'disk pressure' if on else 'no disk pressure'}"
    return Condition(
        type=f"{kind}Pressure",
        status="True" if on else "False",
        reason=f"KubeletHas{bad if on else good}",
        message=message,
    )


def _ready(network_problem: str) -> Condition:
    if not network_problem:
        return Condition(
            type="Ready",
            status="True",
            reason="KubeletReady",
            message="kubelet is posting ready status",
        )
    message = no_network(network_problem) or network_problem
    return Condition(type="Ready", status="False", reason="KubeletNotReady", message=message)


def no_network(problem: str) -> str:
    """Return kubelet's words for a problem of the network; "" for none, or one of the runtime."""
    if not problem or problem.startswith(RUNTIME_DOWN) or problem == SHUTTING_DOWN:
        return ""
    return (
        "container runtime network not ready: NetworkReady=false "
        f"reason:NetworkPluginNotReady message:{problem}"
    )


def _timed(wanted: Condition, old: Condition | None, now: float) -> Condition:
    same = old is not None and old.status == wanted.status
    changed = old.last_transition_time if same and old else None
    update = {"last_heartbeat_time": rfc3339(now), "last_transition_time": changed or rfc3339(now)}
    return wanted.model_copy(update=update)


def complete(status: api.NodeStatus) -> dict[str, Any]:
    """Return a status as the API server stores it: quantities in canonical form, all zeros."""
    return conform_message("core.NodeStatus", status.wire())[0]


def differs(old: api.NodeStatus, new: api.NodeStatus) -> bool:
    """True if there is more to report than another heartbeat."""
    return _essence(old) != _essence(new)


def _essence(status: api.NodeStatus) -> object:
    """A status without times and without numbers that always change; only our own conditions."""
    mine = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    conditions = sorted(
        (item.type, item.status, item.reason or "", item.message or "")
        for item in status.conditions
        if item.type in mine
    )
    wire = complete(status)
    fields = ("capacity", "allocatable", "addresses", "nodeInfo", "daemonEndpoints", "images")
    return conditions, {name: wire.get(name) for name in (*fields, "declaredFeatures")}
