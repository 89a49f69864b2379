"""The log of events in one SQLite file. Synchronous.

One row is one event. The file is in WAL mode (https://www.sqlite.org/wal.html): a commit appends to
the write-ahead log, and a reader sees the last commit without waiting. After a kill -9 at any time
SQLite recovers the last whole commit.
"""

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from control.store.base import (
    Commit,
    KeyValue,
    StoreDamagedError,
    StoreEvent,
    StoreUnavailableError,
    Write,
)
from control.store.sqlite.draft import Draft, Outcome
from control.store.sqlite.files import StoreFiles

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    key      TEXT    NOT NULL,
    revision INTEGER NOT NULL,
    value    BLOB,              -- NULL: the key was removed
    checksum INTEGER,           -- see checksum()
    PRIMARY KEY (key, revision)
);
CREATE INDEX IF NOT EXISTS log_by_revision ON log (revision);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, number INTEGER NOT NULL);
"""
_HAS_CHECKSUM = "SELECT count(*) FROM pragma_table_info('log') WHERE name = 'checksum'"
# For a file of an older version, which is taken as whole.
_ADD_CHECKSUMS = """
BEGIN;
ALTER TABLE log ADD COLUMN checksum INTEGER;
UPDATE log SET checksum = checksum_of(key, revision, value);
COMMIT;
"""
_ALL = "SELECT key, revision, value, checksum FROM log ORDER BY revision, rowid"
# A statement takes a whole group: between statements, and between rows, the writing thread waits
# for the interpreter lock, up to 5 ms while the event loop computes. Rows go in and out as
# one value, of JSON.
_CURRENT = """
SELECT json_group_array(json_array(this.key, this.revision))
FROM json_each(?) AS wanted JOIN log AS this ON this.key = wanted.value
WHERE this.value IS NOT NULL
  AND this.revision = (SELECT max(revision) FROM log WHERE key = wanted.value)
"""
_INSERT = """
INSERT INTO log (key, revision, value, checksum)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
       iif(json_extract(value, '$[2]'),
           substr(:values, json_extract(value, '$[2]'), json_extract(value, '$[3]')), NULL),
       json_extract(value, '$[4]')
FROM json_each(:rows) ORDER BY key
"""
_GET = "SELECT key, revision, value, checksum FROM log WHERE key = ? ORDER BY revision DESC LIMIT 1"
_LIST = """
SELECT key, revision, value, checksum FROM log AS this
WHERE key >= :first AND key > :after AND key < :last AND value IS NOT NULL
  AND revision = (SELECT max(revision) FROM log WHERE key = this.key AND revision <= :at)
ORDER BY key LIMIT :limit
"""
_EVENTS = """
SELECT key, revision, value, checksum FROM log
WHERE revision > ? AND revision <= ? ORDER BY revision, rowid
"""
# Two steps, so that a removal hides older versions until they are deleted.
_FORGET_OVERWRITTEN = """
DELETE FROM log WHERE revision <= :at AND EXISTS (
    SELECT 1 FROM log AS newer
    WHERE newer.key = log.key AND newer.revision > log.revision AND newer.revision <= :at)
"""
_FORGET_REMOVED = "DELETE FROM log WHERE revision <= :at AND value IS NULL"
_SET_STATE = (
    "INSERT INTO state VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET number = excluded.number"
)

# Sorts after every key with a prefix: no key contains the last code point.
_AFTER_ALL = "\U0010ffff"

# Upstream's etcd has 2 GiB (--quota-backend-bytes).
QUOTA = 2 * 1024**3
_MOST_NAMED = 5  # faults that SQLite lists
_MOST_SHOWN = 1000  # characters of a list of what is damaged


def create(path: Path) -> None:
    """Create an empty store unless the file is there; a half-made one is never seen.

    Raises StoreUnavailableError.
    """
    made = path.with_name(f"{path.name}.new-{os.getpid()}")
    try:
        made.touch(mode=0o600)
        with closing(sqlite3.connect(made, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SCHEMA)
        with suppress(FileExistsError):
            path.hardlink_to(made)
        made.unlink()
    except (OSError, sqlite3.Error) as err:
        raise StoreUnavailableError(f"create store {path}: {err}") from err


def last_revision(path: Path) -> int | None:
    """Return the last revision and change no file; None if SQLite cannot read it.

    A connection that may write would remove a damaged log when it closes.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            return _bounds(db)[0]
    except sqlite3.Error:
        return None


