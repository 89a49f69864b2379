"""Unpacks untrusted image layers without touching anything outside the target folder.

Each member's folder is opened by openat2 with RESOLVE_IN_ROOT: ``../``, absolute names, and links
from an earlier member or layer all lead to places inside the target. Device nodes are left out: a
container gets the standard ones, and others could lead to the node's disks.
"""

import os
import stat
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from control.linux import files, syscalls

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MOST_MEMBERS = 1_000_000
_MOST_BYTES = 64 * 1024**3


class HostileArchiveError(ValueError):
    """An archive must not be unpacked; the text says why."""


def unpack_layer(layer: IO[bytes], target: Path) -> None:
    """Apply one layer tar (plain or compressed) on top of the files in ``target``.

    Whiteouts (OCI image-spec, layer.md) remove files of lower layers. Raises HostileArchiveError,
    tarfile.TarError, OSError.
    """
    root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    modes: list[tuple[str, int, float]] = []
    try:
        with tarfile.open(fileobj=layer, mode="r:*") as tar:
            size = 0
            for count, member in enumerate(tar):
                size += member.size
                if count > _MOST_MEMBERS or size > _MOST_BYTES:
                    raise HostileArchiveError(
                        f"more than {_MOST_MEMBERS} files or {_MOST_BYTES} bytes"
                    )
                _unpack_member(tar, member, root, modes)
        for name, mode, when in reversed(modes):
            _finish_folder(root, name, mode, when)
    finally:
        os.close(root)


def _unpack_member(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    root: int,
    modes: list[tuple[str, int, float]],
) -> None:
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in member.name:
        raise HostileArchiveError(f"member {member.name!r} leaves the image")
    if not parts:
        return
    *folders, name = parts
    parent = _open_folder(root, folders)
    try:
        if name == _OPAQUE:
            _empty(parent)
        elif name.startswith(_WHITEOUT):
            _remove(parent, name.removeprefix(_WHITEOUT))
        elif _place(tar, member, parent, name, root) and member.isdir():
            modes.append(("/".join(parts), member.mode, member.mtime))
    finally:
        os.close(parent)


def _open_folder(root: int, parts: list[str]) -> int:
    """Open a folder inside the image; make it if no layer lists it."""
    path = "/".join(parts) or "."
    try:
        return syscalls.openat2(root, path, os.O_RDONLY | os.O_DIRECTORY, syscalls.RESOLVE_IN_ROOT)
    except FileNotFoundError:
        above = _open_folder(root, parts[:-1])
        try:
            with suppress(FileExistsError):
                os.mkdir(parts[-1], 0o755, dir_fd=above)
        finally:
            os.close(above)
        return syscalls.openat2(root, path, os.O_RDONLY | os.O_DIRECTORY, syscalls.RESOLVE_IN_ROOT)


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
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
    if member.isfile():  # after chown, which clears the set-user-ID bit
        os.chmod(name, stat.S_IMODE(member.mode), dir_fd=parent)
    return True


def _place_folder(member: tarfile.TarInfo, parent: int, name: str) -> bool:
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent)
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
    return True


def _write_file(tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise HostileArchiveError(f"member {member.name!r} has no content")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
        while piece := source.read(1 << 20):
            file.write(piece)
        os.utime(file.fileno(), (member.mtime, member.mtime))


def _link(member: tarfile.TarInfo, parent: int, name: str, root: int) -> None:
    """Make a hard link; its target is looked up inside the image, and is not followed."""
    *folders, goal = [part for part in member.linkname.split("/") if part not in ("", ".")]
    if ".." in folders or goal == "..":
        raise HostileArchiveError(f"link {member.name!r} -> {member.linkname!r} leaves the image")
    above = _open_folder(root, folders)
    try:
        os.link(goal, name, src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(above)


def _finish_folder(root: int, path: str, mode: int, when: float) -> None:
    """Set a folder's mode and time at the end, when all its members are there."""
    try:
        folder = syscalls.openat2(
            root, path, os.O_RDONLY | os.O_DIRECTORY, syscalls.RESOLVE_IN_ROOT
        )
    except OSError:
        return  # a later member of the layer replaced it
    os.fchmod(folder, stat.S_IMODE(mode))
    os.utime(folder, (when, when))
    os.close(folder)


def _empty(folder: int) -> None:
    for name in os.listdir(folder):
        _remove(folder, name)


def _remove(parent: int, name: str) -> None:
    if name in ("", ".", ".."):
        raise HostileArchiveError(f"whiteout of {name!r}")
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        files.remove_tree(Path(f"/proc/self/fd/{parent}/{name}"))
    else:
        os.unlink(name, dir_fd=parent)
