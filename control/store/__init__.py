"""The revisioned store behind the API server, with one protocol and two implementations.

This room imports nothing else of podwire. Start reading with ``base.py`` (the protocol and its
errors); ``memory.py`` is its shortest implementation, ``sqlite/`` the embedded, durable one.
"""

from pathlib import Path

from control.store.base import Store

_SYNCHRONOUS = {"": "FULL", "sync=full": "FULL", "sync=normal": "NORMAL"}


class StoreUrlError(ValueError):
    """A ``--store`` value that names no store; the message says what is allowed."""


async def open_store(url: str, quota: int = 0) -> Store:
    """Open the store at ``sqlite:PATH[?sync=full|normal]``.

    ``quota`` is in bytes as etcd's --quota-backend-bytes: 0 is 2 GiB, negative is none.
    Raises StoreUrlError and StoreUnavailableError.
    """
    # Here: the protocol alone needs no SQLite.
    from control.store.sqlite.log import QUOTA
    from control.store.sqlite.store import SqliteStore

    scheme, _, rest = url.partition(":")
    path, _, options = rest.partition("?")
    if scheme != "sqlite" or not path or options not in _SYNCHRONOUS:
        raise StoreUrlError(f"store {url!r}: expected sqlite:PATH or sqlite:PATH?sync=full|normal")
    synchronous = _SYNCHRONOUS[options]
    return await SqliteStore.open(Path(path), synchronous=synchronous, quota=quota or QUOTA)
