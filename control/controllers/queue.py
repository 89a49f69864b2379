"""A queue of keys to look at: each at most once, never two at a time, later if it failed.

As client-go's workqueue: a key that is added while it is worked on comes again afterwards.
"""

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

from control.client.backoff import Backoff

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """For one event loop."""

    def __init__(self, first: float = 0.01, longest: float = 30.0) -> None:
        """A key that fails again and again waits from ``first`` to ``longest`` seconds."""
        self._limits = first, longest
        self._waiting: dict[K, None] = {}  # in order
        self._working: set[K] = set()
        self._again: set[K] = set()  # added while worked on
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._backoffs: dict[K, Backoff] = {}
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Nothing to do now (there may be timers)."""
        return not self._waiting and not self._working

    def add(self, key: K) -> None:
        """Look at this key as soon as possible."""
        if key in self._working:
            self._again.add(key)
        else:
            self._waiting[key] = None
            self._filled.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Look at this key after a time, or earlier if it was wanted earlier."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._ring, key)

    def _ring(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    async def get(self) -> K:
        """The next key; call ``done`` when its work ends."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        key = next(iter(self._waiting))
        del self._waiting[key]
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """The work on this key ended."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def retry(self, key: K) -> None:
        """Look at this key again after its back-off, because it failed once more."""
        backoff = self._backoffs.setdefault(key, Backoff(*self._limits))
        self.add_after(key, backoff.next())

    def forget(self, key: K) -> None:
        """This key succeeded: its next failure waits the shortest time."""
        self._backoffs.pop(key, None)

    def close(self) -> None:
        """Cancel the timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
