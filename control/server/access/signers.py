"""Ask whether a user may approve requests of a signer, and sign them.

Source: k8s.io/kubernetes/plugin/pkg/admission/certificates (approval, signing).
"""

from collections.abc import Mapping
from typing import Any

from control.server.access.attributes import AccessAttributes
from control.server.access.authz import Authorizer
from control.server.wire import errors
from control.server.wire.item import Item
from control.server.wire.request import ApiRequest

GROUP = "certificates.k8s.io"


def check_signer(authorizer: Authorizer, request: ApiRequest, old: Item, new: Item) -> None:
    """Refuse a verdict or a certificate of a signer that is not the user's; raises StatusError."""
    subresource = request.info.subresource
    if subresource == "approval":
        verb = "approve"
    elif subresource == "status" and _signs(old.wire, new.wire):
        verb = "sign"
    else:
        return
    signer = old.wire["spec"].get("signerName", "")
    if not any(_may(authorizer, request, verb, name) for name in _names(signer)):
        why = f'user not permitted to {verb} requests with signerName "{signer}"'
        raise errors.forbidden(request.info.kind, request.info.name, why)


def _signs(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    before, after = old.get("status") or {}, new.get("status") or {}
    return any(before.get(name) != after.get(name) for name in ("certificate", "conditions"))


def _names(signer: str) -> tuple[str, str]:
    """Return the names of a signer in roles: itself, and all of its domain."""
    return signer, f"{signer.partition('/')[0]}/*"


def _may(authorizer: Authorizer, request: ApiRequest, verb: str, name: str) -> bool:
    asked = AccessAttributes(verb, GROUP, "signers", name=name)
    return authorizer.decide(request.user, asked).allowed
