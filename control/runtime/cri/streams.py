"""Streams of a command or container, from the runtime's own streaming server, by SPDY.

A runtime answers Exec and Attach with a URL. Its server speaks the protocol that kubectl speaks to
the API server: a stream each for input, both outputs, the terminal's size, and the final Status.
WebSocket would do too, but before its protocol v5 (not in containerd 1.6) cannot end the input.
Source: k8s.io/kubelet/pkg/cri/streaming/remotecommand; k8s.io/client-go/tools/remotecommand
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import aiohttp
import orjson

from control.runtime.base import ContainerRuntimeError
from control.spdy import Data, Decoder, Encoder, Event, Opened, Ping, Reset, SpdyError
from control.upgrade import SPDY, VERSIONS, of_response

_PROTOCOL = "v4.channel.k8s.io"
_ERROR, _STDIN, _STDOUT, _STDERR, _RESIZE = "error", "stdin", "stdout", "stderr", "resize"
_PIECE = 32 * 1024
_MOST_PIECES = 4  # pieces of output that wait here for a slow client; more wait at the runtime
_MOST_STATUS = 64 * 1024  # bytes
_SECONDS = 30.0
_PREFIX = "Internal error occurred: "  # which the agent's own server adds


async def connect(url: str, *, stdin: bool, stderr: bool, terminal: bool) -> "RemoteStream":
    """Open the streams that a runtime offers at a URL; raises ContainerRuntimeError."""
    names = [_ERROR, *([_STDIN] if stdin else []), _STDOUT, *([_STDERR] if stderr else [])]
    session = aiohttp.ClientSession()
    try:
        stream = RemoteStream(session, await _upgrade(session, url))
        await stream.begin([*names, *([_RESIZE] if terminal else [])])
    except (aiohttp.ClientError, OSError, TimeoutError) as err:
        await session.close()
        raise ContainerRuntimeError(
            f"the runtime's streaming server at {url}: {err or type(err).__name__}; its address is "
            "stream_server_address in containerd's configuration"
        ) from err
    except BaseException:
        await session.close()
        raise
    return stream


async def _upgrade(session: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
    headers = {"Connection": "Upgrade", "Upgrade": SPDY, VERSIONS: _PROTOCOL}
    async with asyncio.timeout(_SECONDS):
        response = await session.post(url, headers=headers, allow_redirects=False)
        if response.status != 101:
            text = (await response.content.read(_MOST_STATUS)).decode(errors="replace").strip()
            raise aiohttp.ClientError(f"{response.status} {text}")
    return response


class RemoteStream:
    """An ExecStream (control.runtime.base) at the runtime's streaming server."""

    def __init__(self, session: aiohttp.ClientSession, response: aiohttp.ClientResponse) -> None:
        # The response is kept: aiohttp closes the connection of one that nobody has any more.
        self._session, self._response = session, response
        self._wire = of_response(response)
        self._encoder, self._decoder = Encoder(), Decoder()
        self._numbers: dict[str, int] = {}
        self._outputs: dict[str, asyncio.Queue[bytes]] = {
            name: asyncio.Queue(_MOST_PIECES) for name in (_STDOUT, _STDERR)
        }
        self._status, self._ended = bytearray(), asyncio.Event()
        self._resizes: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None

    async def begin(self, names: Iterable[str]) -> None:
        """Open the streams of these names; raises ClientConnectionResetError."""
        for number, name in enumerate(names):
            self._numbers[name] = 2 * number + 1  # a client's streams have odd numbers
            await self._wire.write(self._encoder.opened(2 * number + 1, {"streamtype": name}))
        if _STDERR not in self._numbers:
            self._outputs[_STDERR].put_nowait(b"")
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            with suppress(SpdyError):  # as if the connection had ended
                async for data in self._wire.pieces():
                    for event in self._decoder.feed(data):
                        await self._take(event)
        finally:
            self._ended.set()
        for output in self._outputs.values():
            await output.put(b"")

    async def _take(self, event: Event) -> None:
        match event:
            case Data():
                await self._data(event)
            case Reset():
                await self._data(Data(event.stream, b"", final=True))
            case Ping():
                await self._write(self._encoder.pong(event.number))
            case Opened():
                await self._write(self._encoder.reset(event.stream))  # a server opens none

    async def _data(self, event: Data) -> None:
        name = next((it for it, number in self._numbers.items() if number == event.stream), "")
        if name == _ERROR:
            room = _MOST_STATUS - len(self._status)
            self._status += event.data[:room]
            if event.final:
                self._ended.set()
        elif output := self._outputs.get(name):
            if event.data:
                await output.put(event.data)
            if event.final:
                await output.put(b"")

    async def _write(self, data: bytes) -> None:
        with suppress(aiohttp.ClientConnectionResetError):  # it has ended: see wait()
            await self._wire.write(data)

    async def _send(self, name: str, data: bytes, *, final: bool = False) -> None:
        if number := self._numbers.get(name):
            await self._write(self._encoder.data(number, data, final))

    async def write(self, data: bytes) -> None:
        """Write to the standard input; input that nobody reads any more is lost."""
        for start in range(0, len(data), _PIECE):
            await self._send(_STDIN, data[start : start + _PIECE])

    async def close_input(self) -> None:
        """Close the standard input."""
        await self._send(_STDIN, b"", final=True)

    async def read_output(self) -> bytes:
        """Return the next piece of standard output; empty at its end."""
        return await self._outputs[_STDOUT].get()

    async def read_errors(self) -> bytes:
        """Return the next piece of standard error; empty at its end."""
        return await self._outputs[_STDERR].get()

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size."""
        data = orjson.dumps({"Width": width, "Height": height}) + b"\n"
        task = asyncio.create_task(self._send(_RESIZE, data))
        self._resizes.add(task)
        task.add_done_callback(self._resizes.discard)

    async def wait(self) -> int:
        """Wait for the end; return the exit code. Raises ContainerRuntimeError.

        An attachment ends with 0: the container's exit code is in the Pod's status.
        """
        await self._ended.wait()
        return exit_code(bytes(self._status))

    async def close(self) -> None:
        """Close the streams; CRI has no call to end a command that takes no notice of it."""
        try:
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.gather(self._reading, return_exceptions=True)
        finally:  # also when this is cancelled
            self._response.close()
            await self._session.close()


def exit_code(status: bytes) -> int:
    """Return the exit code in a final Status; raises ContainerRuntimeError if it is a failure."""
    try:
        found = orjson.loads(status)
        if found["status"] == "Success":
            return 0
        if found.get("reason") != "NonZeroExitCode":
            raise ContainerRuntimeError(str(found.get("message", "")).removeprefix(_PREFIX))
        causes = found["details"]["causes"]
        return int(next(it["message"] for it in causes if it["reason"] == "ExitCode"))
    except (ValueError, KeyError, TypeError, StopIteration) as err:
        raise ContainerRuntimeError(
            "the runtime's streaming server ended without an exit code"
        ) from err
