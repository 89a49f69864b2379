"""When a pull that has failed may be tried again. Pure.

As kubelet: after 10 s, then after twice as long each time, 5 minutes at most; after ten minutes
without a failure the count starts again. Source: client-go, util/flowcontrol/backoff.go
"""

from dataclasses import dataclass

FIRST, MOST = 10.0, 300.0


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    delay: float
    at: float


class PullBackoff:
    """The failed pulls, by Pod and image."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], _Failure] = {}

    def waiting(self, key: tuple[str, str], now: float) -> str | None:
        """Return why the last pull failed, if it is too early for the next one."""
        last = self._failures.get(key)
        return last.message if last is not None and now - last.at < last.delay else None

    def failed(self, key: tuple[str, str], message: str, now: float) -> None:
        """Note one more failure."""
        self.forget(now)
        last = self._failures.get(key)
        delay = min(MOST, 2 * last.delay) if last else FIRST
        self._failures[key] = _Failure(message, delay, now)

    def forget(self, now: float) -> None:
        """Drop failures that are long past."""
        past = [key for key, last in self._failures.items() if now - last.at > 2 * MOST]
        for key in past:
            del self._failures[key]
