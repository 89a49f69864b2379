"""Makes, updates and removes the volumes of Pods, below ``ROOT/pods/UID/volumes``.

A volume that the API fills is replaced as a whole, as by kubelet's AtomicWriter: the files are
written into a new folder ``..TIME``, then one rename switches the link ``..data`` to it.

    config.yaml -> ..data/config.yaml      ..data -> ..2026_11_22_13_05_01.123456
"""

import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from control.agent.pods.environment import expand
from control.agent.pods.payload import File, Payload, is_filled
from control.agent.pods.render import TERMINATION_LOG
from control.agent.volumes.claims import Claimed
from control.api import volume as api
from control.api.container import Container, VolumeMount
from control.api.pod import Pod
from control.api.quantity import QuantityError, parse
from control.linux import files, syscalls, whole
from control.runtime.base import ContainerRuntimeError, Mount

_DATA = "..data"
MESSAGE_BYTES = 4096  # of a termination message, as kubelet's
_MESSAGE_SPACE = 65536  # for the messages of a container's attempts
_KEPT_MESSAGES = 2
NO_CLAIMS: Mapping[str, Claimed] = {}
_HOST_TYPES = {
    "Directory": stat.S_ISDIR,
    "DirectoryOrCreate": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "FileOrCreate": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}


class Volumes:
    """The volume folders of a node's Pods."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, uid: str) -> Path:
        """Return the folder of everything that is kept of one Pod."""
        return self._root / uid

    def uids(self) -> frozenset[str]:
        """Return the UIDs of the Pods of which something is kept."""
        if not self._root.is_dir():
            return frozenset()
        return frozenset(path.name for path in self._root.iterdir())

    def prepare(
        self,
        pod: Pod,
        payloads: Mapping[str, Payload],
        claimed: Mapping[str, Claimed] = NO_CLAIMS,
    ) -> None:
        """Make every volume, or update those that the API fills; raises ContainerRuntimeError."""
        group = (pod.spec.security_context or {}).get("fsGroup")
        for volume in pod.spec.volumes:
            path = self._path(pod, volume)
            try:
                if is_filled(volume):
                    write_payload(path, payloads[volume.name], group)
                elif volume.empty_dir:
                    _make_empty(path, volume.empty_dir, group)
                elif volume.host_path:
                    _check_host_path(volume.host_path)
                elif volume.name in claimed:
                    _make_claimed(claimed[volume.name], group)
            except OSError as err:
                raise ContainerRuntimeError(
                    f'MountVolume.SetUp failed for volume "{volume.name}": {err}', "FailedMount"
                ) from err

    def mounts(
        self,
        pod: Pod,
        spec: Container,
        attempt: int,
        values: Mapping[str, str],
        claimed: Mapping[str, Claimed] = NO_CLAIMS,
    ) -> tuple[Mount, ...]:
        """Return a container's mounts; raises ContainerRuntimeError for an unknown volume."""
        volumes = {volume.name: volume for volume in pod.spec.volumes}
        sources = {name: self._source(pod, it, claimed) for name, it in volumes.items()}
        found = [_mount(sources.get(item.name), item, values) for item in spec.volume_mounts]
        log = self.termination_log(pod, spec.name, attempt)
        _make_termination_log(log)
        return (*found, Mount(str(log), spec.termination_message_path or TERMINATION_LOG))

    def termination_log(self, pod: Pod, container: str, attempt: int) -> Path:
        """Return the file into which a container may write its termination message."""
        return self.folder(pod.metadata.uid) / "containers" / container / str(attempt)

    def _source(
        self, pod: Pod, volume: api.Volume, claimed: Mapping[str, Claimed]
    ) -> Claimed | None:
        """Return the folder of a volume; None if it is of a kind that is not supported."""
        if volume.name in claimed:
            return claimed[volume.name]
        if not (is_filled(volume) or volume.empty_dir or volume.host_path):
            return None
        return Claimed(self._path(pod, volume), is_filled(volume))

    def _path(self, pod: Pod, volume: api.Volume) -> Path:
        if volume.host_path:
            return Path(volume.host_path.path)
        return self.folder(pod.metadata.uid) / "volumes" / volume.name

    def remove(self, uid: str) -> None:
        """Remove everything that is kept of a Pod, if there is anything; raises OSError."""
        for folder in (self.folder(uid) / "volumes", self.folder(uid) / "containers"):
            for path in folder.iterdir() if folder.is_dir() else ():
                files.unmount(path)
        files.remove_tree(self.folder(uid))


