"""A value that is read again and again while somebody looks, and tells them what changed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Renewed(Generic[T]):
    """The latest value. It is renewed every ``seconds`` as long as there are watchers.

    ``look`` reads it in a thread, and may block; it is given the latest one, None at first.
    ``content`` is what has to differ for the watchers to be told.
    """

    def __init__(
        self, look: Callable[[T | None], T], seconds: float, content: Callable[[T], Any]
    ) -> None:
        self._look, self._seconds, self._content = look, seconds, content
        self._value: T | None = None
        self._news = asyncio.Condition()
        self._watchers = 0
        self._reading: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def latest(self) -> T:
        """Return the latest value; the first one is read when it is asked for."""
        async with self._one_at_a_time:
            if self._value is None:
                await self._renew()
        assert self._value is not None  # noqa: S101  # _renew sets it
        return self._value

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[AsyncIterator[T]]:
        """Give the values from now on, each that differs from the one before."""
        self._watchers += 1
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        try:
            yield self._values()
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._reading.cancel()
                self._reading = None

    async def _values(self) -> AsyncIterator[T]:
        shown = await self.latest()
        while True:
            yield shown
            async with self._news:
                await self._news.wait_for(lambda: self._value is not shown)  # noqa: B023
            shown = await self.latest()

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            async with self._one_at_a_time:
                await self._renew()

    async def _renew(self) -> None:
        """Read once. What did not change is not told."""
        new = await asyncio.to_thread(self._look, self._value)
        if self._value is None or self._content(new) != self._content(self._value):
            async with self._news:
                self._value = new
                self._news.notify_all()
