"""A process with pipes; waiting for it ends with the process, even if its pipes stay open.

From Python 3.11 on, asyncio's ``Process.wait`` also waits until the pipes are closed. A background
process that the command left behind may hold them open for ever.
"""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

_BUFFER = 64 * 1024


class _Protocol(asyncio.subprocess.SubprocessStreamProtocol):
    def __init__(self) -> None:
        super().__init__(limit=_BUFFER, loop=asyncio.get_running_loop())
        self.ended = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.ended.set()


class Command:
    """A running process, and our ends of its pipes."""

    def __init__(self, transport: asyncio.SubprocessTransport, protocol: _Protocol) -> None:
        self._transport, self._protocol = transport, protocol
        self.pid = transport.get_pid()
        self.stdin, self.stdout, self.stderr = protocol.stdin, protocol.stdout, protocol.stderr

    @property
    def returncode(self) -> int | None:
        """The exit code; None while the process runs."""
        return self._transport.get_returncode()

    async def wait(self) -> int:
        """Wait for the process's end, and return its exit code; negative is a signal."""
        await self._protocol.ended.wait()
        return self._transport.get_returncode() or 0

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                self._transport.send_signal(number)

    def close(self) -> None:
        """Close our ends of its pipes; it is killed if it still runs."""
        self._transport.close()


async def start(words: Sequence[str], **how: Any) -> Command:
    """Start a command; ``how`` is as for ``asyncio.create_subprocess_exec``. Raises OSError."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(_Protocol, *words, **how)
    return Command(transport, protocol)
