"""A container's streams: the agent's end of what ``control.runtime.shim.attachments`` serves."""

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

from control.runtime.base import RuntimeFailure
from control.runtime.shim import attachments as wire

_PIECE = 32 * 1024
_MOST_PIECES = 4  # of output that wait here for a slow client; then they wait at the shim


async def open_stream(folder: Path, *, stdin: bool) -> "Attachment":
    """Attach to the container of a folder; raises RuntimeFailure."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.setblocking(False)
    try:
        _connect(connection, folder)
        if not await asyncio.get_running_loop().sock_recv(connection, wire.MOST_BYTES):
            raise ConnectionResetError("it has just ended")
    except OSError as err:
        connection.close()
        raise RuntimeFailure(f"container {folder.name[:13]} cannot be attached to: {err}") from err
    except BaseException:
        connection.close()
        raise
    stream = Attachment(connection)
    if stdin:
        await stream.write(b"")
    return stream


def _connect(connection: socket.socket, folder: Path) -> None:
    """Through a descriptor of the folder, for a socket's path has 107 bytes at most."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{descriptor}/attach")
    finally:
        os.close(descriptor)


class Attachment:
    """``control.runtime.base.ExecStream`` of a container itself; closing it leaves that running."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._outputs: dict[int, asyncio.Queue[bytes]] = {
            channel: asyncio.Queue(_MOST_PIECES) for channel in (wire.STDOUT, wire.STDERR)
        }
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while message := await self._receive():
            if output := self._outputs.get(message[0]):
                await output.put(message[1:])
        for output in self._outputs.values():
            await output.put(b"")

    async def _receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        while True:
            # The kernel tells once that input was lost with the container; then comes the rest.
            with suppress(ConnectionResetError):
                return await loop.sock_recv(self._connection, wire.MOST_BYTES)

    async def write(self, data: bytes) -> None:
        """Feed its standard input; none at all says that some will come."""
        for start in range(0, len(data) or 1, _PIECE):
            await self._send(wire.STDIN, data[start : start + _PIECE])

    async def close_input(self) -> None:
        """End its standard input, as far as the Pod lets this end it."""
        await self._send(wire.CLOSE, b"")

    async def _send(self, channel: int, data: bytes) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has ended, as wait() tells
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(self._connection, bytes([channel]) + data)

    async def read_output(self) -> bytes:
        """The next piece of its standard output; empty at its end."""
        return await self._outputs[wire.STDOUT].get()

    async def read_errors(self) -> bytes:
        """The next piece of its standard error; empty at its end."""
        return await self._outputs[wire.STDERR].get()

    def resize(self, width: int, height: int) -> None:
        """Tell its terminal the new size."""
        message = bytes([wire.RESIZE]) + wire.SIZE.pack(width, height)
        with suppress(OSError):  # it has ended; or it reads nothing, and shows no size either
            self._connection.send(message)

    async def wait(self) -> int:
        """0, once it has ended, or lets nobody be attached any more; its code is in the Pod."""
        await asyncio.wait({self._reading})
        return 0

    async def close(self) -> None:
        """Let it go on alone."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._connection.close()
