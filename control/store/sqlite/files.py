"""The files of a store: PATH, PATH-wal with the last commits, and PATH-last with their revision.

SQLite opens a file without its write-ahead log, or with a part of it, as if the rest had never
been; a server whose files were removed goes on with files that have no name. Both would lose
commits without a word. PATH-last never names a revision that is not written, so that a kill at any
place leaves files that belong together.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from control.store.base import StoreDamagedError

logger = logging.getLogger(__name__)

FileId = tuple[int, int]  # device and inode

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ANY_BOOT = "any"
_MOST = 100  # bytes of the mark


class StoreFiles:
    """Notices that a file of a store, or its last commits, are not there any more.

    ``survives`` says that a commit survives the end of the machine: it is on the disk before
    ``committed`` is called. If it does not, the mark counts as long as the machine runs.
    """

    def __init__(self, path: Path, *, survives: bool = True) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._mark = path.with_name(f"{path.name}-last")
        self._boot = _ANY_BOOT if survives else _this_boot()
        self._known: dict[Path, FileId | None] = {}
        self._written: int | None = None  # a descriptor of the mark
        self._is_failing = False

    def are_absent(self) -> bool:
        """Return whether there is no store; forget one that was removed.

        Raises StoreDamagedError if it left its log behind: SQLite would bring the commits of that
        log into a new file.
        """
        left = _size(self._log)  # before the next line: another server may make both just now
        if self._path.exists():
            return False
        if left:
            raise StoreDamagedError(
                f"store {self._path}: it was removed, but {self._log} has its last commits. Put it"
                f" back, or remove {self._log}, too, to begin with an empty cluster"
            )
        with suppress(OSError):  # then nothing else can be made here, either
            self._mark.unlink(missing_ok=True)
        return True

    def check(self, last: int) -> None:
        """Refuse a store that ends before its last commit; raises StoreDamagedError."""
        if last < (wanted := self._marked()):
            raise StoreDamagedError(
                f"store {self._path} ends at revision {last}, but {wanted} was written:"
                f" {self._log}, which has its last commits, was removed or cut, or the store is an"
                " older copy. Restore the newest copy of both. Or, to go on without those commits,"
                f" remove {self._mark}"
            )

    def _marked(self) -> int:
        """Return the revision that the store must have."""
        try:
            revision, boot = self._mark.read_bytes()[:_MOST].decode().split()
            return int(revision) if boot in (_ANY_BOOT, _this_boot()) else 0
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as err:  # empty if the server was killed while it made it
            logger.warning("%s: %s: lost commits would not be noticed", self._mark, err)
            return 0

    def opened(self, last: int) -> None:
        """Note the files that SQLite has open, and the store's last revision."""
        self._known = {path: _identity(path) for path in (self._path, self._log)}
        if last:
            self.committed(last)

    def committed(self, last: int) -> None:
        """Note the last revision that is written: from now on, it must not go missing."""
        try:
            if self._written is None:
                self._written = _made(self._mark)
            os.pwrite(self._written, f"{last:020d} {self._boot:36}\n".encode(), 0)
            self._is_failing = False
        except OSError as err:  # the commit is written; try again after the next one
            if not self._is_failing:
                reason = err.strerror
                logger.warning("%s: %s: lost commits would not be noticed", self._mark, reason)
            self._is_failing = True

    def lost(self) -> str:
        """Return what has happened to the files; empty if nothing has."""
        for path, known in self._known.items():
            if _identity(path) != known:
                return (
                    f"{path} was removed or replaced while the store is open. Nothing is lost so"
                    " far: end the server with SIGTERM, put back what was removed, and start it"
                )
        return ""

    def closed(self) -> None:
        """Note that SQLite has closed the files, and moved the log's commits into PATH."""
        if self._written is not None:
            os.close(self._written)
            self._written = None
        is_whole = _identity(self._path) == self._known.get(self._path) and not _size(self._log)
        if is_whole:
            with suppress(OSError):  # it is true: the next start checks it
                self._mark.unlink(missing_ok=True)


def _made(mark: Path) -> int:
    """Open the mark, make it if it is absent, and return its descriptor."""
    made = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    folder = os.open(mark.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return made


def _this_boot() -> str:
    return _BOOT.read_text().strip()


def _identity(path: Path) -> FileId | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
