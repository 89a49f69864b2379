"""The agent's end of an attachment, which ``control.runtime.shim.attachments`` serves."""

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

from control.runtime.base import ContainerRuntimeError
from control.runtime.shim import attachments as wire

_PIECE = 32 * 1024
_MOST_PIECES = 4  # pieces of output that wait here for a slow client; more wait at the shim


async def open_stream(folder: Path, *, stdin: bool) -> "AttachStream":
    """Attach to the container in a folder; raises ContainerRuntimeError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.setblocking(False)
    try:
        _connect(connection, folder)
        if not await asyncio.get_running_loop().sock_recv(connection, wire.MOST_BYTES):
            raise ConnectionResetError("the container has just ended")
    except OSError as err:
        connection.close()
        raise ContainerRuntimeError(
            f"container {folder.name[:13]} cannot be attached to: {err}"
        ) from err
    except BaseException:
        connection.close()
        raise
    stream = AttachStream(connection)
    if stdin:
        await stream.write(b"")
    return stream


def _connect(connection: socket.socket, folder: Path) -> None:
    """Connect through a descriptor of the folder: a socket's path has 107 bytes at most."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{descriptor}/attach")
    finally:
        os.close(descriptor)


class AttachStream:
    """An ExecStream (control.runtime.base) of a container, which outlives the stream's end."""

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
            # The kernel reports input that was lost with the container, once, before the rest.
            with suppress(ConnectionResetError):
                return await loop.sock_recv(self._connection, wire.MOST_BYTES)

    async def write(self, data: bytes) -> None:
        """Write to the container's standard input; empty data announces later input."""
        for start in range(0, len(data) or 1, _PIECE):
            await self._send(wire.STDIN, data[start : start + _PIECE])

    async def close_input(self) -> None:
        """End the container's standard input, if the Pod's stdinOnce allows it."""
        await self._send(wire.CLOSE, b"")

    async def _send(self, channel: int, data: bytes) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the container has ended: see wait()
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(self._connection, bytes([channel]) + data)

    async def read_output(self) -> bytes:
        """Return the next piece of standard output; empty at its end."""
        return await self._outputs[wire.STDOUT].get()

    async def read_errors(self) -> bytes:
        """Return the next piece of standard error; empty at its end."""
        return await self._outputs[wire.STDERR].get()

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size."""
        message = bytes([wire.RESIZE]) + wire.SIZE.pack(width, height)
        with suppress(OSError):  # the container has ended, or does not read its input
            self._connection.send(message)

    async def wait(self) -> int:
        """Wait for the end of the attachment; return 0, as the exit code is in the Pod's status."""
        await asyncio.wait({self._reading})
        return 0

    async def close(self) -> None:
        """Detach; the container keeps running."""
        self._reading.cancel()
        try:
            await asyncio.gather(self._reading, return_exceptions=True)
        finally:  # also when this is cancelled
            self._connection.close()
