"""Which store a ``--store`` flag means."""

from pathlib import Path

from control.store.base import Store
from control.store.sqlite.store import SqliteStore

_SYNCHRONOUS = {"": "FULL", "sync=full": "FULL", "sync=normal": "NORMAL"}


class StoreUrlError(ValueError):
    """A ``--store`` that cannot be understood; the message says what can."""


async def open_store(url: str) -> Store:
    """Open the store at ``sqlite:PATH[?sync=full|normal]``.

    Raises StoreUrlError and StoreUnavailableError.
    """
    scheme, _, rest = url.partition(":")
    path, _, options = rest.partition("?")
    if scheme != "sqlite" or not path or options not in _SYNCHRONOUS:
        raise StoreUrlError(f"store {url!r}: expected sqlite:PATH or sqlite:PATH?sync=full|normal")
    return await SqliteStore.open(Path(path), synchronous=_SYNCHRONOUS[options])
