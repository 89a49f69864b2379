"""The revisioned store behind the API server, with one protocol and three implementations.

This room imports nothing else of podwire but ``control.rpc``. Start reading with ``base.py`` (the
protocol and its errors); ``memory.py`` is its shortest implementation, ``sqlite/`` the embedded,
durable one, ``etcd/`` the one that several API servers share.
"""

from pathlib import Path

from control.store.base import Store, StoreConfigError, StoreUrlError

__all__ = ["Store", "StoreConfigError", "StoreUrlError", "encrypted", "open_store"]

_SYNCHRONOUS = {"": "FULL", "sync=full": "FULL", "sync=normal": "NORMAL"}


async def open_store(url: str, quota: int = 0) -> Store:
    """Open the store at ``sqlite:PATH[?sync=full|normal]``, or at ``etcd:URL[,URL...]``.

    ``quota`` is in bytes as etcd's --quota-backend-bytes: 0 is 2 GiB, negative is none.
    Raises StoreUrlError and StoreUnavailableError.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "etcd":
        return await _open_etcd(rest)
    # Here: the protocol alone needs no SQLite.
    from control.store.sqlite.log import QUOTA
    from control.store.sqlite.store import SqliteStore

    path, _, options = rest.partition("?")
    if scheme != "sqlite" or not path or options not in _SYNCHRONOUS:
        raise StoreUrlError(
            f"store {url!r}: expected sqlite:PATH, sqlite:PATH?sync=full|normal, or "
            "etcd:https://HOST:PORT,...?cacert=FILE&cert=FILE&key=FILE"
        )
    synchronous = _SYNCHRONOUS[options]
    return await SqliteStore.open(Path(path), synchronous=synchronous, quota=quota or QUOTA)


def encrypted(store: Store, config: Path) -> Store:
    """Return a store that encrypts what upstream's EncryptionConfiguration names.

    Raises StoreConfigError.
    """
    from control.store.encryption.config import load  # YAML, which a server needs for nothing else
    from control.store.encryption.store import EncryptedStore

    return EncryptedStore(store, load(config))


async def _open_etcd(rest: str) -> Store:
    from control.store.etcd.connection import members  # gRPC takes 5 MB and 50 ms
    from control.store.etcd.store import EtcdStore

    return await EtcdStore.open(members(rest))
