"""The revisioned store behind the API server, with one protocol and two implementations.

This room imports nothing else of podwire. Start reading with ``base.py`` (the protocol and its
errors); ``memory.py`` is its shortest implementation, ``sqlite/`` the embedded, durable one.
"""

from pathlib import Path

from control.store.base import Store

_SYNCHRONOUS = {"": "FULL", "sync=full": "FULL", "sync=normal": "NORMAL"}


class StoreUrlError(ValueError):
    """A ``--store`` value that names no store; the message says what is allowed."""


async def open_store(url: str) -> Store:
    """Open the store at ``sqlite:PATH[?sync=full|normal]``.

    Raises StoreUrlError and StoreUnavailableError.
    """
    from control.store.sqlite.store import SqliteStore  # here: the protocol alone needs no SQLite

    scheme, _, rest = url.partition(":")
    path, _, options = rest.partition("?")
    if scheme != "sqlite" or not path or options not in _SYNCHRONOUS:
        raise StoreUrlError(f"store {url!r}: expected sqlite:PATH or sqlite:PATH?sync=full|normal")
    return await SqliteStore.open(Path(path), synchronous=_SYNCHRONOUS[options])
