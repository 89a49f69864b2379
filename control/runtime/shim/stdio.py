"""A container's standard streams: the container's ends, and those that the shim keeps."""

import os
import socket
from typing import Any

from control.runtime.shim import process, terminal

_PIECE = 64 * 1024


class Input:
    """A container's standard input; input that the container does not take yet waits here.

    ``takes`` is the Pod's ``stdin``; a terminal without it still has a size. ``once`` is
    ``stdinOnce``: when the first attached client ends, the input ends. It has no effect on a
    terminal, as in containerd.
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
        """Add input; input after the end is lost."""
        if self.takes and not self._ending and self.descriptor >= 0:
            self.pending += data
            self.flush()

    def end(self) -> None:
        """End the input, if its client's end is its end, once all of it is taken."""
        self._ending = self._ending or self.ends
        self.flush()

    def flush(self) -> None:
        """Pass on as much as the container has room for."""
        try:
            while self.pending:
                del self.pending[: os.write(self.descriptor, self.pending[:_PIECE])]
        except BlockingIOError:
            return
        except OSError:  # the container has closed its input
            self._ending = True
            self.pending.clear()
        if self._ending:
            self._close()

    def resize(self, width: int, height: int) -> None:
        """Set the size of the terminal, if the input is one."""
        if self._is_terminal and self.descriptor >= 0:
            terminal.resize(self.descriptor, width, height)

    def _close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def start(spec: dict[str, Any]) -> tuple[int, dict[int, str], Input]:
    """Start a container's process; return (ID, name by output descriptor, input).

    Raises StartError.
    """
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
