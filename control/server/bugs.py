"""What must not fill the log when it is sent for ever: requests that meet a bug, or are no HTTP."""

import logging
import time
from collections.abc import Callable
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError

_EVERY = 60.0  # seconds
# Distinct bugs that are remembered. Each is a place in podwire's code, so there are few.
_MOST = 256


class RepeatedBugs:
    """Says when a bug is to be logged: the first time, and then once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str, int], tuple[float, int]] = {}

    def count(self, bug: BaseException) -> str | None:
        """Return what to add to the log's line; None if the bug is not to be logged now."""
        place, now = _place(bug), self._clock()
        last, silent = self._seen.get(place, (now - _EVERY, 0))
        if now - last < _EVERY:
            self._seen[place] = (last, silent + 1)
            return None
        if len(self._seen) >= _MOST:
            self._seen.clear()
        self._seen[place] = (now, 0)
        return f" (and {silent} times since the last report)" if silent else ""


class ConnectionLog(logging.LoggerAdapter[logging.Logger]):
    """The log of a server's connections, for aiohttp.

    Bytes that are no HTTP are their client's fault, and need no credentials: only ``debug`` has
    them. aiohttp logs a traceback of each.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger)
        self._bugs = RepeatedBugs()

    def exception(self, msg: object, *args: object, exc_info: Any = True, **_: Any) -> None:
        """Log an error that a connection met."""
        if isinstance(exc_info, HttpProcessingError):
            self.debug(f"{msg}: %.200s", *args, exc_info.message)
        elif not isinstance(exc_info, BaseException):
            super().exception(msg, *args)
        elif (times := self._bugs.count(exc_info)) is not None:
            super().exception(f"{msg}{times}", *args, exc_info=exc_info)


def _place(bug: BaseException) -> tuple[str, str, int]:
    """Return the type of a bug and the line that raised it."""
    at = bug.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = (at.tb_frame.f_code.co_filename, at.tb_lineno) if at is not None else ("", 0)
    return (type(bug).__name__, *where)
