"""Commands in containers over a WebSocket: v5.channel.k8s.io, and v4 for older clients.

Each binary message starts with the number of its channel (KEP-4006): standard input, output and
error, the final Status, and terminal sizes; in v5 channel 255 closes another one.
"""

import asyncio
from contextlib import suppress
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from control.agent.runtime import ExecStream

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


async def relay(socket: web.WebSocketResponse, stream: ExecStream) -> None:
    """Carry bytes both ways until the command has ended, then say how."""
    inward = asyncio.create_task(_inward(socket, stream))
    try:
        await asyncio.gather(
            _outward(socket, STDOUT, stream.read_output),
            _outward(socket, STDERR, stream.read_errors),
        )
        await finish(socket, exit_status(await stream.wait()))
    finally:
        inward.cancel()
        await asyncio.gather(inward, return_exceptions=True)
        await stream.close()


async def finish(socket: web.WebSocketResponse, status: dict[str, Any]) -> None:
    """Send the Status and close; a client that has gone does not matter."""
    with suppress(ConnectionError):
        await socket.send_bytes(bytes([ERROR]) + orjson.dumps(status))
        await socket.close()


async def _inward(socket: web.WebSocketResponse, stream: ExecStream) -> None:
    async for message in socket:
        if message.type is not WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == STDIN:
            await stream.write(data)
        elif channel == RESIZE:
            _resize(stream, data)
        elif channel == CLOSE and data[:1] == bytes([STDIN]):
            await stream.close_input()
    await stream.close()  # the client left: kubectl was interrupted


async def _outward(socket: web.WebSocketResponse, channel: int, read: Any) -> None:
    with suppress(ConnectionError):
        while data := await read():
            await socket.send_bytes(bytes([channel]) + data)


def _resize(stream: ExecStream, data: bytes) -> None:
    with suppress(orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        size = orjson.loads(data)
        stream.resize(int(size["Width"]), int(size["Height"]))


def exit_status(code: int) -> dict[str, Any]:
    """The Status for an exit code, as kubelet words it."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure(message: str) -> dict[str, Any]:
    """The Status of what could not even start."""
    return {"metadata": {}, "status": "Failure", "reason": "InternalError", "message": message,
            "code": 500}  # fmt: skip
