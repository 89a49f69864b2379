"""The Pods of claims, and the claims of Pods. Pure."""

from collections.abc import Iterator

from control.api import kinds
from control.api.persistent import PersistentVolumeClaim, ephemeral_claim
from control.api.pod import Pod
from control.client.cache import Key
from control.controllers.state import ClusterState


def claims_of(pod: Pod) -> Iterator[Key]:
    """Yield the keys of the claims that a Pod's volumes name."""
    namespace, name = pod.key
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            yield namespace, volume.persistent_volume_claim.claim_name
        elif volume.ephemeral is not None:
            yield namespace, ephemeral_claim(name, volume.name)


def users(cluster: ClusterState, claim: PersistentVolumeClaim) -> list[Pod]:
    """Return the Pods that use a claim."""
    pods = cluster[kinds.POD].within(claim.metadata.namespace)
    return [pod for pod in pods if claim.key in claims_of(pod)]
