"""Makes the claims of Pods' ephemeral volumes. Pure.

Source: k8s.io/kubernetes/pkg/controller/volume/ephemeral.
"""

from collections.abc import Iterator

from control.api import kinds
from control.api.meta import ObjectMeta
from control.api.persistent import PersistentVolumeClaim, ephemeral_claim
from control.client.cache import Key
from control.controllers.actions import Action, Create
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState, controller_of, owner_reference


def _owner(_: ClusterState, claim: PersistentVolumeClaim) -> Iterator[Key]:
    owner = controller_of(claim)
    if owner is not None and owner.kind == kinds.POD.name:
        yield claim.metadata.namespace or "", owner.name


class EphemeralVolumes:
    """Makes a claim for each ephemeral volume; it goes with its Pod."""

    component = "ephemeral_volume"
    sources = (Source(kinds.POD, itself), Source(kinds.VOLUME_CLAIM, _owner))

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Yield the claims that a Pod has not yet."""
        del now
        pod = cluster[kinds.POD].get(*key)
        if pod is None or pod.metadata.deletion_timestamp is not None:
            return
        for volume in pod.spec.volumes:
            source = volume.ephemeral and volume.ephemeral.volume_claim_template
            name = ephemeral_claim(pod.metadata.name, volume.name)
            if source and cluster[kinds.VOLUME_CLAIM].get(key[0], name) is None:
                metadata = ObjectMeta(
                    name=name,
                    namespace=key[0],
                    labels=source.metadata.labels,
                    annotations=source.metadata.annotations,
                    owner_references=[owner_reference(kinds.POD, pod)],
                )
                claim = PersistentVolumeClaim(metadata=metadata, spec=source.spec)
                yield Create(kinds.VOLUME_CLAIM, claim)
