"""The volumes of a Pod: whether a node can have them, and what is bound or made for it. Pure.

Texts are upstream's (pkg/scheduler/framework/plugins/volumebinding).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from control.api.binding import best_match, reaches
from control.api.persistent import (
    BY_HAND,
    SELECTED_NODE,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
    ephemeral_claim,
)
from control.api.pod import Pod
from control.api.volume import Volume
from control.client.cache import Key
from control.scheduler.model import NodeInfo, Refusal

_UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
_FAR = "node(s) didn't match PersistentVolume's node affinity"
_NONE = "node(s) didn't find available persistent volumes to bind"
_ABSENT = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"


class NotSchedulableError(Exception):
    """No node can have the Pod, because of its claims; the text is upstream's."""


@dataclass(frozen=True, slots=True)
class VolumeChoice:
    """What a Pod needs on a node: volumes to bind to claims, and claims to make volumes for."""

    bound: tuple[tuple[PersistentVolume, PersistentVolumeClaim], ...] = ()
    made: tuple[PersistentVolumeClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class PodVolumes:
    """The claims of one Pod: those with a volume, and those that get one with the Pod's node.

    ``taken`` are the names of volumes that other Pods get.
    """

    held: Sequence[PersistentVolume | None]
    waiting: Sequence[PersistentVolumeClaim]
    volumes: Mapping[Key, PersistentVolume]
    classes: Mapping[Key, StorageClass]
    taken: frozenset[str] = frozenset()

    def refusal(self, node: NodeInfo) -> Refusal | None:
        """Return why a node cannot have the volumes."""
        reasons = []
        if any(it is not None and not reaches(it, node.node) for it in self.held):
            reasons.append(_FAR)
        if self.choice(node) is None:
            reasons.append(_NONE)
        if None in self.held:
            reasons.append(_ABSENT)
        return Refusal(tuple(reasons), final=True) if reasons else None

    def choice(self, node: NodeInfo) -> VolumeChoice | None:
        """Return what the waiting claims get on a node; None if one of them gets nothing."""
        bound, made, taken = [], [], set(self.taken)
        for claim in sorted(self.waiting, key=lambda it: it.size.nano):
            chosen = claim.metadata.annotations.get(SELECTED_NODE)
            if chosen not in (None, node.name):
                return None
            found = None
            if chosen is None:
                found = best_match(claim, self.volumes.values(), node=node.node, taken=taken)
            if found is not None:
                taken.add(found.metadata.name)
                bound.append((found, claim))
            elif self._can_be_made(claim):
                made.append(claim)
            else:
                return None
        return VolumeChoice(tuple(bound), tuple(made))

    def _can_be_made(self, claim: PersistentVolumeClaim) -> bool:
        found = self.classes.get(("", claim.storage_class))
        return found is not None and found.provisioner != BY_HAND


@dataclass(slots=True)
class Storage:
    """The claims, volumes and classes that are known, and the volumes that were just chosen."""

    claims: Mapping[Key, PersistentVolumeClaim] = field(default_factory=dict)
    volumes: Mapping[Key, PersistentVolume] = field(default_factory=dict)
    classes: Mapping[Key, StorageClass] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)  # a volume's name -> a Pod's uid

    def of(self, pod: Pod) -> PodVolumes | None:
        """Return the volumes of a Pod, None if it has no claims; raises NotSchedulableError."""
        claims = [self._claim(pod, volume, key) for volume, key in _claims(pod)]
        if not claims:
            return None
        waiting = [claim for claim in claims if not claim.is_bound]
        if not all(self._is_delayed(claim) for claim in waiting):
            raise NotSchedulableError(_UNBOUND)
        held = [self.volumes.get(("", it.spec.volume_name or "")) for it in claims if it.is_bound]
        others = {name for name, uid in self.chosen.items() if uid != pod.metadata.uid}
        return PodVolumes(held, waiting, self.volumes, self.classes, frozenset(others))

    def _claim(self, pod: Pod, volume: Volume, key: Key) -> PersistentVolumeClaim:
        claim, name = self.claims.get(key), key[1]
        if claim is None:
            waits = "waiting for ephemeral volume controller to create the "
            if volume.ephemeral:
                raise NotSchedulableError(f'{waits}persistentvolumeclaim "{name}"')
            raise NotSchedulableError(f'persistentvolumeclaim "{name}" not found')
        if claim.status.phase == "Lost":
            gone = claim.spec.volume_name or ""
            raise NotSchedulableError(
                f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{gone}"'
            )
        if claim.metadata.deletion_timestamp is not None:
            raise NotSchedulableError(f'persistentvolumeclaim "{name}" is being deleted')
        if volume.ephemeral and not _is_of(claim, pod):
            raise NotSchedulableError(
                f"PVC {key[0]}/{name} was not created for pod {key[0]}/{pod.metadata.name} (pod is"
                " not owner)"
            )
        return claim

    def _is_delayed(self, claim: PersistentVolumeClaim) -> bool:
        found = self.classes.get(("", claim.storage_class))
        return found is not None and found.is_delayed and not claim.spec.volume_name

    def are_bound(self, pod: Pod) -> bool:
        """Return True if all claims of a Pod are bound; raises NotSchedulableError."""
        return all(self._claim(pod, volume, key).is_bound for volume, key in _claims(pod))

    def choose(self, pod: Pod, choice: VolumeChoice) -> None:
        """Keep volumes for a Pod until they are bound."""
        for volume, _ in choice.bound:
            self.chosen[volume.metadata.name] = pod.metadata.uid

    def release(self, pod: Pod) -> None:
        """Undo ``choose``."""
        uid = pod.metadata.uid
        self.chosen = {name: kept for name, kept in self.chosen.items() if kept != uid}


def _is_of(claim: PersistentVolumeClaim, pod: Pod) -> bool:
    owners = claim.metadata.owner_references
    return any(owner.controller and owner.uid == pod.metadata.uid for owner in owners)


def _claims(pod: Pod) -> Iterator[tuple[Volume, Key]]:
    """Yield the volumes of a Pod that are claims, and their keys."""
    namespace, name = pod.key
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            yield volume, (namespace, volume.persistent_volume_claim.claim_name)
        elif volume.ephemeral is not None:
            yield volume, (namespace, ephemeral_claim(name, volume.name))


def has_claims(pod: Pod) -> bool:
    """Return True if a Pod has volumes by claim."""
    return next(_claims(pod), None) is not None


def not_schedulable(why: str, nodes: int) -> str:
    """Return upstream's text of a Pod that no node can have, whatever the nodes are like."""
    if not nodes:
        return "no nodes available to schedule pods"
    head = f"0/{nodes} nodes are available:"
    return f"{head} {why}. preemption: {head} {nodes} Preemption is not helpful for scheduling."
