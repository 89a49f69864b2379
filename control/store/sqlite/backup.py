"""Copies the file of a store while a server uses it, and writes it anew while none does.

Synchronous.

Source: https://www.sqlite.org/backup.html, https://www.sqlite.org/lang_vacuum.html.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from control.store.base import StoreUnavailableError

MAGIC = b"SQLite format 3\0"
_PAGES = 1000  # at a time; a server writes meanwhile


def backup(path: Path, target: Path, tell: Callable[[int, int], None]) -> None:
    """Copy a store as it is at one moment; ``tell`` hears the pages done and their number.

    Raises StoreUnavailableError.
    """
    if not path.is_file():
        raise StoreUnavailableError(f"store {path}: there is no such file")
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.execute("BEGIN")  # else each commit of the server would begin the copy again
            old.execute("SELECT 1 FROM log LIMIT 1")
            old.backup(new, pages=_PAGES, progress=lambda _, left, all_: tell(all_ - left, all_))
            new.execute("PRAGMA journal_mode = DELETE")  # so that the copy is one file
    except sqlite3.Error as err:
        raise StoreUnavailableError(f"copy store {path}: {err}") from err


def vacuum(path: Path) -> None:
    """Write a store anew without its free pages; the caller holds its lock.

    A kill leaves the file as it was. Raises StoreUnavailableError.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as err:
        raise StoreUnavailableError(f"defragment store {path}: {err}") from err
