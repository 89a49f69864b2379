"""CSRApproving: approves the client certificates of nodes, for authors who may have them.

Source: k8s.io/kubernetes/pkg/controller/certificates/approver
"""

from collections.abc import Iterator
from typing import Any

from control.api import kinds
from control.api.certificates import KUBELET_CLIENT_SIGNER, CertificateSigningRequest
from control.api.meta import Condition
from control.api.signing import SigningError, read_request
from control.client.cache import Key
from control.controllers.actions import Action, Again, Approve
from control.controllers.certificates.rules import has_condition, refusal
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState

# A right that is given later counts for a request that waits; upstream's back-off ends at this.
_AGAIN = 1000.0
_OWN = "Auto approving self kubelet client certificate after SubjectAccessReview."
_OTHER = "Auto approving kubelet client certificate after SubjectAccessReview."


class ApprovingController:
    """Asks by SubjectAccessReview whether the author of a request may have it approved."""

    component = "certificatesigningrequest-approving-controller"
    sources = (Source(kinds.SIGNING_REQUEST, itself),)

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Approve the request ``key`` of a node, if nobody has decided yet."""
        del now
        request = cluster[kinds.SIGNING_REQUEST].get(*key)
        if request is None or request.status.certificate:
            return
        if has_condition(request, "Approved", "Denied"):
            return
        if subresources := _rights(request):
            yield Approve(
                tuple((_review(request, sub), _approved(request, why)) for sub, why in subresources)
            )
            yield Again(_AGAIN)


def _rights(request: CertificateSigningRequest) -> list[tuple[str, str]]:
    """Return the subresources of which one right is enough, each with the message of approval."""
    if request.spec.signer_name != KUBELET_CLIENT_SIGNER:
        return []
    try:
        asked = read_request(request.spec.request)
    except SigningError:
        return []  # written before requests were checked
    if refusal(KUBELET_CLIENT_SIGNER, asked, request.spec.usages):
        return []
    own = [("selfnodeclient", _OWN)] if request.spec.username == asked.user else []
    return [*own, ("nodeclient", _OTHER)]


def _review(request: CertificateSigningRequest, subresource: str) -> dict[str, Any]:
    spec = request.spec
    kind = kinds.SIGNING_REQUEST
    wanted = {"group": kind.group, "resource": kind.plural, "verb": "create"}
    return {
        "user": spec.username,
        "uid": spec.uid,
        "groups": spec.groups,
        "extra": spec.extra,
        "resourceAttributes": wanted | {"subresource": subresource},
    }


def _approved(request: CertificateSigningRequest, why: str) -> CertificateSigningRequest:
    verdict = Condition(type="Approved", status="True", reason="AutoApproved", message=why)
    conditions = [*request.status.conditions, verdict]
    status = request.status.model_copy(update={"conditions": conditions})
    return request.model_copy(update={"status": status})
