"""Renders a container for the shim: configuration and image in, JSON out. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from control.linux.syscalls import CAPABILITIES
from control.runtime.base import (
    DEFAULT_LOGS,
    ContainerConfig,
    ContainerRuntimeError,
    LogLimits,
    Mount,
    Rights,
)

# The default capabilities of containerd and Docker.
DEFAULT_CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The order in which `exec` enters: the mount namespace last, because /proc is read before.
_ENTERED = ("cgroup", "ipc", "uts", "net", "pid", "mnt")
_NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image's defaults for its containers (OCI image-spec, config.md)."""

    root: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    directory: str = ""
    user: str = ""
    stop_signal: str = ""


@dataclass(frozen=True, slots=True)
class ContainerPlace:
    """A container's surroundings: its folder, its sandbox's namespaces, its control groups."""

    directory: str
    log_path: str
    logs: LogLimits = DEFAULT_LOGS
    cgroups: tuple[str, ...] = ()
    shim_cgroup: str = ""
    join: Mapping[str, str] = field(default_factory=dict)  # namespace -> path
    mounts: tuple[Mount, ...] = ()  # the sandbox's: hosts, hostname, resolv.conf, shm
    own_processes: bool = True  # False: the node's process namespace
    seccomp: str = ""  # the filter's program in base64


def render(config: ContainerConfig, image: ImageConfig, place: ContainerPlace) -> dict[str, Any]:
    """Return the shim's spec.json.

    Raises ContainerRuntimeError if image and configuration do not fit.
    """
    return {
        **_surroundings(place),
        **process(config, image, arguments(config, image), place.seccomp),
        "root": {
            "directory": place.directory,
            "image": image.root,
            "privileged": config.rights.privileged,
            "read_only": config.rights.read_only_root,
            "mounts": [_mount(item) for item in (*place.mounts, *config.mounts)],
        },
        "stdin": config.stdin,
        "stdin_once": config.stdin_once,
        "oom_score_adj": config.resources.oom_score_adj,
        "pause": False,
        "stop_signal": image.stop_signal or "SIGTERM",
    }


def render_pause(place: ContainerPlace) -> dict[str, Any]:
    """Return the spec.json of a process that holds a Pod's shared process namespace."""
    empty: dict[str, Any] = {"image": None, "mounts": [], "privileged": False, "read_only": True}
    return {
        **_surroundings(place),
        "root": {"directory": place.directory, **empty},
        "terminal": False,
        "stdin": False,
        "stdin_once": False,
        "oom_score_adj": -998,  # as kubelet scores its sandboxes
        "pause": True,
        "stop_signal": "SIGKILL",
    }


def process(
    config: ContainerConfig, image: ImageConfig, command: tuple[str, ...], seccomp: str
) -> dict[str, Any]:
    """Return the part of a specification that describes a process, the first or an ``exec``."""
    rights = config.rights
    return {
        "arguments": list(command),
        "environment": environment(config, image),
        "directory": config.directory or image.directory or "/",
        "user": _user(config, image),
        "group": rights.group,
        "groups": list(rights.groups),
        "capabilities": None if rights.privileged else list(capabilities(rights)),
        "no_new_privileges": rights.no_new_privileges,
        "seccomp": seccomp,
        "terminal": config.terminal,
    }


def render_exec(
    config: ContainerConfig,
    image: ImageConfig,
    command: tuple[str, ...],
    *,
    pid: int,
    cgroups: tuple[str, ...],
    seccomp: str,
    terminal: bool,
) -> dict[str, Any]:
    """Return the specification of another process in the container of process ``pid``."""
    return {
        **process(config, image, command, seccomp),
        "terminal": terminal,
        "pid": pid,
        "enter": list(_ENTERED),
        "cgroups": list(cgroups),
    }


def arguments(config: ContainerConfig, image: ImageConfig) -> tuple[str, ...]:
    """Return the command line: ``command`` replaces Entrypoint *and* Cmd, ``args`` only Cmd."""
    if config.command:
        return config.command + config.arguments
    found = image.entrypoint + (config.arguments or image.command)
    if not found:
        raise ContainerRuntimeError(
            f"container {config.name}: no command in the Pod nor in its image {config.image}",
            "CreateContainerError",
        )
    return found


def environment(config: ContainerConfig, image: ImageConfig) -> dict[str, str]:
    """Merge the Pod's variables over the image's; PATH is always set, TERM on a terminal."""
    base = {"PATH": DEFAULT_PATH}
    if config.terminal:
        base["TERM"] = "xterm"
    pairs = (entry.partition("=") for entry in image.environment)
    return base | {name: value for name, _, value in pairs} | dict(config.environment)


def _surroundings(place: ContainerPlace) -> dict[str, Any]:
    unshare = ["mnt", *(["cgroup"] if place.cgroups else [])]
    if place.own_processes and "pid" not in place.join:
        unshare.append("pid")
    return {
        "log": _log(place),
        "cgroups": list(place.cgroups),
        "shim_cgroup": place.shim_cgroup,
        "join": dict(place.join),
        "unshare": unshare,
    }


def _log(place: ContainerPlace) -> dict[str, Any]:
    size = place.logs.most_bytes
    most_bytes = size if size >= 0 else _NO_LIMIT
    return {
        "path": place.log_path,
        "most_bytes": most_bytes,
        "most_files": place.logs.most_files,
    }


def _mount(item: Mount) -> dict[str, Any]:
    """Return a mount for the shim; raises ContainerRuntimeError."""
    if item.propagation == "Bidirectional":
        raise ContainerRuntimeError(
            f"mount {item.target}: mountPropagation Bidirectional needs a CRI runtime such as "
            "containerd: podwire's own has HostToContainer",
            "CreateContainerError",
        )
    return {
        "source": item.source,
        "target": item.target,
        "read_only": item.read_only,
        "sub_path": item.sub_path,
        "propagation": item.propagation,
    }


def _user(config: ContainerConfig, image: ImageConfig) -> str:
    """Return ``runAsUser`` or the image's user; ``runAsNonRoot`` must be provable (kubelet)."""
    rights = config.rights
    user = image.user if rights.user is None else str(rights.user)
    name = user.partition(":")[0]
    if rights.non_root and name in ("", "0", "root"):
        raise ContainerRuntimeError(
            "container has runAsNonRoot and image will run as root"
            if rights.user is None
            else "container's runAsUser breaks non-root policy",
            "CreateContainerConfigError",
        )
    if rights.non_root and not name.isdecimal():
        raise ContainerRuntimeError(
            f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify "
            "user is non-root",
            "CreateContainerConfigError",
        )
    return user


def capabilities(rights: Rights) -> tuple[str, ...]:
    """Return the names that a container which is not privileged has."""
    added = [name.upper().removeprefix("CAP_") for name in rights.add_capabilities]
    dropped = {name.upper().removeprefix("CAP_") for name in rights.drop_capabilities}
    unknown = ({*added} | dropped) - {*CAPABILITIES, "ALL"}
    if unknown:
        raise ContainerRuntimeError(
            f"unknown capability to add or drop: {', '.join(sorted(unknown))}",
            "CreateContainerError",
        )
    base = [] if "ALL" in dropped else DEFAULT_CAPABILITIES
    wanted = set(CAPABILITIES) if "ALL" in added else {*base, *added}
    kept = wanted - dropped if "ALL" not in dropped else wanted
    return tuple(name for name in CAPABILITIES if name in kept)
