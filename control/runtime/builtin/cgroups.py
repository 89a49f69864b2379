"""Control groups of Pods: a folder for each Pod, and in it one for each container.

On a machine with hierarchies of cgroup v1, a container has a folder in each of them, limits or not:
in a hierarchy without one it would be in the root's group, which it could then mount and change.
The tree below each mount:

    PREFIX/pods/UID                       the Pod: its limits
    PREFIX/pods/UID/NAME.ATTEMPT          a container: its limits and its devices
    PREFIX/pods/UID/NAME.ATTEMPT/box      its processes
    PREFIX/shims/UID                      on cgroup2, the shims, without the Pod's limits

The innermost folder is the root of the container's cgroup namespace. Who is root there may write
its files, so it holds no limit.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from control.linux import mounts
from control.runtime.base import Resources
from control.runtime.builtin import devices, usage
from control.runtime.used import Usage

logger = logging.getLogger(__name__)

BOX = "box"
_CONTROLLERS = ("cpu", "memory", "pids")
# Options of a mount of cgroup v1 that name no controller.
_OPTIONS = frozenset(
    (
        *("rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "none"),
        *("favordynmods", "nofavordynmods"),
    )
)
_PERIOD = (
    100_000  # microseconds over which a CPU limit is counted, the kernel's and kubelet's value
)
_TRIES = 100
_OWN_DEPTH = 3  # podwire/LAB/NODE: the groups of a node that shares its machine


@dataclass(frozen=True, slots=True)
class Layout:
    """The mount points of the hierarchies, and the prefix of our tree in each."""

    prefix: PurePosixPath  # relative to each mount
    unified: Path | None
    legacy: Mapping[str, Path]  # controller, or "name=..." -> mount point


def discover(mountinfo: str, own: str, prefix: str = "") -> Layout:
    """Parse the layout from /proc/self/mountinfo and /proc/self/cgroup.

    Without a given prefix it is derived from the agent's own cgroup, if that is below /podwire (the
    lab puts each node into podwire/LAB/NODE, its agent into podwire/LAB/NODE/agent); otherwise it
    is /podwire.
    """
    unified: Path | None = None
    legacy: dict[str, Path] = {}
    for mount in mounts.parse(mountinfo):
        if mount.kind == "cgroup2":
            unified = unified or mount.path
        elif mount.kind == "cgroup":
            legacy.update((word, mount.path) for word in mount.options if _is_controller(word))
    return Layout(PurePosixPath((prefix or _own_prefix(own)).strip("/")), unified, legacy)


def _is_controller(option: str) -> bool:
    return option not in _OPTIONS and not option.startswith("release_agent=")


def _own_prefix(own: str) -> str:
    for line in own.splitlines():
        path = PurePosixPath(line.removeprefix("0::"))
        if line.startswith("0::") and path.parts[1:2] == ("podwire",):
            return str(path.parent if path.name == "agent" else path)
    return "podwire"


class Cgroups:
    """Makes and removes the folders of one node's Pods.

    A Pod may have ``pod_pids`` processes, without end if that is negative (kubelet's podPidsLimit).
    """

    def __init__(
        self,
        layout: Layout,
        pod_pids: int = -1,
        restrict: Callable[[Path], None] = devices.restrict,
    ) -> None:
        self._layout, self._pod_pids, self._restrict = layout, pod_pids, restrict
        self._warned = False

    def create(
        self, uid: str, name: str, limits: Resources, *, privileged: bool = False
    ) -> tuple[str, ...]:
        """Make a container's folders and set its limits; return the folders, cgroup2's first.

        Raises OSError if a limit cannot be set: a container must not run without it.
        """
        if not privileged and not (self._layout.unified or "devices" in self._layout.legacy):
            raise OSError(
                "no cgroup2 is mounted, nor cgroup v1's controller devices: nothing would keep "
                "the container from the node's devices; mount cgroup2 on /sys/fs/cgroup"
            )
        paths, controllers = [], set[str]()
        if mount := self._layout.unified:
            controllers = self._enable(mount, self._relative(uid, name))
            values = _unified_values(limits, controllers)
            paths.append(self._make(mount, uid, name, values, pids="pids" in controllers))
            if not privileged:
                self._restrict(paths[0])
        for mount, held in self._hierarchies().items():
            values = _legacy_files(limits, held - controllers)
            path = self._make(mount, uid, name, values, pids="pids" in held)
            if "devices" in held and not privileged:
                devices.restrict_legacy(path)
            paths.append(path)
        for path in paths:
            (path / BOX).mkdir()
            _inherit_cpus(path / BOX)
        return tuple(str(path) for path in paths)

    def _hierarchies(self) -> dict[Path, set[str]]:
        """Return the controllers of each hierarchy of cgroup v1."""
        found: dict[Path, set[str]] = {}
        for controller, mount in self._layout.legacy.items():
            found.setdefault(mount, set()).add(controller)
        return found

    def _make(
        self, mount: Path, uid: str, name: str, values: Mapping[str, str], *, pids: bool
    ) -> Path:
        """Make a container's folder in one hierarchy, in the place of a failed try's."""
        folder = mount
        for part in self._relative(uid, name).parts:
            folder = folder / part
            if part == name:
                _remove_now(folder)
            folder.mkdir(exist_ok=True)
            _inherit_cpus(folder)
        if pids:
            most = "max" if self._pod_pids < 0 else str(self._pod_pids)
            (folder.parent / "pids.max").write_text(most)
        _share_memory_limit(folder)
        _set(folder, values)
        return folder

    @property
    def limits_resources(self) -> bool:
        """True if a hierarchy has the controllers of CPU and memory."""
        mount = self._layout.unified
        have = set(_read(mount / "cgroup.controllers").split()) if mount else set()
        return {"cpu", "memory"} <= have | self._layout.legacy.keys()

    def limit_pod(self, uid: str, limits: Resources) -> None:
        """Make a Pod's folders, and set what its containers may use together; raises OSError."""
        relative, controllers = self._relative(uid), set[str]()
        if mount := self._layout.unified:
            controllers = self._enable(mount, relative)
            values = _unified_values(limits, controllers)
            values.pop("memory.oom.group", None)  # the kernel picks one container of the Pod
            _set(mount / relative, values)
        for mount, held in self._hierarchies().items():
            folder = mount
            for part in relative.parts:
                folder = folder / part
                folder.mkdir(exist_ok=True)
                if "cpuset" in held:
                    _inherit_cpus(folder)
            _share_memory_limit(folder)
            _set(folder, _legacy_files(limits, held - controllers))

    def update(self, folders: Iterable[str], limits: Resources) -> None:
        """Set other limits in a container's folders; raises OSError."""
        for folder in map(Path, folders):
            if (folder / "cgroup.controllers").exists():
                have = set(_read(folder / "cgroup.controllers").split())
                _set(folder, _unified_values(limits, have))
            else:
                values = _legacy_files(limits, _CONTROLLERS)
                _set(folder, {name: it for name, it in values.items() if (folder / name).exists()})

    def pod_folders(self, uid: str) -> list[Path]:
        """Return a Pod's folders, one in each hierarchy."""
        return [mount / self._relative(uid) for mount in self._mounts()]

    def pod_parent(self, uid: str) -> str:
        """Return a Pod's folder below every mount, as a runtime without systemd takes it."""
        return f"/{self._relative(uid)}"

    def pod_memory(self, uid: str) -> int | None:
        """Return the bytes that a Pod's limit is held against; None if nobody counts them."""
        return usage.memory(self.pod_folders(uid))

    def shim_folder(self, uid: str) -> str:
        """Make the folder of a Pod's shims: they must outlive the agent's cgroup."""
        if self._layout.unified is None:
            return ""
        path = self._layout.unified / self._layout.prefix.joinpath("shims", uid)
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    async def remove_pod(self, uid: str) -> None:
        """Kill the processes in a Pod's folders; remove the folders and parents that are empty."""
        for relative in (self._relative(uid), self._layout.prefix.joinpath("shims", uid)):
            await self._remove(relative)

    async def remove_all(self) -> None:
        """Kill the processes in this node's tree; remove it and parents that are empty."""
        for relative in (self._relative(), self._layout.prefix / "shims"):
            await self._remove(relative)

    async def _remove(self, relative: PurePosixPath) -> None:
        for mount in self._mounts():
            await remove(mount / relative)
            with suppress(OSError):  # stops at the first parent that is not empty
                for parent in relative.parents[:-1]:
                    (mount / parent).rmdir()

    def pods(self) -> frozenset[str]:
        """Return the UIDs of the Pods that have folders."""
        found: set[str] = set()
        for mount in self._mounts():
            folder = mount / self._relative()
            if folder.is_dir():
                found.update(entry.name for entry in folder.iterdir() if entry.is_dir())
        return frozenset(found)

    def used_by_node(self) -> Usage:
        """Return what the machine uses; of a node that shares it with others, what its Pods use."""
        folders = [mount / self._relative() for mount in self._mounts()]
        shared = len(self._layout.prefix.parts) >= _OWN_DEPTH
        if shared:
            return usage.of_folders(folders) or Usage(0.0, 0)
        return usage.of_machine()

    def _mounts(self) -> Iterator[Path]:
        if self._layout.unified:
            yield self._layout.unified
        yield from sorted(set(self._layout.legacy.values()))

    def _relative(self, *parts: str) -> PurePosixPath:
        return self._layout.prefix.joinpath("pods", *parts)

    def _enable(self, mount: Path, relative: PurePosixPath) -> set[str]:
        """Enable the controllers in every parent of a folder; return those that the folder has."""
        folder = mount
        have = set(_read(folder / "cgroup.controllers").split()) & set(_CONTROLLERS)
        for part in relative.parts:
            if not have:
                return have
            try:
                text = " ".join(f"+{name}" for name in sorted(have))
                (folder / "cgroup.subtree_control").write_text(text)
            except OSError as err:
                self._warn(folder, err)
            folder = folder / part
            folder.mkdir(exist_ok=True)
            have &= set(_read(folder / "cgroup.controllers").split())
        return have

    def _warn(self, folder: Path, err: OSError) -> None:
        if not self._warned:
            logger.warning(
                "cgroup %s: cannot enable controllers (%s): limits may have no effect; move the "
                "processes in it to a folder of their own",
                folder,
                err.strerror,
            )
        self._warned = True


def _inherit_cpus(folder: Path) -> None:
    """Give a group of cgroup v1's cpuset its parent's CPUs and memory nodes: it starts with none,
    and takes no process then.
    """
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (folder.parent / "cgroup.clone_children").exists() and (folder / name).exists():
            (folder / name).write_text((folder.parent / name).read_text())


def _share_memory_limit(folder: Path) -> None:
    """Let a limit of cgroup v1's memory hold for groups below: before Linux 5.11 it does not."""
    if _read(folder / "memory.use_hierarchy").strip() == "0":
        (folder / "memory.use_hierarchy").write_text("1")


def _unified_values(limits: Resources, controllers: set[str]) -> dict[str, str]:
    values = {}
    if "memory" in controllers and limits.memory_limit:
        values["memory.max"] = str(limits.memory_limit)
        values["memory.oom.group"] = "1"  # as kubelet since 1.28: kill a container as a whole
    if "cpu" in controllers:
        if limits.cpu_limit:
            values["cpu.max"] = f"{_quota(limits.cpu_limit)} {_PERIOD}"
        values["cpu.weight"] = str(_weight(limits.cpu_request))
    if "pids" in controllers and limits.pids_limit:
        values["pids.max"] = str(limits.pids_limit)
    return values


def _legacy_values(limits: Resources) -> dict[str, dict[str, str]]:
    cpu: dict[str, str] = {}
    if limits.cpu_limit:
        cpu["cpu.cfs_quota_us"] = str(_quota(limits.cpu_limit))
    if limits.cpu_request or limits.cpu_limit:
        cpu["cpu.shares"] = str(_shares(limits.cpu_request))
    memory = {"memory.limit_in_bytes": str(limits.memory_limit)} if limits.memory_limit else {}
    pids = {"pids.max": str(limits.pids_limit)} if limits.pids_limit else {}
    return {"cpu": cpu, "memory": memory, "pids": pids}


def _legacy_files(limits: Resources, controllers: Iterable[str]) -> dict[str, str]:
    """Return what to write into the files of some controllers of cgroup v1."""
    wanted = _legacy_values(limits)
    return {
        file: value
        for controller in controllers
        for file, value in wanted.get(controller, {}).items()
    }


def _quota(milli: int) -> int:
    return max(1000, milli * _PERIOD // 1000)  # the kernel's minimum is one millisecond


def _shares(milli: int) -> int:
    return max(2, min(262144, milli * 1024 // 1000))


def _weight(milli: int) -> int:
    """Return cgroup2's weight for v1's shares, by the mapping of KEP-2254."""
    return 1 + ((_shares(milli) - 2) * 9999) // 262142


def _set(folder: Path, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        (folder / name).write_text(value)


def kill(folder: Path) -> None:
    """Kill every process below a folder: by cgroup.kill or, on cgroup v1, one by one."""
    try:
        (folder / "cgroup.kill").write_text("1")
    except OSError:
        for group in _tree(folder):
            for pid in _read(group / "cgroup.procs").split():
                _kill_process(int(pid))


def _kill_process(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def remove(folder: Path) -> None:
    """Kill the processes in a folder, and remove it with all folders below.

    For some milliseconds, until the last killed process is gone, the kernel says EBUSY. Raises
    OSError if the folder stays busy.
    """
    for attempt in range(1, _TRIES):
        try:
            return _remove_now(folder)
        except OSError:
            await asyncio.sleep(0.01 * min(attempt, 10))
    return _remove_now(folder)


def _remove_now(folder: Path) -> None:
    if not folder.is_dir():
        return
    kill(folder)
    for group in _tree(folder):
        with suppress(FileNotFoundError):  # the container's shim removes its groups, too
            group.rmdir()


def _tree(folder: Path) -> list[Path]:
    """Return a folder and all below it, each after its own."""
    return [Path(path) for path, _, _ in os.walk(folder, topdown=False)]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
