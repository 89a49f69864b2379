"""Threads that wait for the same listening socket; who gets a connection handles it.

So no connection goes from a thread to another, which would wake two of them for it and have them
quarrel about the interpreter's lock.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from threading import Lock, Thread, current_thread

logger = logging.getLogger(__name__)
_SPARE = 2  # threads that stay when there is nothing to do
_RESPITE = 0.1  # seconds, after a connection that could not be taken


class Crew:
    """Handles connections, each in one thread, at most ``most`` at once."""

    def __init__(
        self, listener: socket.socket, handle: Callable[[socket.socket], None], most: int
    ) -> None:
        self._listener, self._handle, self._most = listener, handle, most
        self._lock = Lock()
        self._threads: set[Thread] = set()
        self._waiting = 0
        self._ended = False
        with self._lock:
            self._hire()

    def close(self) -> None:
        """Take no connection any more, and wait for those that are taken."""
        self._ended = True
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes them; closing alone does not
        self._listener.close()
        while threads := self._present():
            threads[0].join()

    def _present(self) -> list[Thread]:
        with self._lock:
            return list(self._threads)

    def _hire(self) -> None:
        thread = Thread(target=self._work, name="request")
        self._threads.add(thread)
        self._waiting += 1
        thread.start()

    def _work(self) -> None:
        while (connection := self._accept()) is not None:
            with self._lock:
                self._waiting -= 1
                if not self._waiting and len(self._threads) < self._most:
                    self._hire()
            self._handle(connection)
            with self._lock:
                if self._waiting >= _SPARE:
                    break
                self._waiting += 1
        with self._lock:
            self._threads.discard(current_thread())

    def _accept(self) -> socket.socket | None:
        """The next connection; None at the end."""
        while not self._ended:
            try:
                return self._listener.accept()[0]
            except OSError as err:
                if not self._ended:  # too many open files, for one
                    logger.warning("a connection could not be taken: %s", err)
                    time.sleep(_RESPITE)
        return None
