"""Says in the status of ValidatingAdmissionPolicies what their expressions get wrong. Pure.

Source: k8s.io/kubernetes/pkg/controller/validatingadmissionpolicystatus
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from control.api import kinds
from control.api.cluster import CustomResourceDefinition
from control.api.meta import Object
from control.client.cache import Key
from control.controllers.actions import Action, UpdateStatus
from control.controllers.loop import Source
from control.controllers.state import ClusterState

if TYPE_CHECKING:
    from control.api.policies.typed import Known

POLICY = next(kind for kind in kinds.SERVED if kind.name == "ValidatingAdmissionPolicy")


def _own(_: ClusterState, policy: Object) -> Iterator[Key]:
    yield policy.key


class PolicyStatusController:
    """Writes ``status.typeChecking`` of each generation of a policy, once."""

    component = "validatingadmissionpolicy-status-controller"
    sources = (Source(POLICY, _own), Source(kinds.DEFINITION, lambda *_: iter(())))

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Yield the status of the policy ``key`` if its spec has changed since the last one."""
        del now
        policy = cluster[POLICY].get(*key)
        if policy is None or policy.metadata.deletion_timestamp is not None:
            return
        wire = policy.wire()
        seen = (wire.get("status") or {}).get("observedGeneration")
        if seen == policy.metadata.generation:
            return
        from control.api.policies.typed import warnings  # nothing of it before there is a policy

        found = warnings(wire.get("spec") or {}, _known(cluster))
        checking = {"expressionWarnings": found} if found else {}
        status = (wire.get("status") or {}) | {
            "observedGeneration": policy.metadata.generation,
            "typeChecking": checking,
        }
        yield UpdateStatus(POLICY, POLICY.model.parse(wire | {"status": status}))


def _known(cluster: ClusterState) -> "list[Known]":
    """Return every kind that there is."""
    from control.api.policies.typed import Known

    own = [Known(it.group, it.version, it.name, it.plural) for it in kinds.SERVED]
    return own + [each for it in cluster[kinds.DEFINITION] for each in _custom(it)]


def _custom(definition: CustomResourceDefinition) -> "Iterator[Known]":
    from control.api.policies.typed import Known

    spec = definition.spec
    for version in spec.get("versions") or ():
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        names = spec["names"]
        yield Known(spec["group"], version["name"], names["kind"], names["plural"], schema)
