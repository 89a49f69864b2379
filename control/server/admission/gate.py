"""Whether anybody is asked about a write; if so, ``reviews.py`` says who.

Nothing of CEL, and nothing else of this room but what counts, is imported before there is a
configuration.
"""

from typing import TYPE_CHECKING

from control.api.kind import Kind
from control.api.kinds import SERVED
from control.server.access.authz import Authorizer
from control.server.admission.measured import AdmissionMetrics
from control.server.state.gate import Review
from control.server.state.server import ServerState
from control.server.wire.request import SELF, ApiRequest

if TYPE_CHECKING:
    from control.server.admission.reviews import Reviews

_GROUP = "admissionregistration.k8s.io"


def _kind(name: str) -> Kind:
    return next(kind for kind in SERVED if (kind.group, kind.name) == (_GROUP, name))


MUTATING, VALIDATING = map(
    _kind, ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
)
POLICY, BINDING = map(_kind, ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"))
CHANGING, CHANGING_BINDING = map(
    _kind, ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
)
_ASKING = (MUTATING, VALIDATING, POLICY, CHANGING)


class AdmissionGate:
    """Asks webhooks and policies."""

    def __init__(self, authorizer: Authorizer, metrics: AdmissionMetrics) -> None:
        self._authorizer, self._metrics = authorizer, metrics
        self._reviews: Reviews | None = None

    def review(self, state: ServerState, request: ApiRequest, operation: str) -> Review | None:
        """Return what is asked about a write on a resource; None for nothing.

        Nobody is asked about the server's own writes: it has to start, so that a webhook that is
        down can be removed.
        """
        if request.user is SELF:
            return None
        if not any(state.cache.of(kind).count for kind in _ASKING):
            return None
        if self._reviews is None:
            from control.server.admission.reviews import Reviews

            self._reviews = Reviews(self._authorizer, self._metrics)
        return self._reviews.review(state, request, operation)
