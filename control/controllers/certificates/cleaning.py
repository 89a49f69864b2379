"""CSRCleaner: deletes requests whose time is over, for nodes make new ones all the time.

Source: k8s.io/kubernetes/pkg/controller/certificates/cleaner
"""

import base64
from collections.abc import Iterator

from cryptography import x509

from control.api import kinds
from control.api.certificates import CertificateSigningRequest
from control.api.times import seconds_of
from control.client.cache import Key
from control.controllers.actions import Action, Again, Delete
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState

_DECIDED, _WAITING = 3600.0, 24 * 3600.0


class CleaningController:
    """Deletes requests an hour after their verdict, or a day after they came."""

    component = "certificatesigningrequest-cleaner-controller"
    sources = (Source(kinds.SIGNING_REQUEST, itself),)

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Delete the request ``key`` if it is old, or look again when it is."""
        request = cluster[kinds.SIGNING_REQUEST].get(*key)
        if request is None:
            return
        ends = min(_ends(request), default=None)
        if ends is not None and ends < now:
            yield Delete(kinds.SIGNING_REQUEST, request)
        elif ends is not None:
            yield Again(ends - now + 1)


def _ends(request: CertificateSigningRequest) -> Iterator[float]:
    """Yield the times (seconds since the epoch) after which a request is old."""
    issued = bool(request.status.certificate)
    lives = {"Approved": _DECIDED if issued else _WAITING, "Denied": _DECIDED, "Failed": _DECIDED}
    for condition in request.status.conditions:
        since = seconds_of(condition.last_update_time)
        if condition.type in lives and since is not None:
            yield since + lives[condition.type]
    made = seconds_of(request.metadata.creation_timestamp)
    if not request.status.conditions and made is not None:
        yield made + _WAITING
    if issued:
        yield from _expiry(request.status.certificate)


def _expiry(encoded: str) -> Iterator[float]:
    try:
        certificate = x509.load_pem_x509_certificate(base64.b64decode(encoded))
    except ValueError:
        return  # what another signer wrote is its own affair
    yield certificate.not_valid_after_utc.timestamp()
