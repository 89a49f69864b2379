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
        self.problem = "the agent has just started"

    def wake(self) -> None:
        """Ask soon: the network's configuration has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            self._wake.clear()  # before the question: a change during it is asked about again
            problem = await self._ask()
            if problem != self.problem:
                self.problem = problem
                self._changed(problem)
            with suppress(TimeoutError):
                pause = _RETRY_SECONDS if problem else _PERIOD
                await asyncio.wait_for(self._wake.wait(), pause)
