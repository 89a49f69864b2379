"""One answer for all who ask at the same time. Pure asyncio."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedCall(Generic[T]):
    """A question that is under way once at most: who asks meanwhile shares the next answer.

    The one under way is not for them: it may have been answered before what they know of happened.
    """

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self._call = call
        self._present: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def ask(self) -> T:
        """Return an answer to a question that is asked later than this; raises what it raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._present))
        return await asyncio.shield(self._next)  # who goes away leaves it to the others

    async def _after(self, present: asyncio.Task[T] | None) -> T:
        if present is not None:
            await asyncio.wait([present])
        self._present, self._next = self._next, None
        return await self._call()
