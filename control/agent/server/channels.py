"""The channels of exec and attach over one WebSocket: v4 and v5.channel.k8s.io. Pure.

Each message is a byte that names the channel, and data. v5 adds a channel on which the client
closes others (KEP-3396 and KEP-4006; k8s.io/apimachinery/pkg/util/remotecommand).
"""

from dataclasses import dataclass
from enum import IntEnum

import orjson
from multidict import MultiMapping

from control.agent.server.errors import HttpError

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")


class Channel(IntEnum):
    """The channel of a message."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4
    CLOSE = 255


@dataclass(frozen=True, slots=True)
class Wanted:
    """The streams that a client wants; a terminal has no separate standard error."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    terminal: bool = False

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


def exit_status(code: int) -> bytes:
    """Return the last message of a session: the Status with the command's exit code."""
    if code == 0:
        return orjson.dumps({"metadata": {}, "status": "Success"})
    return orjson.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: exit status {code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    )


def failure_status(message: str) -> bytes:
    """Return the last message of a session that could not start."""
    return orjson.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"Internal error occurred: {message}",
            "reason": "InternalError",
            "details": {"causes": [{"message": message}]},
            "code": 500,
        }
    )
