"""Finds the files of static Pods: one file, or those of a folder. Not in folders below it."""

import errno
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from control.agent.pods.static import StaticPod
from control.agent.static.manifest import MOST_BYTES, ManifestError, parse

logger = logging.getLogger(__name__)

_PATIENCE = 20.0  # seconds, kubelet's fileCheckFrequency: until then a broken file is being written

Key = tuple[str, str]


@dataclass(slots=True)
class _File:
    """What is known of a file; ``broken`` is since when it cannot be read, 0 if it can."""

    mark: tuple[int, ...]
    pod: StaticPod | None
    broken: float = 0.0


class Manifests:
    """The static Pods of a path."""

    def __init__(self, path: Path, node: str, clock: Callable[[], float] = time.time) -> None:
        self._path, self._node, self._clock = path, node, clock
        self._files: dict[str, _File] = {}
        self._said = ""

    def read(self) -> dict[Key, StaticPod]:
        """Return the Pods by namespace and name. A file is read again only if it has changed.

        What cannot be read is logged once. A file that is broken keeps its Pod for 20 s; a path
        that cannot be read keeps all.
        """
        try:
            found = dict(self._list())
            self._said = ""
        except OSError as err:
            self._say(f"static Pods: {self._path} cannot be read: {err.strerror}")
            found = {}
            if not isinstance(err, FileNotFoundError):
                found = {name: file.mark for name, file in self._files.items()}
        self._files = {name: self._file(name, mark) for name, mark in found.items()}
        return self._pods()

    def _pods(self) -> dict[Key, StaticPod]:
        """Return the Pods of all files: of two with one name or one UID the later file's."""
        pods: dict[Key, StaticPod] = {}
        by_uid: dict[str, Key] = {}
        for name, file in sorted(self._files.items()):
            if file.pod is None or not self._holds(file):
                continue
            if file.pod.key in pods:
                self._say(f"static Pods: {name} has a Pod of another file's name: it counts")
            if (other := by_uid.get(file.pod.metadata.uid, file.pod.key)) != file.pod.key:
                self._say(f"static Pods: {name} has the UID of {'/'.join(other)}: it counts")
                pods.pop(other, None)
            pods[file.pod.key] = file.pod
            by_uid[file.pod.metadata.uid] = file.pod.key
        return pods

    def _say(self, text: str) -> None:
        if text != self._said:
            logger.warning("%s", text)
        self._said = text

    def _list(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the name of each file, and what differs when it has changed; raises OSError."""
        if not self._path.is_dir():
            yield str(self._path), _mark(self._path)
            return
        for path in sorted(self._path.iterdir()):
            if path.name.startswith("."):
                continue
            try:
                yield str(path), _mark(path)
            except FileNotFoundError:
                continue  # it has just been removed
            except OSError as err:  # a link in a circle, a file system that has gone
                yield str(path), (-(err.errno or errno.EIO),)

    def _file(self, name: str, mark: tuple[int, ...]) -> _File:
        known = self._files.get(name)
        if known is not None and known.mark == mark:
            return known
        old = known.pod if known is not None else None
        try:
            pod = parse(_content(Path(name), mark), name, self._node, self._clock())
        except (ManifestError, OSError) as err:
            logger.error("static Pod: %s: %s", name, err)
            since = (known.broken if known is not None else 0.0) or self._clock()
            return _File(mark, old, since)
        same = old is not None and old.metadata.uid == pod.metadata.uid and old.spec == pod.spec
        return _File(mark, old if same else pod)

    def _holds(self, file: _File) -> bool:
        return not file.broken or self._clock() - file.broken < _PATIENCE


def _mark(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content(path: Path, mark: tuple[int, ...]) -> bytes:
    if mark[0] < 0:
        raise OSError(-mark[0], os.strerror(-mark[0]))
    if not stat.S_ISREG(mark[0]):
        raise ManifestError("it is no file; folders below the path are not looked into")
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)
