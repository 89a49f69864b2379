"""A container's standard streams: what it is started with, and the ends that the shim keeps."""

import os
import socket
from typing import Any

from control.runtime.shim import process, terminal

_PIECE = 64 * 1024


class Input:
    """What a container reads. It takes what it can at once; the rest waits here.

    ``takes`` is the Pod's ``stdin``; a terminal without it still has a size. ``once`` is
    ``stdinOnce``: the end of whoever is attached first is the end of the input. A terminal cannot
    be ended so; as with containerd its ``once`` has no effect.
    """

    def __init__(self, descriptor: int, *, takes: bool, once: bool, is_terminal: bool) -> None:
        self.descriptor = descriptor
        self.pending = bytearray()
        self.ends = takes and once and not is_terminal
        self.takes, self._is_terminal = takes, is_terminal
        self._ending = False
        if descriptor >= 0:
            os.set_blocking(descriptor, False)

    def put(self, data: bytes) -> None:
        """Give it more; what comes after its end is lost."""
        if self.takes and not self._ending and self.descriptor >= 0:
            self.pending += data
            self.flush()

    def end(self) -> None:
        """Close it once all is taken, if it ends with whoever gave it."""
        self._ending = self._ending or self.ends
        self.flush()

    def flush(self) -> None:
        """Pass on what the container has room for."""
        try:
            while self.pending:
                del self.pending[: os.write(self.descriptor, self.pending[:_PIECE])]
        except BlockingIOError:
            return
        except OSError:  # the container has closed it, and reads no more
            self._ending = True
            self.pending.clear()
        if self._ending:
            self._close()

    def resize(self, width: int, height: int) -> None:
        """Tell the terminal, if it is one, its size."""
        if self._is_terminal and self.descriptor >= 0:
            terminal.resize(self.descriptor, width, height)

    def _close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def start(spec: dict[str, Any]) -> tuple[int, dict[int, str], Input]:
    """Start a container's process: (its ID, its outputs by name, its input); raises StartError."""
    return _start_on_terminal(spec) if spec["terminal"] else _start_on_pipes(spec)


def _start_on_terminal(spec: dict[str, Any]) -> tuple[int, dict[int, str], Input]:
    ours, theirs = socket.socketpair()
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    with ours:
        with theirs:
            pid = process.start(spec, (nothing, nothing, nothing), theirs)
        master = terminal.take_over(ours)
    os.close(nothing)
    gives = Input(os.dup(master), takes=spec["stdin"], once=spec["stdin_once"], is_terminal=True)
    return pid, {master: "stdout"}, gives


def _start_on_pipes(spec: dict[str, Any]) -> tuple[int, dict[int, str], Input]:
    (out, out_end), (err, err_end) = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    if spec["stdin"]:
        in_end, gives = os.pipe2(os.O_CLOEXEC)
    else:
        in_end, gives = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), -1
    pid = process.start(spec, (in_end, out_end, err_end))
    for descriptor in (in_end, out_end, err_end):
        os.close(descriptor)
    once = spec["stdin_once"]
    source = Input(gives, takes=spec["stdin"], once=once, is_terminal=False)
    return pid, {out: "stdout", err: "stderr"}, source
