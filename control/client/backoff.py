"""Exponential back-off with jitter."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """The pauses between retries: they double from ``first`` to ``longest`` seconds.

    Jitter makes each pause 50 to 100 % of its length, so that the components of a cluster do not
    all return to a restarted API server at once.
    """

    first: float = 0.1
    longest: float = 5.0
    random: Callable[[], float] = random.random
    _failures: int = field(default=0, init=False)

    def next(self) -> float:
        """Return the seconds to wait after one more failure."""
        whole = min(self.longest, self.first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return whole * (0.5 + self.random() / 2)

    def reset(self) -> None:
        """Forget all failures: the next one waits ``first`` seconds."""
        self._failures = 0