def _mount(source: Claimed | None, item: VolumeMount, values: Mapping[str, str]) -> Mount:
    """Return the mount of a volume's folder, or of a part of it; raises ContainerRuntimeError."""
    if source is None:
        raise ContainerRuntimeError(
            f'volume "{item.name}": podwire does not support volumes of this kind (it supports '
            "emptyDir, hostPath, configMap, secret, downwardAPI, projected, persistentVolumeClaim, "
            "ephemeral)",
            "FailedMount",
        )
    inner = item.sub_path or expand(item.sub_path_expr or "", values)
    if ".." in inner.split("/") or inner.startswith("/"):
        raise ContainerRuntimeError(
            f'subPath "{inner}" leads out of volume "{item.name}"', "CreateContainerConfigError"
        )
    read_only = bool(item.read_only) or source.read_only
    propagation = "" if item.mount_propagation == "None" else item.mount_propagation or ""
    return Mount(str(source.path), item.mount_path, read_only, inner, propagation)


def _make_termination_log(path: Path) -> None:
    """Make the file that a container of any user may write, in a small memory file system.

    There a container that writes without end meets the end of the space, and fills no disk of
    the node. The messages of earlier attempts are cut to what is reported of them.
    """
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    if not files.is_mounted(folder):
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        syscalls.mount("tmpfs", folder, "tmpfs", flags, f"size={_MESSAGE_SPACE},mode=755")
    for older in folder.iterdir():
        if int(older.name) < int(path.name) - _KEPT_MESSAGES:
            older.unlink()
        elif older.stat().st_size > MESSAGE_BYTES:
            os.truncate(older, MESSAGE_BYTES)
    path.touch()
    path.chmod(0o666)  # touch's mode is less the umask


def _make_empty(path: Path, source: api.EmptyDirVolume, group: int | None) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if source.medium == "Memory" and not files.is_mounted(path):
        syscalls.mount(
            "tmpfs", str(path), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, _limit(source)
        )
    path.chmod(0o777 if group is None else 0o2777)
    if group is not None:
        os.chown(path, -1, group)


def _limit(source: api.EmptyDirVolume) -> str:
    try:
        return f"size={parse(source.size_limit).value()}" if source.size_limit else ""
    except QuantityError:
        return ""


def _make_claimed(claimed: Claimed, group: int | None) -> None:
    """Make the folder of a claim; a disk of the node has to be there, and is given to fsGroup."""
    if not claimed.owned:
        claimed.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return
    if not claimed.path.is_dir():
        raise FileNotFoundError(f'path "{claimed.path}" does not exist')
    if group is not None and claimed.path.stat().st_gid != group:
        _give(claimed.path, group)


def _give(folder: Path, group: int) -> None:
    """Let a group read and write all of a folder, as kubelet does for fsGroup."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            os.chown(path, -1, group)
            more = 0o2770 if path.is_dir() else 0o660
            path.chmod(stat.S_IMODE(path.stat().st_mode) | more)


def _check_host_path(source: api.HostPathVolume) -> None:
    path, kind = Path(source.path), source.type or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch(mode=0o644)
    elif not kind:
        path.mkdir(mode=0o755, parents=True, exist_ok=True) if not path.exists() else None
    fits = _HOST_TYPES.get(kind)
    if fits and not fits(path.stat().st_mode):
        raise OSError(f"hostPath type check failed: {source.path} is not a {kind}")


def write_payload(folder: Path, payload: Payload, group: int | None = None) -> None:
    """Make these the files of ``folder``, all at once; nothing happens if they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    current = folder / _DATA
    if current.exists() and _read(current) == payload:
        return
    fresh = folder / datetime.now(UTC).strftime("..%Y_%m_%d_%H_%M_%S.%f")
    for name, file in payload.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode if group is None else file.mode | 0o440)
        if group is not None:
            os.chown(path, -1, group)
    fresh.mkdir(exist_ok=True)
    old = current.resolve() if current.is_symlink() else None
    whole.link(current, fresh.name, f"{_DATA}_tmp")
    _point_to_data(folder, {name.partition("/")[0] for name in payload})
    if old is not None and old.parent == folder.resolve():
        files.remove_tree(old)


def _read(folder: Path) -> Payload:
    return {
        str(path.relative_to(folder)): File(path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
        if path.is_file()
    }


def _point_to_data(folder: Path, names: set[str]) -> None:
    """Make each name that a container sees a link through ``..data``, and remove other names."""
    for name in names:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{_DATA}/{name}")
    for path in folder.iterdir():
        if not path.name.startswith("..") and path.name not in names:
            path.unlink()
