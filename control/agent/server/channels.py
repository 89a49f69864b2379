"""The channels of exec and attach, whatever carries them. Pure.

Over a WebSocket each message is a byte that names the channel, and data; v5.channel.k8s.io adds a
channel on which the client closes others (KEP-3396). Over SPDY each channel is a stream
(k8s.io/apimachinery/pkg/util/remotecommand).
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import orjson
from aiohttp import web
from multidict import MultiMapping

from control.agent.server.errors import HttpError

V5, V4, V3, V2, V1 = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
)
V4_BASE64, V1_BASE64 = "v4.base64.channel.k8s.io", "base64.channel.k8s.io"

Status = Mapping[str, Any]


class Channel(IntEnum):
    """The channel of a message."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4
    CLOSE = 255


@dataclass(frozen=True, slots=True)
class Piece:
    """What a client sends on a channel; None closes it."""

    channel: Channel
    data: bytes | None


class StreamClient(Protocol):
    """The client of one session."""

    @property
    def response(self) -> web.StreamResponse:
        """The answer that the request's handler must return."""

    async def open(self, wanted: "Wanted", seconds: float, /) -> bool:
        """Prepare the channels, and tell the client; False if it did not do its part in time."""

    async def send(self, channel: Channel, data: bytes) -> None:
        """Send output; wait for a slow client. Raises ClientConnectionResetError."""

    def pieces(self) -> AsyncIterator[Piece]:
        """Yield what the client sends, until it has disconnected."""

    async def end(self, status: Status) -> None:
        """Send the final Status, unless the client is gone, and disconnect."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The streams that a client wants; a terminal has no separate standard error."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    terminal: bool = False

    @property
    def channels(self) -> frozenset[Channel]:
        """The channels of the session; a terminal has one for its size."""
        named = (
            (Channel.STDIN, self.stdin),
            (Channel.STDOUT, self.stdout),
            (Channel.STDERR, self.stderr),
            (Channel.ERROR, True),
            (Channel.RESIZE, self.terminal),
        )
        return frozenset(channel for channel, is_wanted in named if is_wanted)

    @property
    def first(self) -> Channel:
        """The channel on which an empty message tells the client that it is connected."""
        if self.stdout:
            return Channel.STDOUT
        return Channel.STDERR if self.stderr else Channel.ERROR


def parse_wanted(query: MultiMapping[str]) -> Wanted:
    """Parse the streams from kubelet's query parameters; raises HttpError (400)."""
    terminal = query.get("tty") == "1"
    stdin, stdout, stderr = (query.get(name) == "1" for name in ("input", "output", "error"))
    if not (stdin or stdout or stderr):
        raise HttpError(400, "you must specify at least 1 of stdin, stdout, stderr")
    return Wanted(stdin, stdout, stderr and not terminal, terminal)


def parse_size(data: bytes) -> tuple[int, int] | None:
    """Parse the (width, height) of a terminal; None if it is invalid."""
    try:
        size = orjson.loads(data)
        width, height = size["Width"], size["Height"]
    except (ValueError, KeyError, TypeError):
        return None
    fits = all(isinstance(length, int) and 0 <= length < 65536 for length in (width, height))
    return (width, height) if fits else None


def exit_status(code: int) -> Status:
    """Return the Status of a command's exit code."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure_status(message: str) -> Status:
    """Return the Status of a session that could not start."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


def encode_status(protocol: str, status: Status) -> bytes:
    """Return the last message of a session: JSON since v4, before that a text, if it failed."""
    if protocol in (V5, V4, V4_BASE64):
        return orjson.dumps(status)
    return str(status.get("message", "")).encode()
