"""Computes the next number of Pods of each version. Pure: sizes in, sizes out.

As upstream's rolling.go and sync.go, with one difference: available Pods are counted from the Pods
themselves, not from a ReplicaSet's status, which may be outdated. No step takes the available Pods
below ``replicas - unavailable``, nor the Pods of all versions above ``replicas + surge``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from control.controllers.deployment.limits import Limits


@dataclass(frozen=True, slots=True)
class Version:
    """A ReplicaSet's numbers of Pods.

    ``size`` is the wanted number. ``scaled_for`` and ``most`` are the Deployment's replicas,
    without and with the surge, at the last scaling. ``created`` orders versions.
    """

    name: str
    size: int
    available: int = 0
    scaled_for: int | None = None
    most: int | None = None
    created: str = ""
    wanted: bool = False  # True for the version of the Deployment's template

    @property
    def unavailable(self) -> int:
        """The number of wanted Pods that are not available."""
        return max(0, self.size - self.available)


Sizes = dict[str, int]


def roll(versions: Sequence[Version], bounds: Limits) -> Sizes:
    """Return the next step of a rolling update: the sizes that change; none if nothing is due."""
    new = _wanted(versions)
    grown = _grow(new, versions, bounds)
    if grown != new.size:
        return {new.name: grown}
    return _shrink(new, [v for v in versions if not v.wanted and v.size], bounds)


def first_size(old: Sequence[Version], bounds: Limits) -> int:
    """Return the first size of a version that does not exist yet."""
    return _grow(Version("", 0, wanted=True), old, bounds)


def _wanted(versions: Sequence[Version]) -> Version:
    return next(v for v in versions if v.wanted)


def _grow(new: Version, versions: Sequence[Version], bounds: Limits) -> int:
    if new.size > bounds.replicas:
        return bounds.replicas
    room = bounds.replicas + bounds.surge - sum(v.size for v in versions)
    return new.size + max(0, min(room, bounds.replicas - new.size))


def _shrink(new: Version, old: Sequence[Version], bounds: Limits) -> Sizes:
    """Shrink old versions by as much as the new one has available, unavailable Pods first."""
    least = bounds.replicas - bounds.unavailable
    budget = sum(v.size for v in old) + new.size - least - new.unavailable
    if budget <= 0:
        return {}
    ordered = sorted(old, key=lambda v: (v.created, v.name))
    healthy = _take(ordered, budget, {v.name: v.unavailable for v in ordered})
    available = new.available + sum(min(v.available, v.size) for v in healthy)
    taken = sum(v.size for v in old) - sum(v.size for v in healthy)
    spare = min(available - least, budget - taken)
    final = _take(healthy, spare, {v.name: v.size for v in healthy})
    before = {v.name: v.size for v in old}
    return {v.name: v.size for v in final if v.size != before[v.name]}


def _take(versions: Sequence[Version], budget: int, most: Sizes) -> list[Version]:
    """Take up to ``budget`` Pods from versions in order, from each no more than ``most``."""
    left = []
    for version in versions:
        share = max(0, min(budget, most[version.name]))
        budget -= share
        left.append(replace(version, size=version.size - share))
    return left


def recreate(versions: Sequence[Version], bounds: Limits, *, old_pods_run: bool) -> Sizes:
    """Return the next step of Recreate: all old Pods end before the first new one starts."""
    new = _wanted(versions)
    old = {v.name: 0 for v in versions if not v.wanted and v.size}
    if old or old_pods_run:
        return old
    return {new.name: bounds.replicas} if new.size != bounds.replicas else {}


def needs_scaling(versions: Sequence[Version], bounds: Limits) -> bool:
    """True if the Deployment was scaled after a version's last scaling."""
    return any(v.size and v.scaled_for not in (None, bounds.replicas) for v in versions)


def scale(versions: Sequence[Version], bounds: Limits, *, rolling: bool) -> Sizes:
    """Distribute a new number of replicas over the versions, during a rollout or a pause.

    A single version takes all replicas. If the new version is complete, the old ones shrink to 0.
    Otherwise each version grows or shrinks in proportion to its size.
    """
    active = [v for v in versions if v.size]
    new = next((v for v in versions if v.wanted), None)
    if len(active) <= 1:
        only = active[0] if active else new or _latest(versions)
        return {only.name: bounds.replicas} if only and only.size != bounds.replicas else {}
    if new and new.size == new.available == bounds.replicas == new.scaled_for:
        return {v.name: 0 for v in active if v is not new}
    return _proportional(active, bounds) if rolling else {}


def _latest(versions: Sequence[Version]) -> Version | None:
    return max(versions, key=lambda v: (v.created, v.name), default=None)


def _proportional(active: Sequence[Version], bounds: Limits) -> Sizes:
    total = sum(v.size for v in active)
    most = bounds.replicas + bounds.surge if bounds.replicas else 0
    to_add = most - total
    # Largest versions first; of equal ones the newest grows first, and the oldest shrinks first.
    ordered = sorted(active, key=lambda v: v.created, reverse=to_add > 0)
    ordered.sort(key=lambda v: v.size, reverse=True)
    sizes, left = {}, to_add
    for version in ordered:
        share = _share(version, bounds, to_add, left) if left else 0
        sizes[version.name] = version.size + share
        left -= share
    if left:
        first = ordered[0].name
        sizes[first] = max(0, sizes[first] + left)
    return {v.name: sizes[v.name] for v in active if sizes[v.name] != v.size}


def _share(version: Version, bounds: Limits, to_add: int, left: int) -> int:
    """Return the Pods to add to a version (or to take from it), no more than ``left``."""
    if bounds.replicas == 0:
        return -version.size
    most = bounds.replicas + bounds.surge
    ideal = version.size * most / (version.most or most)
    rounded = int(ideal + 0.5)  # half away from zero, as Go rounds
    share = rounded - version.size
    return min(share, left) if to_add > 0 else max(share, left)
