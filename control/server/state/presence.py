"""Which API servers serve the cluster, by a key that each writes anew.

A server counts as alive while its key has changed within 15 seconds of the clock of whoever looks:
no clocks of two machines are compared, and one that jumps ends nobody. The periods are those of
upstream's lease reconciler (k8s.io/kubernetes/pkg/controlplane/reconcilers/lease.go), where etcd
counts.
"""

import time
from collections.abc import Callable
from contextlib import suppress

from control.store.base import (
    Create,
    Delete,
    KeyExistsError,
    KeyNotFoundError,
    KeyValue,
    RevisionConflictError,
    Store,
    Update,
)

PREFIX = "/podwire.dev/apiservers/"
LIFE = 15.0  # seconds


class Presence:
    """What one server has seen of all servers' keys."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}  # key -> its revision, and since when

    async def renew(self, store: Store, address: str) -> list[str]:
        """Say that the server at an address is alive; return all that are, in order.

        The keys of the others are removed. Raises StoreError.
        """
        await _write(store, PREFIX + address)
        records = (await store.list(PREFIX)).records
        now = self._clock()
        self._seen = {record.key: self._since(record, now) for record in records}
        alive = {key for key, (_, since) in self._seen.items() if now - since < LIFE}
        for record in records:
            if record.key not in alive:
                await _remove(store, record.key, record.revision)
        return sorted(key.removeprefix(PREFIX) for key in alive)

    async def leave(self, store: Store, address: str) -> list[str]:
        """Say that the server at an address ends; return those that stay. Raises StoreError."""
        await _remove(store, PREFIX + address)
        return [r.key.removeprefix(PREFIX) for r in (await store.list(PREFIX)).records]

    def _since(self, record: KeyValue, now: float) -> tuple[int, float]:
        """Return a key's revision, and when it was first seen with that."""
        known = self._seen.get(record.key)
        return (
            known if known is not None and known[0] == record.revision else (record.revision, now)
        )


async def _write(store: Store, key: str) -> None:
    try:
        await store.commit(Update(key, b""))
    except KeyNotFoundError:
        with suppress(KeyExistsError):
            await store.commit(Create(key, b""))


async def _remove(store: Store, key: str, *expected: int) -> None:
    with suppress(KeyNotFoundError, RevisionConflictError):
        await store.commit(Delete(key, *expected))
