"""Which daemons to make and to delete. Pure: nodes with their daemons in, decisions out.

As upstream's daemon controller and its update.go: with maxSurge 0 an old daemon goes before the
new one comes; with a surge the new one comes first, and the old goes once it is available.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from control.api.pod import Pod
from control.api.workload import DaemonSet, RollingUpdate
from control.controllers.deployment.limits import scaled
from control.controllers.pods import available_in


@dataclass(frozen=True, slots=True)
class NodeDaemons:
    """A node and the daemons that are for it."""

    node: str
    wanted: bool  # it should have one
    tolerated: bool  # one that is there may stay
    new: tuple[Pod, ...]  # of the present template
    old: tuple[Pod, ...]

    @property
    def daemons(self) -> tuple[Pod, ...]:
        """All of them."""
        return (*self.new, *self.old)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many nodes may be without an available daemon, or have two, during an update."""

    unavailable: int
    surge: int
    automatic: bool = True  # else (OnDelete) the user deletes old daemons
    min_ready_seconds: int = 0


@dataclass(slots=True)
class DaemonChanges:
    """Nodes that get a daemon, and daemons that go; ``failed`` of them had ended by themselves."""

    create: list[str] = field(default_factory=list)
    delete: list[Pod] = field(default_factory=list)
    failed: list[Pod] = field(default_factory=list)


def pace(daemon_set: DaemonSet, wanted: int) -> Pace:
    """The pace of a DaemonSet that should be on so many nodes."""
    strategy = daemon_set.spec.update_strategy
    rolling = strategy.rolling_update or RollingUpdate()
    surge = scaled(rolling.max_surge or 0, wanted, up=True)
    missing = 1 if rolling.max_unavailable is None else rolling.max_unavailable
    unavailable = scaled(missing, wanted, up=True)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    wait = daemon_set.spec.min_ready_seconds or 0
    return Pace(unavailable, surge, strategy.type != "OnDelete", wait)


def manage(places: Iterable[NodeDaemons]) -> DaemonChanges:
    """One daemon for each node that wants one, none for the others, whatever their template."""
    changes = DaemonChanges()
    for place in places:
        if place.wanted and not place.daemons:
            changes.create.append(place.node)
        elif not place.tolerated:
            changes.delete += _alive(place.daemons)
        else:
            _tidy(place, changes)
    return changes


def _tidy(place: NodeDaemons, changes: DaemonChanges) -> None:
    """Ended daemons make room for others; of several of one template the oldest stays."""
    ended = [pod for pod in _alive(place.daemons) if pod.status.phase in ("Failed", "Succeeded")]
    changes.delete += ended
    changes.failed += ended
    for group in (place.new, place.old):
        running = [pod for pod in _alive(group) if pod not in ended]
        running.sort(
            key=lambda pod: (not pod.spec.node_name, pod.metadata.creation_timestamp or "")
        )
        changes.delete += running[1:]


def _alive(pods: Iterable[Pod]) -> list[Pod]:
    return [pod for pod in pods if pod.metadata.deletion_timestamp is None]


def update(places: Sequence[NodeDaemons], pace: Pace, now: float) -> DaemonChanges:
    """The next step from old daemons to new ones."""
    wanted = [place for place in places if place.wanted]
    if pace.surge:
        return _with_surge(wanted, pace, now)
    return _without_surge(wanted, pace, now)


def _without_surge(places: Sequence[NodeDaemons], pace: Pace, now: float) -> DaemonChanges:
    unavailable = 0
    idle: list[Pod] = []
    candidates: list[Pod] = []
    for place in places:
        serving = any(_is_available(pod, pace, now) for pod in place.daemons)
        unavailable += not serving
        old = _alive(place.old)
        if old and not place.new:
            (candidates if serving else idle).extend(old)
    # What does not serve can go at once; of the rest, as many as may be missing.
    budget = max(0, pace.unavailable - unavailable)
    return DaemonChanges(delete=[*idle, *candidates[:budget]])


def _with_surge(places: Sequence[NodeDaemons], pace: Pace, now: float) -> DaemonChanges:
    changes, doubled = DaemonChanges(), 0
    candidates: list[str] = []
    for place in places:
        old = _alive(place.old)
        if old and place.new:
            if any(_is_available(pod, pace, now) for pod in place.new):
                changes.delete += old
            else:
                doubled += 1
        elif old:
            serving = any(_is_available(pod, pace, now) for pod in old)
            (candidates if serving else changes.create).append(place.node)
    changes.create += candidates[: max(0, pace.surge - doubled)]
    return changes


def _is_available(pod: Pod, pace: Pace, now: float) -> bool:
    alive = pod.metadata.deletion_timestamp is None
    return alive and available_in(pod, pace.min_ready_seconds, now) == 0
