"""How long a container that keeps ending waits for its next start. Pure.

As kubelet: at once, then 10 s, 20 s, 40 s ... 5 minutes after it ended; ten quiet minutes forget.
"""

from dataclasses import dataclass

FIRST, MOST = 10.0, 300.0
FORGET = 2 * MOST


@dataclass(frozen=True, slots=True)
class Streak:
    """``count`` restarts in a row, the last of them at ``since``."""

    count: int = 0
    since: float = 0.0

    def restarted(self, now: float) -> "Streak":
        """One more restart."""
        count = 1 if now - self.since > FORGET else self.count + 1
        return Streak(count, now)

    def delay(self) -> float:
        """What the next restart has to wait, in seconds."""
        return min(MOST, FIRST * 2 ** min(self.count - 1, 10)) if self.count else 0.0

    def not_before(self, ended: float) -> float:
        """When a container that ended then may start again."""
        return ended if ended - self.since > FORGET else ended + self.delay()


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that did not work, ``count`` times in a row; it is tried again at ``until``."""

    reason: str
    message: str
    count: int
    until: float


def failed(
    before: Failure | None, reason: str, message: str, now: float, most: float = 20.0
) -> Failure:
    """One more failure: 1 s, 2 s, 4 s ... ``most`` until the next try.

    Shorter than kubelet's five minutes: nothing is pulled from afar, and what fails (an image that
    is not imported yet, a ConfigMap that does not exist yet) costs next to nothing to try.
    """
    count = before.count + 1 if before else 1
    return Failure(reason, message, count, now + min(most, 2.0 ** min(count - 1, 10)))
