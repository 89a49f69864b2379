"""The revisioned store behind the API server, with one protocol and three implementations.

This room imports nothing else of podwire but ``control.rpc``. Start reading with ``base.py`` (the
protocol and its errors); ``memory.py`` is its shortest implementation, ``sqlite/`` the embedded,
durable one, ``etcd/`` the one that several API servers share.
"""

import asyncio
import logging
import math
import time
from datetime import timedelta
from pathlib import Path

from control.store.base import Store, StoreConfigError, StoreUnavailableError, StoreUrlError

__all__ = [
    "Store",
    "StoreConfigError",
    "StoreUrlError",
    "encrypted",
    "file_of",
    "open_store",
    "open_when_ready",
]
logger = logging.getLogger(__name__)
_ETCD_SECONDS, _ETCD_PAUSE = 60.0, 0.2  # how long an etcd is waited for, and between two tries

_EVENT_LIFE = timedelta(hours=1)  # kube-apiserver's --event-ttl
_SYNCHRONOUS = {"": "FULL", "sync=full": "FULL", "sync=normal": "NORMAL"}


async def open_store(url: str, quota: int = 0, event_life: timedelta = _EVENT_LIFE) -> Store:
    """Open the store at ``sqlite:PATH[?sync=full|normal]``, or at ``etcd:URL[,URL...]``.

    ``quota`` is in bytes as etcd's --quota-backend-bytes: 0 is 2 GiB, negative is none. An etcd
    removes Events after ``event_life``.
    Raises StoreUrlError and StoreUnavailableError.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "etcd":
        return await _open_etcd(rest, event_life)
    synchronous = _SYNCHRONOUS[_checked(url)]
    # Here: the protocol alone needs no SQLite.
    from control.store.sqlite.log import QUOTA
    from control.store.sqlite.store import SqliteStore

    path = Path(rest.partition("?")[0])
    return await SqliteStore.open(path, synchronous=synchronous, quota=quota or QUOTA)


def file_of(url: str) -> Path | None:
    """Return the file of a store of SQLite, None for etcd; raises StoreUrlError."""
    if url.startswith("etcd:"):
        return None
    _checked(url)
    return Path(url.partition(":")[2].partition("?")[0])


def _checked(url: str) -> str:
    """Return the option of a URL for SQLite; raises StoreUrlError."""
    scheme, _, rest = url.partition(":")
    path, _, options = rest.partition("?")
    if scheme != "sqlite" or not path or options not in _SYNCHRONOUS:
        raise StoreUrlError(
            f"store {url!r}: expected sqlite:PATH, sqlite:PATH?sync=full|normal, or "
            "etcd:https://HOST:PORT,...?cacert=FILE&cert=FILE&key=FILE"
        )
    return options


async def open_when_ready(url: str, quota: int = 0, event_life: timedelta = _EVENT_LIFE) -> Store:
    """Open a store as ``open_store`` does, but wait a minute for an etcd that starts, as upstream.

    Raises StoreUrlError and StoreUnavailableError.
    """
    deadline = time.monotonic() + (_ETCD_SECONDS if url.startswith("etcd:") else 0)
    while True:
        try:
            return await open_store(url, quota, event_life)
        except StoreUnavailableError as err:
            if time.monotonic() > deadline:
                raise
            logger.info("waiting for the store: %s", err)
            await asyncio.sleep(_ETCD_PAUSE)


def encrypted(store: Store, config: Path) -> Store:
    """Return a store that encrypts what upstream's EncryptionConfiguration names.

    Raises StoreConfigError.
    """
    from control.store.encryption.config import load  # YAML, which a server needs for nothing else
    from control.store.encryption.store import EncryptedStore

    return EncryptedStore(store, load(config))


async def _open_etcd(rest: str, event_life: timedelta) -> Store:
    from control.store.etcd.connection import members  # gRPC takes 5 MB and 50 ms
    from control.store.etcd.store import EtcdStore

    return await EtcdStore.open(members(rest), math.ceil(event_life.total_seconds()))
