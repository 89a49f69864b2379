"""A Pod's sandbox: namespaces that bind mounts keep alive, without a process.

``unshare --net=FILE --uts=FILE --ipc=FILE`` makes the namespaces and binds them to files. Only a
shared process namespace needs a process in it (a shim's "pause").
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from control.linux import files, syscalls, whole
from control.runtime import hosts
from control.runtime.base import (
    ContainerRuntimeError,
    Mount,
    PodRef,
    PortMapping,
    Resources,
    Sandbox,
    SandboxConfig,
)
from control.runtime.builtin import spawn

logger = logging.getLogger(__name__)

_SHM_BYTES = 64 * 1024 * 1024  # CRI runtimes' default
# As containerd: a Pod's unprivileged processes may ping and bind any port, in their own namespace.
_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


# Runs in the new namespaces; $1 is the host name, the rest are KEY=VALUE.
_SET_UP = """
[ $# -gt 0 ] || exit 0
hostname "$1"; shift
ip link set lo up
sysctl -qw "$@"
"""


class PodNetwork(Protocol):
    """Connects sandboxes; ``control.runtime.cni`` implements it."""

    async def add(self, sandbox_id: str, config: SandboxConfig, netns: str) -> tuple[str, ...]:
        """Connect a sandbox, and return the Pod's addresses.

        Raises ContainerRuntimeError, after it has undone a partial connection.
        """

    async def remove(self, sandbox_id: str, config: SandboxConfig, netns: str) -> None:
        """Disconnect a sandbox, even if it was never connected; raises ContainerRuntimeError."""


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    """A sandbox, as its checkpoint and its mounts show it."""

    id: str
    config: SandboxConfig
    created: float
    addresses: tuple[str, ...] = ()
    ready: bool = False

    def view(self) -> Sandbox:
        """Return the sandbox as the runtime's users see it."""
        return Sandbox(
            self.id,
            self.config.pod,
            self.config.attempt,
            self.ready,
            self.created,
            self.addresses,
            self.config.host_network,
            self.config.resources,
        )


class Sandboxes:
    """Makes and removes the sandboxes below one folder."""

    def __init__(self, root: Path, netns: Path, network: PodNetwork) -> None:
        self._root, self._netns, self._network = root, netns, network

    def folder(self, sandbox_id: str) -> Path:
        """Return the folder of a sandbox's files."""
        return self._root / sandbox_id

    def netns(self, sandbox_id: str) -> Path:
        """Return a sandbox's network namespace; the ID gives its name, so no crash can lose it."""
        return self._netns / f"cni-{sandbox_id[:32]}"

    def load(self) -> tuple[SandboxRecord, ...]:
        """Return the sandboxes on disk; remove those whose checkpoint is torn."""
        found = []
        for folder in sorted(self._root.iterdir()) if self._root.is_dir() else ():
            saved = files.read_json(folder / "config.json")
            try:
                found.append(self._record(folder.name, saved or {}))
            except (KeyError, TypeError):
                logger.warning("sandbox %s: its checkpoint is torn: removing it", folder.name)
                self.release(folder.name)
                files.remove_tree(folder)
        return tuple(found)

    def _record(self, sandbox_id: str, saved: Mapping[str, Any]) -> SandboxRecord:
        config = _config(saved["config"])
        network = files.read_json(self.folder(sandbox_id) / "network.json")
        whole = network is not None and all(map(files.is_mounted, self._held(sandbox_id, config)))
        addresses = tuple((network or {}).get("addresses", ()))
        return SandboxRecord(sandbox_id, config, saved["created"], addresses, whole)

    def _held(self, sandbox_id: str, config: SandboxConfig) -> tuple[Path, ...]:
        """Return the files that keep the sandbox's namespaces."""
        names = self.folder(sandbox_id) / "ns"
        return (
            *((self.netns(sandbox_id),) if not config.host_network else ()),
            *((names / "uts",) if not config.host_network else ()),
            *((names / "ipc",) if not config.host_ipc else ()),
        )

    def save(self, record: SandboxRecord) -> None:
        """Write a sandbox's checkpoint; raises OSError."""
        saved = {"created": record.created, "config": asdict(record.config)}
        files.write_json(self.folder(record.id) / "config.json", saved)

    async def create(self, sandbox_id: str, config: SandboxConfig) -> SandboxRecord:
        """Make a sandbox; raises ContainerRuntimeError, and ``remove`` must then be called."""
        record = SandboxRecord(sandbox_id, config, time.time())
        folder = self.folder(sandbox_id)
        try:
            (folder / "ns").mkdir(parents=True)
            self.save(record)
            await self._make_namespaces(sandbox_id, config)
            self._mount_shm(folder / "shm")
        except OSError as err:
            raise _failure(config.pod, err) from err
        addresses: tuple[str, ...] = ()
        if not config.host_network:
            addresses = await self._connect(sandbox_id, config)
        try:
            self._write_names(folder, config, addresses)
            files.write_json(folder / "network.json", {"addresses": list(addresses)})
        except OSError as err:
            raise _failure(config.pod, err) from err
        return replace(record, addresses=addresses, ready=True)

    async def _connect(self, sandbox_id: str, config: SandboxConfig) -> tuple[str, ...]:
        """Connect a sandbox, by the addresses that the Pod had if that is possible."""
        netns = str(self.netns(sandbox_id))
        if config.addresses:
            try:
                return await self._network.add(sandbox_id, config, netns)
            except ContainerRuntimeError as err:
                had = ", ".join(config.addresses)
                logger.info("Pod %s gets another address than %s: %s", config.pod, had, err)
        return await self._network.add(sandbox_id, replace(config, addresses=()), netns)

    async def _make_namespaces(self, sandbox_id: str, config: SandboxConfig) -> None:
        held = self._held(sandbox_id, config)
        if not held:
            return
        self._netns.mkdir(parents=True, exist_ok=True)
        for path in held:
            path.touch(mode=0o444)
        kinds = {"uts": "--uts", "ipc": "--ipc"}
        options = [f"{kinds.get(path.name, '--net')}={path}" for path in held]
        settings = [] if config.host_network else _network_settings(config)
        await spawn.run(["unshare", *options, "--", "sh", "-euc", _SET_UP, "sh", *settings])

    def _mount_shm(self, shm: Path) -> None:
        shm.mkdir()
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        syscalls.mount("shm", str(shm), "tmpfs", flags, f"mode=1777,size={_SHM_BYTES}")

    def _write_names(self, folder: Path, config: SandboxConfig, addresses: tuple[str, ...]) -> None:
        whole.write(folder / "hostname", f"{config.hostname}\n")
        whole.write(folder / "resolv.conf", config.resolv_conf)
        whole.write(folder / "hosts", hosts.render(config, addresses))

    def mounts(self, sandbox_id: str) -> tuple[Mount, ...]:
        """Return the mounts that each container of a sandbox gets."""
        folder = self.folder(sandbox_id)
        return tuple(
            Mount(str(folder / name), target)
            for name, target in (
                ("hosts", "/etc/hosts"),
                ("hostname", "/etc/hostname"),
                ("resolv.conf", "/etc/resolv.conf"),
                ("shm", "/dev/shm"),  # noqa: S108  # a mount point of the container
            )
        )

    def namespaces(self, record: SandboxRecord) -> dict[str, str]:
        """Return the namespaces that containers join, except a shared process namespace."""
        names = {}
        for path in self._held(record.id, record.config):
            names[path.name if path.name in ("uts", "ipc") else "net"] = str(path)
        return names

    async def stop(self, record: SandboxRecord) -> None:
        """Disconnect a sandbox and remove its namespaces.

        Raises ContainerRuntimeError; it may be called again then.
        """
        if not record.config.host_network:
            netns = self.netns(record.id)
            path = str(netns) if files.is_mounted(netns) else ""
            await self._network.remove(record.id, record.config, path)
        (self.folder(record.id) / "network.json").unlink(missing_ok=True)
        self.release(record.id)

    def release(self, sandbox_id: str) -> None:
        """Remove a sandbox's namespaces without disconnecting it."""
        folder = self.folder(sandbox_id)
        for path in (self.netns(sandbox_id), folder / "ns/uts", folder / "ns/ipc", folder / "shm"):
            files.unmount(path)
        self.netns(sandbox_id).unlink(missing_ok=True)

    def remove(self, sandbox_id: str) -> None:
        """Remove the files of a stopped sandbox."""
        files.remove_tree(self.folder(sandbox_id))


def _network_settings(config: SandboxConfig) -> list[str]:
    pairs = {**_SYSCTLS, **config.sysctls}
    return [config.hostname[:63], *(f"{key}={value}" for key, value in pairs.items())]


def _config(saved: dict[str, Any]) -> SandboxConfig:
    values = dict(saved)
    values["pod"] = PodRef(**values["pod"])
    values["addresses"] = tuple(values.get("addresses", ()))
    values["ports"] = tuple(PortMapping(**port) for port in values["ports"])
    if (resources := values.get("resources")) is not None:
        values["resources"] = Resources(**resources)
    return SandboxConfig(**values)


def _failure(pod: PodRef, err: OSError) -> ContainerRuntimeError:
    return ContainerRuntimeError(f"sandbox of Pod {pod}: {err}", "CreatePodSandboxError")
