"""The log of events in one SQLite file. Synchronous.

One row is one event. The file is in WAL mode (https://www.sqlite.org/wal.html): a commit appends to
the write-ahead log, and a reader sees the last commit without waiting. After a kill -9 at any time
SQLite recovers the last whole commit.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from control.store.base import (
    Commit,
    KeyValue,
    StoreError,
    StoreEvent,
    StoreUnavailableError,
    Write,
    check,
    events_of,
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    key      TEXT    NOT NULL,
    revision INTEGER NOT NULL,
    value    BLOB,              -- NULL: the key was removed
    PRIMARY KEY (key, revision)
);
CREATE INDEX IF NOT EXISTS log_by_revision ON log (revision);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, number INTEGER NOT NULL);
"""
_CURRENT = "SELECT revision, value IS NULL FROM log WHERE key = ? ORDER BY revision DESC LIMIT 1"
_GET = "SELECT value, revision FROM log WHERE key = ? ORDER BY revision DESC LIMIT 1"
_INSERT = "INSERT INTO log (key, revision, value) VALUES (?, ?, ?)"
_LIST = """
SELECT key, value, revision FROM log AS this
WHERE key >= :first AND key > :after AND key < :last AND value IS NOT NULL
  AND revision = (SELECT max(revision) FROM log WHERE key = this.key AND revision <= :at)
ORDER BY key LIMIT :limit
"""
_EVENTS = """
SELECT key, revision, value FROM log WHERE revision > ? AND revision <= ? ORDER BY revision, rowid
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

Outcome = Commit | StoreError


class Log:
    """One connection to the file; only one thread may use it at a time."""

    def __init__(self, path: Path, *, synchronous: str = "FULL") -> None:
        """Open or create the file; raises StoreUnavailableError."""
        try:
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(f"PRAGMA synchronous = {synchronous}")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as err:
            raise StoreUnavailableError(f"open store {path}: {err}") from err

    def close(self) -> None:
        self._db.close()

    def bounds(self) -> tuple[int, int]:
        """Return (the last revision, the compacted revision)."""
        (last,) = self._db.execute("SELECT max(revision) FROM log").fetchone()
        row = self._db.execute("SELECT number FROM state WHERE name = 'compacted'").fetchone()
        compacted = row[0] if row else 0
        return max(last or 0, compacted), compacted

    def write(self, last: int, group: Iterable[Sequence[Write]]) -> list[Outcome]:
        """Write the commits of a group whose conditions hold, in one transaction.

        ``last`` is the previous revision. Raises StoreUnavailableError if nothing was written.
        """
        outcomes: list[Outcome] = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for changes in group:
                outcome = self._write_one(last + 1, changes)
                outcomes.append(outcome)
                last += isinstance(outcome, tuple)
            self._db.execute("COMMIT")
        except sqlite3.Error as err:
            self._roll_back()
            raise StoreUnavailableError(f"write to the store: {err}") from err
        return outcomes

    def _write_one(self, revision: int, changes: Sequence[Write]) -> Outcome:
        try:
            for change in changes:
                check(change, self._current(change.key))
        except StoreError as err:
            return err
        commit = events_of(changes, revision)
        self._db.executemany(_INSERT, [(event.key, revision, event.value) for event in commit])
        return commit

    def _current(self, key: str) -> int | None:
        row = self._db.execute(_CURRENT, (key,)).fetchone()
        return None if row is None or row[1] else row[0]

    def _roll_back(self) -> None:
        # After some errors, such as a full disk, SQLite has already rolled back.
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def get(self, key: str) -> KeyValue | None:
        """Return the present value of a key; None if it is absent."""
        row = self._read(_GET, (key,))
        if not row or row[0][0] is None:
            return None
        return KeyValue(key, *row[0])

    def page(self, prefix: str, after: str, at: int, limit: int) -> list[KeyValue]:
        """Return keys in order as of a revision; a limit of -1 means none."""
        given = {
            "first": prefix,
            "after": after,
            "last": prefix + _AFTER_ALL,
            "at": at,
            "limit": limit,
        }
        return [KeyValue(*row) for row in self._read(_LIST, given)]

    def events(self, after: int, to: int) -> Commit:
        """Return the events after one revision, up to another."""
        return tuple(StoreEvent(*row) for row in self._read(_EVENTS, (after, to)))

    def _read(self, query: str, given: Any) -> list[Any]:
        try:
            return self._db.execute(query, given).fetchall()
        except sqlite3.Error as err:
            raise StoreUnavailableError(f"read from the store: {err}") from err

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
