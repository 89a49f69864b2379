"""Copies what two connections say, from each to the other."""

import asyncio
import os
import socket
import struct
from contextlib import suppress

_DIAL_SECONDS = 10.0
PIECE = 65536  # bytes
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connected(made: socket.socket) -> Stream:
    """Wait until a socket is connected; raises OSError."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_DIAL_SECONDS):
            ready = loop.create_future()
            loop.add_writer(made, lambda: None if ready.done() else ready.set_result(None))
            try:
                await ready
            finally:
                loop.remove_writer(made)
        if code := made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))
        return await asyncio.open_connection(sock=made, limit=PIECE)
    except BaseException:
        made.close()
        raise


async def relay(here: Stream, there: Stream) -> None:
    """Copy both ways until both have ended; a break of one breaks the other."""
    copies = [
        asyncio.create_task(_copy(here[0], there[1])),
        asyncio.create_task(_copy(there[0], here[1])),
    ]
    try:
        await asyncio.gather(*copies)
    except OSError:
        for _, writer in (here, there):
            reset(writer)
    finally:
        for task in copies:
            task.cancel()
        for _, writer in (here, there):
            writer.close()
        for _, writer in (here, there):
            with suppress(OSError):  # it was broken
                await writer.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset a connection: an end without a reset would look like an empty answer."""
    if writer.transport.is_closing():  # TLS has no socket then
        return
    opened = writer.get_extra_info("socket")
    with suppress(OSError):  # it is closed
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    with suppress(OSError):  # the other side has gone already
        writer.write_eof()
