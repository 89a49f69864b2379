"""CSRSigning: signs approved requests for the signers of Kubernetes itself.

Source: k8s.io/kubernetes/pkg/controller/certificates/signer
"""

import base64
from collections.abc import Iterator, Mapping

from control.api import kinds
from control.api.certificates import CertificateSigningRequest
from control.api.meta import Condition
from control.api.signing import SigningError, read_request
from control.api.times import rfc3339
from control.client.cache import Key
from control.controllers.actions import Action, Again, Report, UpdateStatus
from control.controllers.certificates.authority import AuthorityError, SigningAuthority
from control.controllers.certificates.rules import SIGNERS, has_condition, refusal
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState

_AGAIN = 3600.0


class SigningController:
    """Writes the certificates of approved requests, or why there is none."""

    component = "certificatesigningrequest-signing-controller"
    sources = (Source(kinds.SIGNING_REQUEST, itself),)

    def __init__(self, authority: SigningAuthority) -> None:
        self._authority = authority

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Sign the request ``key``, if it is approved and for a signer of ours."""
        request = cluster[kinds.SIGNING_REQUEST].get(*key)
        if request is None or not _is_due(request):
            return
        try:
            yield self._signed(request, now)
        except AuthorityError as err:
            yield Report(request, "Warning", "SigningFailed", str(err))
            yield Again(_AGAIN)

    def _signed(self, request: CertificateSigningRequest, now: float) -> UpdateStatus:
        spec = request.spec
        try:
            asked = read_request(spec.request)
        except SigningError as err:
            return _failed(request, str(err), now)
        if why := refusal(spec.signer_name, asked, spec.usages):
            return _failed(request, why, now)
        made = self._authority.sign(asked, spec.usages, spec.expiration_seconds, now)
        change = {"certificate": base64.b64encode(made).decode()}
        return _with_status(request, change)


def _is_due(request: CertificateSigningRequest) -> bool:
    settled = request.status.certificate or has_condition(request, "Denied", "Failed")
    approved = has_condition(request, "Approved")
    return approved and not settled and request.spec.signer_name in SIGNERS


def _failed(request: CertificateSigningRequest, why: str, now: float) -> UpdateStatus:
    failure = Condition(
        type="Failed",
        status="True",
        reason="SignerValidationFailure",
        message=why,
        last_update_time=rfc3339(now),
    )
    return _with_status(request, {"conditions": [*request.status.conditions, failure]})


def _with_status(request: CertificateSigningRequest, change: Mapping[str, object]) -> UpdateStatus:
    status = request.status.model_copy(update=change)
    return UpdateStatus(kinds.SIGNING_REQUEST, request.model_copy(update={"status": status}))
