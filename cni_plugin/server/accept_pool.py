"""Threads that accept connections from one listening socket; each handles what it accepts.

A connection never passes from one thread to another. That would wake two threads for it, and both
would need the interpreter's lock.
"""

import logging
import socket
import time
from collections.abc import Callable
from threading import Lock, Thread, current_thread

logger = logging.getLogger(__name__)
_SPARE = 2  # waiting threads that do not end
_PAUSE = 0.1  # seconds, after a failed accept


class AcceptPool:
    """Handles each connection in one thread, at most ``most`` at the same time."""

    def __init__(
        self, listener: socket.socket, handle: Callable[[socket.socket], None], most: int
    ) -> None:
        self._listener, self._handle, self._most = listener, handle, most
        self._lock = Lock()
        self._threads: set[Thread] = set()
        self._waiting = 0
        self._closed = False
        with self._lock:
            self._start_thread()

    def close(self) -> None:
        """Accept no more connections, and wait until the accepted ones are handled."""
        self._closed = True
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the threads; close alone does not
        self._listener.close()
        while threads := self._running():
            threads[0].join()

    def _running(self) -> list[Thread]:
        with self._lock:
            return list(self._threads)

    def _start_thread(self) -> None:
        thread = Thread(target=self._work, name="request")
        self._threads.add(thread)
        self._waiting += 1
        thread.start()

    def _work(self) -> None:
        while (connection := self._accept()) is not None:
            with self._lock:
                self._waiting -= 1
                if not self._waiting and len(self._threads) < self._most:
                    self._start_thread()
            self._handle(connection)
            with self._lock:
                if self._waiting >= _SPARE:
                    break
                self._waiting += 1
        with self._lock:
            self._threads.discard(current_thread())

    def _accept(self) -> socket.socket | None:
        """The next connection; None when the pool is closed."""
        while not self._closed:
            try:
                return self._listener.accept()[0]
            except OSError as err:
                if not self._closed:  # for example too many open files
                    logger.warning("a connection could not be accepted: %s", err)
                    time.sleep(_PAUSE)
        return None
