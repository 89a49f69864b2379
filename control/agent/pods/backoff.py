"""The restart back-off of containers that keep ending. Pure.

As kubelet: the first restart is at once, the next ones are 10 s, 20 s, 40 s ... 5 minutes after the
end. After ten minutes without a restart the count starts again.
"""

from dataclasses import dataclass

FIRST, MOST = 10.0, 300.0
FORGET = 2 * MOST


@dataclass(frozen=True, slots=True)
class Streak:
    """``count`` restarts in a row; the last one was at ``since``."""

    count: int = 0
    since: float = 0.0

    def restarted(self, now: float) -> "Streak":
        """Count one more restart."""
        count = 1 if now - self.since > FORGET else self.count + 1
        return Streak(count, now)

    def delay(self) -> float:
        """Seconds that the next restart has to wait."""
        return min(MOST, FIRST * 2 ** min(self.count - 1, 10)) if self.count else 0.0

    def not_before(self, ended: float) -> float:
        """The time at which a container that ended at ``ended`` may start again."""
        return ended if ended - self.since > FORGET else ended + self.delay()


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that failed ``count`` times in a row; the next try is at ``until``."""

    reason: str
    message: str
    count: int
    until: float


def failed(
    before: Failure | None, reason: str, message: str, now: float, most: float = 20.0
) -> Failure:
    """Count one more failure: the next try is 1 s, 2 s, 4 s ... ``most`` seconds later.

    What fails, such as a ConfigMap that is not there yet, is cheap to try again. A pull is not: it
    has a back-off of its own, in ``control.agent.images``.
    """
    count = before.count + 1 if before else 1
    return Failure(reason, message, count, now + min(most, 2.0 ** min(count - 1, 10)))
