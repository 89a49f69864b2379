"""Decides which daemons to create and to delete. Pure.

As upstream's daemon controller and its update.go: with maxSurge 0 an old daemon is deleted before
the new one is created; with a surge the old one is deleted once the new one is available.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from control.api.pod import Pod
from control.api.workload import DaemonSet, RollingUpdate
from control.controllers.deployment.limits import scaled
from control.controllers.pods import available_in


@dataclass(frozen=True, slots=True)
class NodeDaemons:
    """A node and the daemons for it."""

    node: str
    wanted: bool  # the node should have a daemon
    tolerated: bool  # a running daemon may stay
    new: tuple[Pod, ...]  # of the present template
    old: tuple[Pod, ...]

    @property
    def daemons(self) -> tuple[Pod, ...]:
        """All daemons of the node."""
        return (*self.new, *self.old)


@dataclass(frozen=True, slots=True)
class Pace:
    """The numbers of nodes that may have no available daemon, or two, during an update."""

    unavailable: int
    surge: int
    automatic: bool = True  # False (OnDelete): the user deletes old daemons
    min_ready_seconds: int = 0


@dataclass(slots=True)
class DaemonChanges:
    """Nodes that get a daemon, and daemons to delete; ``failed`` are those that had ended."""

    create: list[str] = field(default_factory=list)
    delete: list[Pod] = field(default_factory=list)
    failed: list[Pod] = field(default_factory=list)


def pace(daemon_set: DaemonSet, wanted: int) -> Pace:
    """Return the pace of a DaemonSet that should run on ``wanted`` nodes."""
    strategy = daemon_set.spec.update_strategy
    rolling = strategy.rolling_update or RollingUpdate()
    surge = scaled(rolling.max_surge or 0, wanted, up=True)
    missing = 1 if rolling.max_unavailable is None else rolling.max_unavailable
    unavailable = scaled(missing, wanted, up=True)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    wait = daemon_set.spec.min_ready_seconds or 0
    return Pace(unavailable, surge, strategy.type != "OnDelete", wait)


def manage(entries: Iterable[NodeDaemons]) -> DaemonChanges:
    """Give each wanted node one daemon, of any template, and other nodes none."""
    changes = DaemonChanges()
    for entry in entries:
        if entry.wanted and not entry.daemons:
            changes.create.append(entry.node)
        elif not entry.tolerated:
            changes.delete += _alive(entry.daemons)
        else:
            _tidy(entry, changes)
    return changes


def _tidy(entry: NodeDaemons, changes: DaemonChanges) -> None:
    """Delete ended daemons; of several of one template keep the oldest."""
    ended = [pod for pod in _alive(entry.daemons) if pod.status.phase in ("Failed", "Succeeded")]
    changes.delete += ended
    changes.failed += ended
    for group in (entry.new, entry.old):
        running = [pod for pod in _alive(group) if pod not in ended]
        running.sort(
            key=lambda pod: (not pod.spec.node_name, pod.metadata.creation_timestamp or "")
        )
        changes.delete += running[1:]


def _alive(pods: Iterable[Pod]) -> list[Pod]:
    return [pod for pod in pods if pod.metadata.deletion_timestamp is None]


def update(entries: Sequence[NodeDaemons], pace: Pace, now: float) -> DaemonChanges:
    """Return the next step from old daemons to new ones."""
    wanted = [entry for entry in entries if entry.wanted]
    if pace.surge:
        return _with_surge(wanted, pace, now)
    return _without_surge(wanted, pace, now)


def _without_surge(entries: Sequence[NodeDaemons], pace: Pace, now: float) -> DaemonChanges:
    unavailable = 0
    idle: list[Pod] = []
    candidates: list[Pod] = []
    for entry in entries:
        serving = any(_is_available(pod, pace, now) for pod in entry.daemons)
        unavailable += not serving
        old = _alive(entry.old)
        if old and not entry.new:
            (candidates if serving else idle).extend(old)
    # Unavailable daemons are deleted at once; of the others, as many as may be unavailable.
    budget = max(0, pace.unavailable - unavailable)
    return DaemonChanges(delete=[*idle, *candidates[:budget]])


def _with_surge(entries: Sequence[NodeDaemons], pace: Pace, now: float) -> DaemonChanges:
    changes, doubled = DaemonChanges(), 0
    candidates: list[str] = []
    for entry in entries:
        old = _alive(entry.old)
        if old and entry.new:
            if any(_is_available(pod, pace, now) for pod in entry.new):
                changes.delete += old
            else:
                doubled += 1
        elif old:
            serving = any(_is_available(pod, pace, now) for pod in old)
            (candidates if serving else changes.create).append(entry.node)
    changes.create += candidates[: max(0, pace.surge - doubled)]
    return changes


def _is_available(pod: Pod, pace: Pace, now: float) -> bool:
    alive = pod.metadata.deletion_timestamp is None
    return alive and available_in(pod, pace.min_ready_seconds, now) == 0
