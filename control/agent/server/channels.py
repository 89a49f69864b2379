"""The channels of exec and attach over one WebSocket: v4 and v5.channel.k8s.io. Pure.

Each message is a byte that names the channel, and data. v5 adds a channel on which the client
closes others (KEP-3396 and KEP-4006; k8s.io/apimachinery/pkg/util/remotecommand).
"""

from dataclasses import dataclass
from enum import IntEnum

import orjson
from multidict import MultiMapping

from control.agent.server.refusal import Refusal

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")


class Channel(IntEnum):
    """What a message belongs to."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4
    CLOSE = 255


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams a client wants; on a terminal there is no separate standard error."""

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
    """The streams of kubelet's query parameters; raises Refusal (400)."""
    terminal = query.get("tty") == "1"
    stdin, stdout, stderr = (query.get(name) == "1" for name in ("input", "output", "error"))
    if not (stdin or stdout or stderr):
        raise Refusal(400, "you must specify at least 1 of stdin, stdout, stderr")
    return Wanted(stdin, stdout, stderr and not terminal, terminal)


def parse_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a terminal; None for what is none."""
    try:
        size = orjson.loads(data)
        width, height = size["Width"], size["Height"]
    except (ValueError, KeyError, TypeError):
        return None
    fits = all(isinstance(it, int) and 0 <= it < 65536 for it in (width, height))
    return (width, height) if fits else None


def exit_status(code: int) -> bytes:
    """How a command ended, as the Status that is the last message of a session."""
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
    """A session that could not be, as its last message."""
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
