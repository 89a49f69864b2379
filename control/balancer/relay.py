"""Gives each connection to the ready API server that has the fewest."""

import asyncio
import socket
from collections.abc import Sequence

from control.balancer.backend import Backend
from control.balancer.streams import PIECE, Stream, relay, reset

_DIAL_SECONDS = 3.0
_PAUSE = 0.1  # seconds until the next try, if no server takes a connection


class Relay:
    """The way from clients to the API servers."""

    def __init__(self) -> None:
        self.backends: Sequence[Backend] = ()
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Look again which servers are ready."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changes(self) -> None:
        """Wait until a server has become ready, or is not ready any more."""
        await self._changed.wait()

    async def serve(self, listening: socket.socket) -> None:
        """Answer connections for ever."""
        server = await asyncio.start_server(self._talk, sock=listening, limit=PIECE)
        async with server:
            await server.serve_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = reader, writer
        try:
            backend, there = await self._dialed()
        except BaseException:
            reset(writer)
            raise
        talk = here, there
        backend.talks.add(talk)
        try:
            await relay(here, there)
        finally:
            backend.talks.discard(talk)

    async def _dialed(self) -> tuple[Backend, Stream]:
        """Return a connection to a server; without a ready one, wait as a client of one would."""
        while True:
            backend = await self._ready()
            try:
                async with asyncio.timeout(_DIAL_SECONDS):
                    return backend, await asyncio.open_connection(
                        backend.address, backend.port, limit=PIECE
                    )
            except OSError:  # among them TimeoutError: its health will say the same
                await asyncio.sleep(_PAUSE)

    async def _ready(self) -> Backend:
        while True:
            if ready := [backend for backend in self.backends if backend.is_ready]:
                return min(ready, key=lambda backend: len(backend.talks))
            await self._changed.wait()
