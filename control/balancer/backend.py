"""An API server behind the balancer: whether it is ready, and who talks to it."""

import asyncio
import ssl
from collections.abc import Callable

from control.balancer.streams import Stream, reset

API_PORT = 6443
_EVERY = 1.0  # seconds between two questions
_ANSWER = 3.0  # seconds; a machine that has died says nothing
_TIMES = 3  # a server that says so often that it is not ready gets no new connections
_HEAD_BYTES = 1 << 14


class Backend:
    """One API server."""

    def __init__(
        self, machine: str, address: str, changed: Callable[[], None], port: int = API_PORT
    ) -> None:
        self.machine, self.address, self.port = machine, address, port
        self.is_known = False  # it has been asked once
        self.is_ready = False
        self._changed = changed
        self._refused = 0
        self.talks: set[tuple[Stream, Stream]] = set()

    async def follow(self, tls: ssl.SSLContext) -> None:
        """Ask for ever whether the server is ready, on one connection as long as that lasts."""
        while True:
            try:
                await self._ask(tls)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                self.lose()
            await asyncio.sleep(_EVERY)

    async def _ask(self, tls: ssl.SSLContext) -> None:
        async with asyncio.timeout(_ANSWER):
            opened = asyncio.open_connection(self.address, self.port, ssl=tls, limit=_HEAD_BYTES)
            reader, writer = await opened
        try:
            while True:
                async with asyncio.timeout(_ANSWER):
                    self._note(await _answer(self._host, reader, writer))
                await asyncio.sleep(_EVERY)
        finally:
            reset(writer)

    @property
    def _host(self) -> str:
        bare = f"[{self.address}]" if ":" in self.address else self.address
        return f"{bare}:{self.port}"

    def _note(self, is_ready: bool) -> None:
        """A server that is behind its store for a moment keeps its connections."""
        self._refused = 0 if is_ready else self._refused + 1
        self._set(is_ready or (self.is_ready and self._refused < _TIMES))

    def lose(self) -> None:
        """Break the connections to a server that has gone, so that clients come again."""
        self._set(False)
        for talk in tuple(self.talks):
            for _, writer in talk:
                reset(writer)

    def _set(self, is_ready: bool) -> None:
        if self.is_known and self.is_ready == is_ready:
            return
        self.is_known, self.is_ready = True, is_ready
        self._changed()


async def _answer(host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Ask /readyz; raises OSError, IncompleteReadError, ValueError for what is no answer."""
    writer.write(f"GET /readyz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await writer.drain()
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as err:
        raise ValueError("a head without end") from err
    first, *lines = head.decode("latin-1").lower().split("\r\n")
    length = next((line for line in lines if line.startswith("content-length:")), "")
    await reader.readexactly(min(int(length.partition(":")[2]), _HEAD_BYTES))
    return first.split()[1:2] == ["200"]
