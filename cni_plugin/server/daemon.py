"""The warm server's process.

It listens on a unix socket that only root can open. Each request has a thread, because requests
mostly wait for the kernel. It serves clients of its own network namespace only; other clients do
their work themselves.
"""

import errno
import gc
import json
import logging
import os
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from cni_plugin.linux.host import Host
from cni_plugin.linux.namespace import is_namespace, is_own
from cni_plugin.server.accept_pool import AcceptPool
from cni_plugin.server.protocol import (
    ClientFrame,
    InvalidFrameError,
    answer_message,
    received_frame,
    taken_message,
)
from cni_plugin.server.removal_queue import RemovalQueue
from cni_plugin.spec.errors import TryAgainLaterError
from cni_plugin.spec.request import Request
from cni_plugin.spec.section import prepare
from cni_plugin.spec.versions import Verb
from cni_plugin.verbs.answer import PluginAnswer, needs_other_programs, perform, understand

logger = logging.getLogger(__name__)
_ENDS = (signal.SIGTERM, signal.SIGINT)
_WORKERS = 64
_GARBAGE = 50_000  # new objects before a garbage collection
_BACKLOG = 512
# struct timeval: the time for a client to send its frame, and to take its answer. Python's own
# timeout would call poll(2) before each system call.
_PATIENCE = struct.pack("@ll", 10, 0)
_ROOT = Path("/")
_LOGGED = ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME")
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class SocketInUseError(Exception):
    """Another server answers on the socket."""


class Lifetime(Protocol):
    """The time that a server may go on; callable from any thread."""

    def admits(self) -> bool:
        """Return true if a request may be served."""

    def remaining(self) -> float:
        """Return the seconds until the server ends if nothing happens."""


class Unlimited:
    """The lifetime of a server that somebody has started: until a signal."""

    def admits(self) -> bool:
        """Return true."""
        return True

    def remaining(self) -> float:
        """Return a day; then the server asks again."""
        return 86400


_FOREVER = Unlimited()


def serve(path: Path, boot_id: str, lifetime: Lifetime = _FOREVER) -> None:
    """Serve on the socket ``path`` until SIGTERM or SIGINT, or for as long as ``lifetime`` lasts.

    Then finish the running requests. Raises SocketInUseError, OSError.
    """
    # Before there are other threads: the kernel may deliver a signal to any of them, and a thread
    # that pauses would not wake up for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    prepare()
    gc.freeze()  # exclude the imported modules from garbage collections
    # a request leaves no cycles; by default every few requests would start a collection
    gc.set_threshold(_GARBAGE)
    with Server(path, boot_id, lifetime.admits):
        while (left := lifetime.remaining()) and signal.sigtimedwait(_ENDS, left) is None:
            pass
    logger.info("ended")


class Server:
    """Serves on the socket ``path``. Its exit removes the socket and waits for running requests."""

    def __init__(self, path: Path, boot_id: str, admits: Callable[[], bool]) -> None:
        self._path = path
        self._boot_id = boot_id
        self._admits = admits
        self._remove = RemovalQueue()
        self._listener = listen(path)
        self._identity = path.stat().st_ino
        self._mounts = Path("/proc/self/ns/mnt").stat().st_ino
        self._pool = AcceptPool(self._listener, self._handle, _WORKERS)

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
        self._pool.close()
        self._remove.close()

    def _handle(self, connection: socket.socket) -> None:
        with connection:
            try:
                for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                    connection.setsockopt(socket.SOL_SOCKET, option, _PATIENCE)
                if _allowed(connection):
                    self._serve(connection)
            except (InvalidFrameError, OSError) as err:
                logger.info("a client is gone, or sent no frame: %s", err)
            except Exception:  # a bug in one request must not end the others
                logger.exception("request failed")

    def _serve(self, connection: socket.socket) -> None:
        if self._admits():
            self._talk(connection)
        else:
            os.kill(os.getpid(), signal.SIGTERM)  # wake up the thread that waits for the end

    def _talk(self, connection: socket.socket) -> None:
        with received_frame(connection) as frame:
            if not _is_local(frame):
                return
            request = understand(frame.environment, frame.stdin)
            if isinstance(request, Request) and needs_other_programs(request):
                return
            connection.sendall(taken_message(_fallback(request)))
            host = Host(self._root(frame), frame.netns, self._boot_id, self._remove)
            answer = request if isinstance(request, PluginAnswer) else perform(request, host)
            _log(frame, answer)
            connection.sendall(answer_message(answer.code, answer.stdout))

    def _root(self, frame: ClientFrame) -> Path:
        """The client's root directory: another one in another mount namespace, or in a chroot."""
        is_ours = os.fstat(frame.mount_namespace).st_ino == self._mounts
        if is_ours and os.path.samestat(os.fstat(frame.root), _ROOT.stat()):
            return _ROOT
        return Path(f"/proc/self/fd/{frame.root}")


def listen(path: Path) -> socket.socket:
    """A listening socket for root only. It replaces a socket without a server.

    Raises SocketInUseError, OSError.
    """
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
    fresh.rename(path)  # so that clients never find a socket that does not listen
    return listener


def _allowed(connection: socket.socket) -> bool:
    """Return true if the peer is root or the server's user, as the socket's mode requires."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, uid, _ = _PEER.unpack(raw)
    if uid in {0, os.geteuid()}:
        return True
    logger.warning("refused a client with uid %d", uid)
    return False


def _is_local(frame: ClientFrame) -> bool:
    """Return true if the client is in the server's network namespace."""
    return is_namespace(frame.own_netns) and is_own(frame.own_netns)


def _log(frame: ClientFrame, answer: PluginAnswer) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    variables = (frame.environment.get(name, "") for name in _LOGGED)
    outcome = answer.stdout.decode().strip() if answer.code else "ok"
    logger.info("%s: %s", " ".join(variables), outcome)


def _fallback(request: Request | PluginAnswer) -> bytes:
    """The document that the client prints if the server dies; empty if it may repeat the work."""
    if isinstance(request, PluginAnswer) or request.verb is not Verb.ADD:
        return b""
    return _server_died(request.version)


@cache
def _server_died(version: str) -> bytes:
    error = TryAgainLaterError(
        "the CNI server ended while it handled this ADD", "call DEL, then ADD again"
    )
    return json.dumps(error.document(version)).encode() + b"\n"
