"""Keeps claims while Pods use them, and volumes while claims are bound to them. Pure.

Source: k8s.io/kubernetes/pkg/controller/volume (pvcprotection, pvprotection).
"""

from collections.abc import Iterator

from control.api import kinds
from control.api.meta import Object
from control.api.persistent import CLAIM_PROTECTION, VOLUME_PROTECTION, PersistentVolume
from control.api.pod import Pod
from control.client.cache import Key
from control.controllers.actions import Action, Update
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState
from control.controllers.volumes.users import claims_of, users


def _claims(_: ClusterState, pod: Pod) -> Iterator[Key]:
    yield from claims_of(pod)


class ClaimProtection:
    """Holds the finalizer of claims that Pods with a node use."""

    component = "pvc-protection-controller"
    sources = (Source(kinds.VOLUME_CLAIM, itself), Source(kinds.POD, _claims))

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Yield the change of a claim's finalizer, if one is due."""
        del now
        claim = cluster[kinds.VOLUME_CLAIM].get(*key)
        if claim is None:
            return
        used = any(pod.spec.node_name for pod in users(cluster, claim))
        yield from _held(kinds.VOLUME_CLAIM, claim, CLAIM_PROTECTION, used)


class VolumeProtection:
    """Holds the finalizer of volumes that are bound."""

    component = "pv-protection-controller"
    sources = (Source(kinds.PERSISTENT_VOLUME, itself),)

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Yield the change of a volume's finalizer, if one is due."""
        del now
        volume: PersistentVolume | None = cluster[kinds.PERSISTENT_VOLUME].get(*key)
        if volume is not None:
            bound = volume.status.phase == "Bound"
            yield from _held(kinds.PERSISTENT_VOLUME, volume, VOLUME_PROTECTION, bound)


def _held(kind: kinds.Kind, item: Object, finalizer: str, used: bool) -> Iterator[Action]:
    """Yield an update that adds the finalizer, or removes it from what goes and is not used."""
    held = item.metadata.finalizers
    if item.metadata.deletion_timestamp is None:
        wanted = held if finalizer in held else [*held, finalizer]
    else:
        wanted = held if used else [it for it in held if it != finalizer]
    if wanted != held:
        metadata = item.metadata.model_copy(update={"finalizers": wanted})
        yield Update(kind, item.model_copy(update={"metadata": metadata}))
