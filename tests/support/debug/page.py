"""The page of ``podwire web``, served in the tests' own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from debug.trace.model import Trace
from debug.web.app import Shown
from debug.web.commands import listen, start
from debug.web.guard import Guard
from debug.web.live import Source


@dataclass(frozen=True)
class Served:
    """A page that is served, with its lock."""

    port: int
    guard: Guard

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={self.guard.token}"


@asynccontextmanager
async def serving(
    source: Source, seconds: float = 0.2, trace: Trace | None = None, live: str | None = None
) -> AsyncIterator[Served]:
    """Serve a page of ``source`` on a free port."""
    shown = Shown(trace, mesh=source.mesh is not None, live=live)
    with listen(0) as listener:
        runner, guard = await start(listener, source, seconds, shown)
        try:
            yield Served(listener.getsockname()[1], guard)
        finally:
            await runner.cleanup()
