"""Unpacks untrusted image layers without touching anything outside the target folder.

Each member's folder is opened by openat2 with RESOLVE_IN_ROOT: ``../``, absolute names, and links
from an earlier member or layer all lead to places inside the target. Device nodes are left out: a
container gets the standard ones, and others could lead to the node's disks.
"""

import errno
import os
import stat
import tarfile
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from control.linux import files, syscalls
from control.runtime.images.tape import (
    Budget,
    HostileArchiveError,
    Tape,
    damage_named,
    decompress,
    members,
)

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MOST_NAME = 4096  # PATH_MAX
_MOST_DEPTH = 256  # folders in folders: who removes or copies a tree goes down in calls
_MOST_ID = 2**32 - 2  # -1 means "unchanged" to chown(2)
_MOST_TIME = 2**33  # seconds, the year 2242; file systems end between 2038 and 2446
_FOLDER = os.O_RDONLY | os.O_DIRECTORY


def unpack_layer(
    layer: BufferedReader, target: Path, budget: Budget, algorithm: str = "sha256"
) -> str:
    """Apply one layer tar (plain, gzip or zstd) on top of the files in ``target``.

    Whiteouts (OCI image-spec, layer.md) remove files of lower layers. Return the digest of the
    uncompressed tar, in hexadecimal. Raises HostileArchiveError, OSError.
    """
    return _unpack(layer, target, budget, algorithm, whiteouts=True)


def unpack_tree(archive: BufferedReader, target: Path, budget: Budget) -> None:
    """Unpack a tar in which no name means the removal of another.

    Raises HostileArchiveError, OSError.
    """
    _unpack(archive, target, budget, "sha256", whiteouts=False)


def _unpack(
    layer: BufferedReader, target: Path, budget: Budget, algorithm: str, *, whiteouts: bool
) -> str:
    root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with damage_named():
            tape = Tape(decompress(layer, budget), budget, algorithm)
            unpacking = _Unpacking(root, whiteouts=whiteouts)
            for tar, member in members(tape, budget):
                unpacking.add(tar, member)
            unpacking.finish_folders()
            return tape.finish()
    finally:
        os.close(root)


