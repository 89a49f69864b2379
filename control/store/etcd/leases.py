"""Leases for keys that etcd shall remove by itself: those of Events, after an hour.

One lease serves many keys, as in k8s.io/apiserver/pkg/storage/etcd3/lease_manager.go: it lasts a
minute longer than a key must, and is given to keys of that minute, to 1000 at the most.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

EXPIRING = b"/registry/core/events/"
LIFE = 3600  # seconds; kube-apiserver's --event-ttl
_WINDOW = 60.0  # seconds in which keys get the same lease
_MOST_KEYS = 1000


class Leases:
    """Gives leases; ``grant`` asks etcd for one of some seconds, and returns its ID."""

    def __init__(
        self,
        grant: Callable[[int], Awaitable[int]],
        life: int = LIFE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grant, self._life, self._clock = grant, life, clock
        self._window = min(_WINDOW, life / 20)
        self._granting = asyncio.Lock()
        self.forget()

    def forget(self) -> None:
        """Give the present lease to no further key: etcd has it no more."""
        self._id, self._keys, self._until = 0, 0, -math.inf

    async def give(self, keys: int) -> int:
        """Return a lease for some keys; 0, which is none, for no key. Raises StoreError."""
        if not keys:
            return 0
        async with self._granting:
            if self._clock() > self._until or self._keys + keys > _MOST_KEYS:
                began = self._clock()
                self._id = await self._grant(self._life + round(self._window))
                self._keys, self._until = 0, began + self._window
            self._keys += keys
            return self._id
