"""Asks the CNI plugins for their STATUS: after every change, and periodically."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

_PERIOD, _RETRY_SECONDS = 30.0, 5.0


class NetworkStatus:
    """What keeps this node's Pods from a network; ``problem`` is empty if nothing does.

    ``ask`` returns the plugins' problem, ``changed`` is called when that is another one.
    """

    def __init__(self, ask: Callable[[], Awaitable[str]], changed: Callable[[str], None]) -> None:
        self._ask, self._changed = ask, changed
        self._wake = asyncio.Event()
        self._asking = asyncio.Lock()
        self.problem = "the agent has just started"

    def wake(self) -> None:
        """Ask soon: the network's configuration has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            self._wake.clear()  # before the question: a change during it is asked about again
            async with self._asking:
                await self._update()
            with suppress(TimeoutError):
                pause = _RETRY_SECONDS if self.problem else _PERIOD
                await asyncio.wait_for(self._wake.wait(), pause)

    async def now(self) -> str:
        """Return the problem for a Pod that is about to begin: a known one is asked about again."""
        async with self._asking:
            if self.problem:
                await self._update()
            return self.problem

    async def _update(self) -> None:
        problem = await self._ask()
        if problem != self.problem:
            self.problem = problem
            self._changed(problem)