class _Unpacking:
    """One layer on its way into the folder behind the descriptor ``root``."""

    def __init__(self, root: int, *, whiteouts: bool) -> None:
        self._root, self._whiteouts = root, whiteouts
        self._top = _depth(root)
        self._folders: list[tuple[str, int, float]] = []
        self._placed: set[tuple[int, str]] = set()  # (inode of the folder, name), of this layer
        self._cleaned: set[int] = set()  # inodes of folders without files of lower layers

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Place one member, or remove what it is a whiteout of."""
        parts = _parts(member.name, f"member {member.name[:200]!r}")
        if not parts:
            return
        *folders, name = parts
        parent = self._open_parent(folders)
        try:
            if self._whiteouts and name == _OPAQUE:
                self._hide_all(parent)
            elif self._whiteouts and name.startswith(_WHITEOUT):
                self._hide(parent, _hidden(name))
            elif _place(tar, member, parent, name, self._root):
                self._placed.add((os.fstat(parent).st_ino, name))
                if member.isdir():
                    self._folders.append(("/".join(parts), member.mode, _time(member)))
        finally:
            os.close(parent)

    def finish_folders(self) -> None:
        """Set modes and times of folders at the end, when all their members are there."""
        for name, mode, when in reversed(self._folders):
            _finish_folder(self._root, name, mode, when)

    def _open_parent(self, folders: list[str]) -> int:
        parent = _open_folder(self._root, folders)
        depth = _depth(parent) - self._top
        if depth >= _MOST_DEPTH:
            os.close(parent)
            raise HostileArchiveError(f"folders are nested {depth} deep")
        return parent

    def _hide(self, folder: int, name: str) -> None:
        """Remove what lower layers have under a name; what this layer has put there stays."""
        try:
            is_folder = stat.S_ISDIR(_mode(folder, name))
        except FileNotFoundError:
            return None
        placed = (os.fstat(folder).st_ino, name) in self._placed
        if not is_folder:
            return None if placed else os.unlink(name, dir_fd=folder)
        inner = os.open(name, _FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            self._hide_all(inner)
        finally:
            os.close(inner)
        return None if placed else _remove_empty(folder, name)

    def _hide_all(self, folder: int) -> None:
        """Remove what lower layers have in a folder; each is walked through only once."""
        inode = os.fstat(folder).st_ino
        if inode not in self._cleaned:
            self._cleaned.add(inode)
            for name in os.listdir(folder):
                self._hide(folder, name)


def _depth(folder: int) -> int:
    return len(Path(f"/proc/self/fd/{folder}").readlink().parts)


def _remove_empty(parent: int, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as err:
        if err.errno != errno.ENOTEMPTY:  # this layer has files in it
            raise


def _hidden(name: str) -> str:
    """Return the name that a whiteout removes."""
    goal = name.removeprefix(_WHITEOUT)
    if goal in ("", ".", ".."):
        raise HostileArchiveError(f"whiteout of {goal!r}")
    return goal


def _parts(name: str, what: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise HostileArchiveError(f"{what} leaves the image")
    if len(name) > _MOST_NAME or len(parts) > _MOST_DEPTH:
        raise HostileArchiveError(
            f"{what} has a name of more than {_MOST_NAME} bytes or {_MOST_DEPTH} folders"
        )
    return parts


def _open_folder(root: int, parts: list[str]) -> int:
    """Open a folder inside the image; make it if no layer lists it."""
    try:
        return _open(root, parts)
    except FileNotFoundError:
        pass
    for count in range(len(parts)):
        above = _open(root, parts[:count])
        try:
            with suppress(FileExistsError):
                os.mkdir(parts[count], 0o755, dir_fd=above)
        finally:
            os.close(above)
    return _open(root, parts)


def _open(root: int, parts: list[str]) -> int:
    return syscalls.openat2(root, "/".join(parts) or ".", _FOLDER, syscalls.RESOLVE_IN_ROOT)


def _place(
    tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str, root: int
) -> bool:
    """Make one file, folder or link; False for other members, which are left out."""
    if member.isdir():
        return _place_folder(member, parent, name)
    if not (member.isfile() or member.issym() or member.islnk() or member.isfifo()):
        return False
    _remove(parent, name)
    if member.isfile():
        _write_file(tar, member, parent, name)
    elif member.issym():
        os.symlink(member.linkname, name, dir_fd=parent)
    elif member.isfifo():
        os.mkfifo(name, stat.S_IMODE(member.mode), dir_fd=parent)
    else:
        _link(member, parent, name, root)
    if not member.islnk():
        os.chown(name, *_owner(member), dir_fd=parent, follow_symlinks=False)
    if member.isfile():  # after chown, which clears the set-user-ID bit
        os.chmod(name, stat.S_IMODE(member.mode), dir_fd=parent)
    return True


def _place_folder(member: tarfile.TarInfo, parent: int, name: str) -> bool:
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(_mode(parent, name)):
            os.unlink(name, dir_fd=parent)
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    os.chown(name, *_owner(member), dir_fd=parent, follow_symlinks=False)
    return True


def _owner(member: tarfile.TarInfo) -> tuple[int, int]:
    if not (0 <= member.uid <= _MOST_ID and 0 <= member.gid <= _MOST_ID):
        raise HostileArchiveError(
            f"member {member.name!r} has an owner out of range: {member.uid}:{member.gid}"
        )
    return member.uid, member.gid


def _time(member: tarfile.TarInfo) -> float:
    """Return a member's time in seconds; one that no file system can hold is the epoch's."""
    return member.mtime if 0 <= member.mtime <= _MOST_TIME else 0.0


def _write_file(tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise HostileArchiveError(f"member {member.name!r} has no content")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
        while piece := source.read(1 << 20):
            file.write(piece)
        file.flush()
        os.utime(file.fileno(), (_time(member), _time(member)))


def _link(member: tarfile.TarInfo, parent: int, name: str, root: int) -> None:
    """Make a hard link; its target is looked up inside the image, and is not followed."""
    what = f"link {member.name!r} -> {member.linkname[:200]!r}"
    *folders, goal = _parts(member.linkname, what) or [""]
    try:
        above = _open(root, folders)
    except FileNotFoundError as err:
        raise HostileArchiveError(f"{what}: there is no such file before it") from err
    try:
        os.link(goal, name, src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError as err:
        raise HostileArchiveError(f"{what}: there is no such file before it") from err
    except PermissionError as err:  # a folder
        raise HostileArchiveError(f"{what}: it is no file") from err
    finally:
        os.close(above)


def _finish_folder(root: int, path: str, mode: int, when: float) -> None:
    try:
        folder = _open(root, path.split("/"))
    except OSError:
        return  # a later member of the layer replaced it
    try:
        os.fchmod(folder, stat.S_IMODE(mode))
        os.utime(folder, (when, when))
    finally:
        os.close(folder)


def _mode(parent: int, name: str) -> int:
    return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode


def _remove(parent: int, name: str) -> None:
    try:
        mode = _mode(parent, name)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        files.remove_tree(Path(f"/proc/self/fd/{parent}/{name}"))
    else:
        os.unlink(name, dir_fd=parent)
