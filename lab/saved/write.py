"""Writes a lab into one file, whole or not at all, also while the lab runs."""

import io
import os
import shutil
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import orjson

from control.runtime.images import names
from control.runtime.images.store import ImageStore
from control.version import PODWIRE
from lab.resume import known_port
from lab.saved import head, members
from lab.spec import ETCD, LabSpec
from lab.state import IMAGES, LabDir

# SQLite takes ``value`` from the row that has the maximum.
_PODS = """
    SELECT value, MAX(revision) FROM log WHERE key LIKE '/registry/core/pods/%' GROUP BY key
"""
_FAST = 1  # gzip's: certificates do not get smaller, and the store by the half


@dataclass(slots=True)
class Saved:
    """What was saved; ``left_out`` names sockets and devices of Pods' volumes."""

    files: int = 0
    left_out: list[str] = field(default_factory=list)


def save(lab: LabDir, spec: LabSpec, file: Path, *, running: bool) -> Saved:
    """Write a lab into a file, which only its owner may read.

    Raises OSError, sqlite3.Error, StoreError.
    """
    with tempfile.TemporaryDirectory(prefix="podwire-save-") as folder, _whole(file) as stream:
        store = Path(folder) / "store.db"
        if spec.store == ETCD:
            members.to_file(lab, spec, store, running=running)
        else:
            _copy_store(lab.path / head.STORE, store, running=running)
        found = head.Head(
            podwire=PODWIRE, name=lab.name, port=known_port(lab), images=tuple(_images(lab, store))
        )
        with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=_FAST) as tar:
            _add_bytes(tar, head.NAME, found.model_dump_json(indent=2).encode())
            _add_file(tar, store, f"{head.FOLDER}/{head.STORE}")
            saved = Saved()
            for path in _chosen(lab.path):
                _add(tar, path, f"{head.FOLDER}/{path.relative_to(lab.path)}", saved)
        return saved


@contextmanager
def _whole(file: Path) -> Iterator[IO[bytes]]:
    """Give a stream whose content is in the file at the end, or never; raises OSError."""
    fresh = file.with_name(f"{file.name}.new")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(fresh, flags, 0o600), "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        fresh.rename(file)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise


def _copy_store(store: Path, copy: Path, *, running: bool) -> None:
    """Copy a store as it is at one moment, with the commits of its write-ahead log."""
    if not running:  # to open it here would change its files
        inner = copy.with_name("original.db")
        shutil.copyfile(store, inner)
        log = store.with_name(f"{store.name}-wal")
        if log.exists():
            shutil.copyfile(log, inner.with_name(f"{inner.name}-wal"))
        store = inner
    with (
        closing(
            sqlite3.connect(f"{store.as_uri()}?mode={'ro' if running else 'rw'}", uri=True)
        ) as a,
        closing(sqlite3.connect(copy)) as b,
    ):
        a.backup(b)


def _images(lab: LabDir, store: Path) -> list[head.SavedImage]:
    """Return the images of the Pods in a store, as far as this machine or a node has them."""
    loaded = [lab.loaded_images(name) for name in _names(lab.path / "machines")]
    there = {image.name: image.id for image in ImageStore(IMAGES, *loaded).list()}
    with closing(sqlite3.connect(store)) as db:
        pods = [orjson.loads(value) for value, _ in db.execute(_PODS) if value]
    specs = [pod.get("spec", {}) for pod in pods]
    used = {
        names.normalize(container["image"])
        for spec in specs
        for part in ("containers", "initContainers")
        for container in spec.get(part) or ()
    }
    return [head.SavedImage(name=name, id=there[name]) for name in sorted(used & there.keys())]


def _chosen(lab: Path) -> Iterator[Path]:
    """Yield what of a lab's folder is saved; what goes away meanwhile is passed over."""
    yield from (lab / name for name in head.FILES if (lab / name).exists())
    roots = [lab / "pki"]
    roots += [lab / "machines" / m / part for m in _names(lab / "machines") for part in head.PARTS]
    for root in roots:
        for path, folders, files in os.walk(root):
            folders[:] = [
                name for name in sorted(folders) if not _is_left_out(lab, Path(path, name))
            ]
            yield Path(path)
            links = [name for name in folders if Path(path, name).is_symlink()]
            for name in sorted(files) + links:
                if not _is_left_out(lab, Path(path, name)):
                    yield Path(path, name)


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _is_left_out(lab: Path, path: Path) -> bool:
    return head.LEFT_OUT.fullmatch(str(path.relative_to(lab))) is not None


def _add(tar: tarfile.TarFile, path: Path, name: str, saved: Saved) -> None:
    try:
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            _add_file(tar, path, name)
        elif stat.S_ISDIR(mode) or stat.S_ISLNK(mode) or stat.S_ISFIFO(mode):
            tar.addfile(tar.gettarinfo(path, name))
        else:
            saved.left_out += [name] if not head.OF_CONTAINERS.match(name) else []
            return
    except FileNotFoundError:  # it was removed just now
        return
    saved.files += 1


def _add_file(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file with the size that it has now, whatever is written to it meanwhile."""
    with path.open("rb") as stream:
        info = tar.gettarinfo(arcname=name, fileobj=stream)
        info.type, info.linkname = tarfile.REGTYPE, ""  # a hard link is saved as a file
        info.size = os.fstat(stream.fileno()).st_size
        tar.addfile(info, _Padded(stream))  # type: ignore[arg-type]  # it only reads


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))


class _Padded:
    """A file that seems never to end: one that was cut while it is read goes on with zeros."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        """Return exactly ``size`` bytes."""
        return self._stream.read(size).ljust(size, b"\0")