def _bounds(db: sqlite3.Connection) -> tuple[int, int]:
    (last,) = db.execute("SELECT max(revision) FROM log").fetchone()
    row = db.execute("SELECT number FROM state WHERE name = 'compacted'").fetchone()
    compacted = row[0] if row else 0
    return max(last or 0, compacted), compacted


def checksum(key: str, revision: int, value: bytes | None) -> int:
    """Return the CRC-32 of a row."""
    head = f"{key} {revision} {value is None}\n".encode()
    return zlib.crc32(value or b"", zlib.crc32(head))


def _is_whole(key: Any, revision: Any, value: Any, stored: Any) -> bool:
    """Return True for a row as it was written; damage can change the types of its columns, too."""
    is_value = value is None or isinstance(value, bytes)
    return is_value and bool(stored == checksum(key, revision, value))


class Log:
    """One connection to the file; only one thread may use it at a time."""

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "FULL",
        quota: int = QUOTA,
        files: StoreFiles | None = None,
    ) -> None:
        """Open the file of ``create``; raises StoreUnavailableError.

        ``quota`` is in bytes, negative for none. ``files`` are looked at before each write.
        """
        self._path = path
        self._quota = quota
        self._files = files
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(f"PRAGMA synchronous = {synchronous}")
            self._db.executescript(_SCHEMA)
            if self._db.execute(_HAS_CHECKSUM).fetchone() == (0,):
                self._db.create_function("checksum_of", 3, checksum)
                self._db.executescript(_ADD_CHECKSUMS)
            (self._page,) = self._db.execute("PRAGMA page_size").fetchone()
        except sqlite3.Error as err:
            if getattr(err, "sqlite_errorcode", 0) == sqlite3.SQLITE_CORRUPT:
                raise self._damaged(str(err)) from err
            raise StoreUnavailableError(f"open store {path}: {err}") from err

    def verify(self) -> None:
        """Read the whole file; raises StoreDamagedError with what is damaged."""
        try:
            found = [row[0] for row in self._db.execute(f"PRAGMA integrity_check({_MOST_NAMED})")]
            if found != ["ok"]:
                raise self._damaged("; ".join(found))
            bad = [row for row in self._db.execute(_ALL) if not _is_whole(*row)]
        except (sqlite3.Error, UnicodeDecodeError) as err:
            raise self._damaged(str(err)) from err
        if bad:
            raise self._damaged("; ".join(f"{row[0]} at revision {row[1]}" for row in bad))

    def _damaged(self, what: str) -> StoreDamagedError:
        return StoreDamagedError(
            f"store {self._path} is damaged: {what[:_MOST_SHOWN]}. Restore a copy of it, or keep"
            f" what is whole: sqlite3 {self._path} .recover | sqlite3 NEW, then delete the rows"
            " that are named here"
        )

    def close(self) -> None:
        """Close the file; its last user moves the log's commits into it, and removes the log."""
        self._db.close()

    def bounds(self) -> tuple[int, int]:
        """Return (the last revision, the compacted revision)."""
        return _bounds(self._db)

    def write(self, last: int, group: Sequence[Sequence[Write]]) -> list[Outcome]:
        """Write the commits of a group whose conditions hold, in one transaction.

        ``last`` is the previous revision. Raises StoreUnavailableError if nothing was written.
        """
        self._check_files()
        outcomes: list[Outcome] = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            draft = Draft(self._current(group), self._quota, self._used)
            for changes in group:
                outcome = draft.add(last + 1, changes)
                outcomes.append(outcome)
                last += isinstance(outcome, tuple)
            self._insert(outcomes)
            self._db.execute("COMMIT")
        except sqlite3.Error as err:
            self._roll_back()
            raise StoreUnavailableError(f"write to the store: {err}") from err
        written = [each[-1].revision for each in outcomes if isinstance(each, tuple) and each]
        if self._files is not None and written:
            self._files.committed(written[-1])
        return outcomes

    def _check_files(self) -> None:
        """Refuse to write into files that nobody could open again; first save what they have."""
        lost = self._files and self._files.lost()
        if self._files is None or not lost:
            return
        try:
            self._db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        except sqlite3.Error as err:
            raise StoreUnavailableError(f"write to the store: {lost}; and save it: {err}") from err
        raise StoreUnavailableError(f"write to the store: {lost}")

    def _insert(self, outcomes: Iterable[Outcome]) -> None:
        """Insert the rows of the commits among outcomes."""
        rows: list[tuple[str, int, int, int, int]] = []
        values = bytearray(1)  # an empty one would be NULL, and so would all of its parts
        for event in (event for each in outcomes if isinstance(each, tuple) for event in each):
            key, revision, value = event.key, event.revision, event.value
            place = 0 if value is None else len(values) + 1
            rows.append((key, revision, place, len(value or b""), checksum(key, revision, value)))
            values += value or b""
        if rows:
            self._db.execute(_INSERT, {"rows": json.dumps(rows), "values": values})

    def _used(self) -> int:
        """Return the bytes of the file's pages that are in use."""
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        return int(self._page * (pages - free))

    def _current(self, group: Iterable[Sequence[Write]]) -> dict[str, int]:
        """Return the revisions of those keys of a group that have a value."""
        keys = {change.key for changes in group for change in changes}
        (found,) = self._db.execute(_CURRENT, (json.dumps([*keys]),)).fetchone()
        return dict(json.loads(found))

    def _roll_back(self) -> None:
        # After some errors, such as a full disk, SQLite has already rolled back.
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def get(self, key: str) -> KeyValue | None:
        """Return the present value of a key; None if it is absent."""
        row = self._read(_GET, (key,))
        if not row or row[0][2] is None:
            return None
        return KeyValue(key, row[0][2], row[0][1])

    def page(self, prefix: str, after: str, at: int, limit: int) -> list[KeyValue]:
        """Return keys in order as of a revision; a limit of -1 means none."""
        given = {
            "first": prefix,
            "after": after,
            "last": prefix + _AFTER_ALL,
            "at": at,
            "limit": limit,
        }
        found = self._read(_LIST, given)
        return [KeyValue(key, value, revision) for key, revision, value, _ in found]

    def events(self, after: int, to: int) -> Commit:
        """Return the events after one revision, up to another."""
        return tuple(StoreEvent(*row[:3]) for row in self._read(_EVENTS, (after, to)))

    def _read(self, query: str, given: Any) -> list[Any]:
        """Return whole rows of (key, revision, value, checksum)."""
        try:
            rows = self._db.execute(query, given).fetchall()
        except sqlite3.Error as err:
            raise StoreUnavailableError(f"read from the store: {err}") from err
        for row in rows:
            if not _is_whole(*row):
                raise self._damaged(f"{row[0]} at revision {row[1]}")
        return rows

    def compact(self, revision: int) -> None:
        """Delete all but the newest versions up to a revision; raises StoreUnavailableError."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(_FORGET_OVERWRITTEN, {"at": revision})
            self._db.execute(_FORGET_REMOVED, {"at": revision})
            self._db.execute(_SET_STATE, ("compacted", revision))
            self._db.execute("COMMIT")
        except sqlite3.Error as err:
            self._roll_back()
            raise StoreUnavailableError(f"compact the store: {err}") from err
