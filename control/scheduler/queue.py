"""The queue of Pods that wait for a node. Pure: the caller passes the time, and sleeps.

A Pod is in one of three states: ready to be tried, waiting for the end of its back-off, or parked
until a change of the cluster could help it.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from control.api.pod import Pod
from control.scheduler.terms import terms


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a Pod was tried, and when first."""

    attempts: int
    first: float


@dataclass(slots=True)
class _Waiting:
    pod: Pod
    attempts: int = 0
    first_try: float = 0.0
    not_before: float = 0.0
    parked: bool = False
    dirty: bool = False  # the cluster changed while it was being tried
    trying: bool = False


@dataclass(slots=True)
class SchedulingQueue:
    """Orders Pods by priority, then age.

    A Pod that failed waits from ``first`` to ``longest`` seconds. A parked Pod waits up to
    ``patience`` seconds more for a change.
    """

    first: float = 0.1
    longest: float = 10.0
    patience: float = 300.0
    _pods: dict[str, _Waiting] = field(default_factory=dict)  # by uid
    _resting: set[str] = field(
        default_factory=set
    )  # of these, the ones that failed and are not due yet
    _choosy: set[str] = field(default_factory=set)
    _heap: list[tuple[int, str, str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._pods)

    def states(self) -> dict[str, int]:
        """Return how many Pods are ready to be tried, back off, and wait for a change."""
        parked = sum(self._pods[uid].parked for uid in self._resting)
        resting = len(self._resting)
        return {
            "active": len(self._pods) - resting,
            "backoff": resting - parked,
            "unschedulable": parked,
        }

    def put(self, pod: Pod, *, helped: bool = False) -> None:
        """Add or change a Pod; ``helped`` is True if the change may let it be placed."""
        known = self._pods.get(pod.metadata.uid)
        if is_choosy(pod):
            self._choosy.add(pod.metadata.uid)
        if known is None:
            self._pods[pod.metadata.uid] = _Waiting(pod)
            self._push(pod)
            return
        known.pod = pod
        if helped:
            self._wake(known)

    def drop(self, uid: str) -> None:
        """Remove a Pod."""
        self._pods.pop(uid, None)
        self._choosy.discard(uid)
        self._resting.discard(uid)

    def pop(self, now: float) -> Pod | None:
        """Return the next Pod to try; the caller then calls ``failed`` or ``drop``."""
        self._ripen(now)
        while self._heap:
            uid = heapq.heappop(self._heap)[-1]
            waiting = self._pods.get(uid)
            if waiting is None or waiting.trying or uid in self._resting:
                continue  # the Pod was removed, or was queued again
            waiting.trying, waiting.dirty = True, False
            waiting.first_try = waiting.first_try if waiting.attempts else now
            waiting.attempts += 1
            return waiting.pod
        return None

    def tries(self, uid: str) -> Tries | None:
        """Return how often a Pod was tried; None if it is not here."""
        waiting = self._pods.get(uid)
        return Tries(waiting.attempts, waiting.first_try) if waiting else None

    def failed(self, uid: str, now: float, *, park: bool) -> None:
        """Note a failed try; ``park`` waits for a change, else the back-off alone counts."""
        waiting = self._pods.get(uid)
        if waiting is None:
            return
        waiting.trying = False
        wait = min(self.longest, self.first * 2.0 ** min(waiting.attempts - 1, 30))
        waiting.not_before = now + wait
        waiting.parked = park and not waiting.dirty
        self._resting.add(uid)

    def changed(
        self, *, choosy: bool = False, which: Callable[[Pod], bool] = lambda _: True
    ) -> None:
        """Wake parked Pods: a change of the cluster may help them.

        ``choosy`` wakes only those that care which other Pods are where; ``which`` chooses more.
        """
        for uid in self._choosy if choosy else self._pods:
            if which(self._pods[uid].pod):
                self._wake(self._pods[uid])

    def next_time(self, now: float) -> float | None:
        """Return the time at which ``pop`` will have a Pod; None if only a change can give one."""
        self._ripen(now)
        if self._heap:
            return now
        return min((self._due(self._pods[uid]) for uid in self._resting), default=None)

    def _due(self, waiting: _Waiting) -> float:
        # As upstream, all Pods are tried again after a while, in case a change was missed.
        return waiting.not_before + (self.patience if waiting.parked else 0.0)

    def _ripen(self, now: float) -> None:
        for uid in [uid for uid in self._resting if self._due(self._pods[uid]) <= now]:
            self._resting.discard(uid)
            self._push(self._pods[uid].pod)

    def _wake(self, waiting: _Waiting) -> None:
        waiting.dirty = waiting.trying
        waiting.parked = False

    def _push(self, pod: Pod) -> None:
        meta = pod.metadata
        order = -(pod.spec.priority or 0), meta.creation_timestamp or "", meta.name, meta.uid
        heapq.heappush(self._heap, order)


def is_choosy(pod: Pod) -> bool:
    """True if other Pods decide where this one may be."""
    return bool(pod.spec.topology_spread_constraints or terms(pod))
