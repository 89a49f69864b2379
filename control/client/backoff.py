"""Exponential back-off with jitter: how long to wait after one more failure."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Doubles from ``first`` to ``longest`` seconds, each spread over 50 to 100 % of itself.

    Jitter keeps the parts of a cluster from coming back to a restarted API server at once.
    """

    first: float = 0.1
    longest: float = 5.0
    random: Callable[[], float] = random.random
    _failures: int = field(default=0, init=False)

    def next(self) -> float:
        """The seconds to wait now."""
        whole = min(self.longest, self.first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return whole * (0.5 + self.random() / 2)

    def reset(self) -> None:
        """Things work again: the next failure waits ``first``."""
        self._failures = 0
