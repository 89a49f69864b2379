"""The files of a store: PATH, PATH-wal with the last commits, and PATH-open to need that log.

SQLite opens a file without its write-ahead log as if the log had never been, and a server whose
files were removed goes on with files that have no name. Both would lose commits without a word.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from control.store.base import StoreDamagedError

logger = logging.getLogger(__name__)

FileId = tuple[int, int]  # device and inode


class StoreFiles:
    """Notices that a file of a store is not there any more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._mark = path.with_name(f"{path.name}-open")
        self._known: dict[Path, FileId | None] = {}
        self._marked = False

    def check_before(self) -> None:
        """Refuse a store whose last server was killed, and whose log has gone since.

        Call it before SQLite opens the file and makes a new log. Raises StoreDamagedError.
        """
        if self._mark.exists() and not _size(self._log):
            raise StoreDamagedError(
                f"store {self._path}: {self._log}, which has its last commits, was removed or cut."
                " Restore a copy of both. Or, to go on without those commits or with another copy"
                f" of the store, remove {self._mark}"
            )

    def opened(self) -> None:
        """Note the files that SQLite has open."""
        self._known = {path: _identity(path) for path in (self._path, self._log)}

    def committed(self) -> None:
        """Note that the log has commits: from the first one on, it must not go missing."""
        if self._marked:
            return
        try:
            self._mark.touch(mode=0o600)
            _sync(self._log)  # with sync=normal SQLite has not done it
            _sync(self._mark.parent)
            self._marked = True
        except OSError as err:  # the commit is written; try again after the next one
            logger.warning("%s: %s: a removed log would not be noticed", self._mark, err.strerror)

    def lost(self) -> str:
        """Return what has happened to the files; empty if nothing has."""
        for path, known in self._known.items():
            if _identity(path) != known:
                return (
                    f"{path} was removed or replaced while the store is open. Nothing is lost so"
                    " far: end the server with SIGTERM, put back what was removed, and start it"
                )
        return ""

    def saved(self) -> None:
        """Note that PATH has all commits: the log is not needed."""
        with suppress(OSError):  # then the next start says that the log is not there
            self._mark.unlink(missing_ok=True)

    def closed(self) -> None:
        """Note that SQLite has closed the files, and moved the log's commits into PATH."""
        if not _size(self._log):
            self.saved()


def _identity(path: Path) -> FileId | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sync(path: Path) -> None:
    """Write a file or a folder to the disk."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
