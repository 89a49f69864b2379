"""The queue of keys to reconcile, as client-go's workqueue.

A key is queued at most once, and worked on once at a time. A key that is added meanwhile is queued
again afterwards; a key that failed is queued after a back-off.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from control.client.backoff import Backoff

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """A queue of keys for one event loop."""

    def __init__(self, first: float = 0.01, longest: float = 30.0) -> None:
        """``first`` and ``longest`` limit the back-off of a failing key, in seconds."""
        self._limits = first, longest
        self._waiting: dict[K, float] = {}  # since when, in order
        self._working: dict[K, float] = {}  # since when
        self._again: dict[K, float] = {}  # added while worked on, and when
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._backoffs: dict[K, Backoff] = {}
        self._filled = asyncio.Event()
        self.added = self.retried = 0  # how often, since the start
        self.waited: Callable[[float], None] = _unheard  # seconds that a key was queued

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """True if no key is queued or worked on; timers may be pending."""
        return not self._waiting and not self._working

    def worked(self) -> Iterable[float]:
        """Return the seconds for which each key is worked on by now."""
        now = time.monotonic()
        return [now - since for since in self._working.values()]

    def add(self, key: K) -> None:
        """Queue a key."""
        self.added += 1
        self._put(key, time.monotonic())

    def _put(self, key: K, now: float) -> None:
        if key in self._working:
            self._again.setdefault(key, now)
        else:
            self._waiting.setdefault(key, now)
            self._filled.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Queue a key after a time, or at an earlier time that was set before."""
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
        """Return the next key; the caller calls ``done`` when its work ends."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        key, since = next(iter(self._waiting.items()))
        del self._waiting[key]
        self._working[key] = now = time.monotonic()
        self.waited(now - since)
        return key

    def done(self, key: K) -> None:
        """Note the end of the work on a key."""
        self._working.pop(key, None)
        since = self._again.pop(key, None)
        if since is not None:
            self._put(key, since)

    def retry(self, key: K) -> None:
        """Queue a failed key after its back-off, which grows."""
        self.retried += 1
        backoff = self._backoffs.setdefault(key, Backoff(*self._limits))
        self.add_after(key, backoff.next())

    def forget(self, key: K) -> None:
        """Reset the back-off of a key that succeeded."""
        self._backoffs.pop(key, None)

    def close(self) -> None:
        """Cancel the timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


def _unheard(_: float) -> None:
    """Take what nobody measures."""
