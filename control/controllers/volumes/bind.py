"""What is due until a volume and a claim are bound to each other: one write at a time. Pure.

The volume's side is written first, so that no two claims get one volume. Source:
k8s.io/kubernetes/pkg/controller/volume/persistentvolume (bind).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from control.api import kinds
from control.api.binding import kept_for
from control.api.persistent import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    PersistentVolume,
    PersistentVolumeClaim,
)
from control.api.times import rfc3339
from control.controllers.actions import Action, Update, UpdateStatus

BOUND = "Bound"


def bind(volume: PersistentVolume, claim: PersistentVolumeClaim, now: float) -> Iterator[Action]:
    """Yield the next write; none if both are bound to each other."""
    kept = kept_for(volume, claim)
    if kept is not volume:
        yield Update(kinds.PERSISTENT_VOLUME, kept)
        return
    if volume.status.phase != BOUND:
        yield in_phase(volume, BOUND, now)
        return
    taken = _taken(volume, claim)
    if taken is not claim:
        yield Update(kinds.VOLUME_CLAIM, taken)
        return
    yield from _filled(volume, claim)


def _taken(volume: PersistentVolume, claim: PersistentVolumeClaim) -> PersistentVolumeClaim:
    """Return a claim that is bound to a volume, on the claim's side."""
    name, held = volume.metadata.name, claim.metadata.annotations
    annotations, spec = dict(held), claim.spec
    if spec.volume_name != name:
        annotations[BOUND_BY_CONTROLLER] = "yes"
        spec = spec.model_copy(update={"volume_name": name})
    annotations.setdefault(BIND_COMPLETED, "yes")
    if annotations == held and spec is claim.spec:
        return claim
    metadata = claim.metadata.model_copy(update={"annotations": annotations})
    return claim.model_copy(update={"spec": spec, "metadata": metadata})


def _filled(volume: PersistentVolume, claim: PersistentVolumeClaim) -> Iterator[Action]:
    change: dict[str, Any] = {"phase": BOUND, "access_modes": volume.spec.access_modes}
    if claim.status.phase != BOUND:  # a bound claim's size is that of the last growth
        change["capacity"] = volume.spec.capacity
    status = claim.status.model_copy(update=change)
    if status != claim.status:
        yield UpdateStatus(kinds.VOLUME_CLAIM, claim.model_copy(update={"status": status}))


def in_phase(
    volume: PersistentVolume, phase: str, now: float, text: Mapping[str, str | None] | None = None
) -> UpdateStatus:
    """Return the write of a volume's phase; ``text`` has a reason and a message."""
    change = {"phase": phase, "last_phase_transition_time": rfc3339(now)}
    cleared: dict[str, str | None] = {"reason": None, "message": None}
    status = volume.status.model_copy(update=change | (cleared if text is None else dict(text)))
    return UpdateStatus(kinds.PERSISTENT_VOLUME, volume.model_copy(update={"status": status}))


def claim_in(claim: PersistentVolumeClaim, phase: str) -> Iterator[Action]:
    """Yield the write of the phase of a claim without a volume, if it has another one."""
    if claim.status.phase == phase:
        return
    gone: dict[str, Any] = {"phase": phase, "access_modes": [], "capacity": {}}
    status = claim.status.model_copy(update=gone)
    yield UpdateStatus(kinds.VOLUME_CLAIM, claim.model_copy(update={"status": status}))
