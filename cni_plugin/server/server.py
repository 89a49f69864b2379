"""The warm server: what the plugin does, without the price of starting it.

It answers on a unix socket that root alone can open; each request has a thread, because all the
waiting is for the kernel. It serves clients of its own network namespace only: the others do
their work themselves.
"""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import signal
import socket
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from cni_plugin.linux.host import Host
from cni_plugin.linux.namespace import is_namespace, is_own
from cni_plugin.server.crew import Crew
from cni_plugin.server.protocol import Call, InvalidFrameError, answered, received, taken
from cni_plugin.server.removal_queue import RemovalQueue
from cni_plugin.spec.errors import TryAgainLaterError
from cni_plugin.spec.request import Request
from cni_plugin.spec.versions import Verb
from cni_plugin.verbs.answer import PluginAnswer, needs_other_programs, perform, understand

logger = logging.getLogger(__name__)
_WORKERS = 64
_GARBAGE = 50_000  # objects, before a collection looks for cycles among them
_BACKLOG = 512
# struct timeval: for a client to say what it wants, and to take its answer. Python's own timeout
# would ask poll(2) before each call.
_PATIENCE = struct.pack("@ll", 10, 0)
_ROOT = Path("/")
_RECORDED = ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME")
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class SocketInUseError(Exception):
    """Another server answers on the socket."""


class _Stop(BaseException):
    """SIGTERM or SIGINT came."""


def serve(path: Path, boot_id: str) -> None:
    """Answer on the socket ``path`` until SIGTERM or SIGINT; then finish what is under way.

    Raises SocketInUseError, and OSError when there can be no socket.
    """
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        gc.freeze()  # no collection has to look at what is imported
        # what a request makes goes with it; by default there is a collection for each few of them
        gc.set_threshold(_GARBAGE)
        with Server(path, boot_id):
            while True:
                signal.pause()
    except _Stop:
        logger.info("ended")


class Server:
    """Listens on ``path``; leaving it takes the socket away and waits for its requests."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id
        self._remove = RemovalQueue()
        self._listener = listen(path)
        self._identity = path.stat().st_ino
        self._mounts = Path("/proc/self/ns/mnt").stat().st_ino
        self._crew = Crew(self._listener, self._handle, _WORKERS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._identity:
                self._path.unlink()
        self._crew.close()
        self._remove.close()

    def _handle(self, connection: socket.socket) -> None:
        with connection:
            try:
                for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                    connection.setsockopt(socket.SOL_SOCKET, option, _PATIENCE)
                if _allowed(connection):
                    self._talk(connection)
            except (InvalidFrameError, OSError) as err:
                logger.info("client left or spoke nonsense: %s", err)
            except Exception:  # one request's bug is not the others' end
                logger.exception("request failed")

    def _talk(self, connection: socket.socket) -> None:
        with received(connection) as call:
            if not _is_neighbour(call):
                return
            request = understand(call.environment, call.stdin)
            if isinstance(request, Request) and needs_other_programs(request):
                return
            connection.sendall(taken(_last_will(request)))
            host = Host(self._root(call), call.netns, self._boot_id, self._remove)
            done = request if isinstance(request, PluginAnswer) else perform(request, host)
            _record(call, done)
            connection.sendall(answered(done.code, done.stdout))

    def _root(self, call: Call) -> Path:
        """The client's root directory: all state is in its files; ours may be others."""
        if os.fstat(call.mount_namespace).st_ino == self._mounts:
            return _ROOT
        return Path(f"/proc/self/fd/{call.root}")


def listen(path: Path) -> socket.socket:
    """A listening socket for root alone, in the place of one that nobody answers on."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
            raise SocketInUseError(f"{path}: another server answers here")
        except OSError as err:
            if err.errno not in {errno.ENOENT, errno.ECONNREFUSED}:
                raise
    listener = socket.socket(socket.AF_UNIX)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    mask = os.umask(0o177)
    try:
        listener.bind(str(fresh))
    finally:
        os.umask(mask)
    listener.listen(_BACKLOG)
    fresh.rename(path)  # from here on clients find a socket that listens
    return listener


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _Stop


def _allowed(connection: socket.socket) -> bool:
    """Whether the peer is root, or who we are: the socket's mode says so too."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, uid, _ = _PEER.unpack(raw)
    if uid in {0, os.geteuid()}:
        return True
    logger.warning("refused a client with uid %d", uid)
    return False


def _is_neighbour(call: Call) -> bool:
    """Whether the client lives in our network namespace: its host is our host."""
    return is_namespace(call.own_netns) and is_own(call.own_netns)


def _record(call: Call, done: PluginAnswer) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    asked = (call.environment.get(name, "") for name in _RECORDED)
    outcome = done.stdout.decode().strip() if done.code else "ok"
    logger.info("%s: %s", " ".join(asked), outcome)


def _last_will(request: Request | PluginAnswer) -> bytes:
    """What the client prints should we die; DEL and its like are simply done again."""
    if isinstance(request, PluginAnswer) or request.verb is not Verb.ADD:
        return b""
    return _last_words(request.version)


@cache
def _last_words(version: str) -> bytes:
    error = TryAgainLaterError(
        "the CNI server ended while it handled this ADD", "call DEL, then ADD again"
    )
    return json.dumps(error.document(version)).encode() + b"\n"
