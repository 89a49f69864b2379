"""Which claims go with a StatefulSet, or with a Pod that is one too many: by their owners. Pure.

Source: k8s.io/kubernetes/pkg/controller/statefulset (updateClaimOwnerRefForSetAndPod), KEP-1847.
"""

from collections.abc import Callable, Iterator

from control.api import kinds
from control.api.meta import OwnerReference
from control.api.persistent import PersistentVolumeClaim
from control.api.pod import Pod
from control.controllers.actions import Action, Update
from control.controllers.state import owner_reference
from control.controllers.statefulset.plan import Ordered
from control.controllers.statefulset.pods import claims

_DELETE = "Delete"


def retained(
    state: Ordered, find: Callable[[str], PersistentVolumeClaim | None]
) -> Iterator[Action]:
    """Yield the changes of the owners of claims, as the set's policy wants them."""
    for ordinal, pod in state.pods.items():
        wanted = _owners(state, pod, surplus=ordinal not in state.wanted)
        for made in claims(state.set, ordinal):
            claim = find(made.metadata.name)
            if claim is None or claim.metadata.deletion_timestamp is not None:
                continue
            held = claim.metadata.owner_references
            owners = [it for it in held if not _is_ours(it, state, pod)] + wanted
            if {it.uid for it in owners} != {it.uid for it in held}:
                metadata = claim.metadata.model_copy(update={"owner_references": owners})
                yield Update(kinds.VOLUME_CLAIM, claim.model_copy(update={"metadata": metadata}))


def _owners(state: Ordered, pod: Pod, *, surplus: bool) -> list[OwnerReference]:
    policy = state.set.spec.persistent_volume_claim_retention_policy or {}
    if surplus and policy.get("whenScaled") == _DELETE:
        return [owner_reference(kinds.POD, pod)]
    if policy.get("whenDeleted") == _DELETE:
        return [owner_reference(kinds.STATEFUL_SET, state.set)]
    return []


def _is_ours(owner: OwnerReference, state: Ordered, pod: Pod) -> bool:
    ours = {
        (kinds.STATEFUL_SET.name, state.set.metadata.name),
        (kinds.POD.name, pod.metadata.name),
    }
    return (owner.kind, owner.name) in ours
