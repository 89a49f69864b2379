"""CSRApproving: approves the certificates of nodes, for authors who may have them.

Those of their servers are podwire's own: a node that may ``create``
``certificatesigningrequests/selfnodeserver`` gets one for its own name and its Node's addresses,
if no other Node has them. No default role has this right, so that without it an administrator
approves, as upstream. Source: k8s.io/kubernetes/pkg/controller/certificates/approver
"""

from collections.abc import Iterator
from typing import Any

from control.api import kinds
from control.api.certificates import (
    KUBELET_CLIENT_SIGNER,
    KUBELET_SERVING_SIGNER,
    CertificateSigningRequest,
)
from control.api.meta import Condition
from control.api.node import Node
from control.api.signing import Asked, SigningError, read_request
from control.client.cache import Key
from control.controllers.actions import Action, Again, Approve
from control.controllers.certificates.rules import has_condition, refusal
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState

# A right that is given later counts for a request that waits; upstream's back-off ends at this.
_AGAIN = 1000.0
_OWN = "Auto approving self kubelet client certificate after SubjectAccessReview."
_SERVING = "Auto approving kubelet serving certificate for the addresses of its Node."
_NODE = "system:node:"
_OTHER = "Auto approving kubelet client certificate after SubjectAccessReview."


def _waiting(cluster: ClusterState, node: Node) -> Iterator[Key]:
    """Yield the requests of a node whose addresses have changed."""
    for request in cluster[kinds.SIGNING_REQUEST]:
        if request.spec.username == f"{_NODE}{node.metadata.name}":
            yield request.key


def _addresses(node: Node | None) -> set[str]:
    return {each.address for each in node.status.addresses} if node is not None else set()


def _is_its_own(cluster: ClusterState, asked: Asked) -> bool:
    """Return True if a server's names are those of the Node that asks, and of nobody else.

    A node writes the addresses of its Node itself: those of Services, by which Pods know the API
    server, are never a node's.
    """
    name = asked.user.removeprefix(_NODE)
    ips = set(map(str, asked.ips))
    own = _addresses(cluster[kinds.NODE].get("", name))
    if not {*asked.dns_names} <= {name} or _is_of_a_service(name) or not ips <= own:
        return False
    return not {name, *ips} & _taken(cluster, name)


def _is_of_a_service(name: str) -> bool:
    """Return True for names such as kubernetes.default, or x.y.svc.cluster.local."""
    return name in ("kubernetes", "kubernetes.default") or "svc" in name.split(".")


def _taken(cluster: ClusterState, name: str) -> set[str]:
    """Return the names and addresses of the other Nodes, and those of Services."""
    taken = {ip for service in cluster[kinds.SERVICE] for ip in service.spec.cluster_ips}
    for node in cluster[kinds.NODE]:
        if node.metadata.name != name:
            taken |= {node.metadata.name, *_addresses(node)}
    return taken


class ApprovingController:
    """Asks by SubjectAccessReview whether the author of a request may have it approved."""

    component = "certificatesigningrequest-approving-controller"
    sources = (
        Source(kinds.SIGNING_REQUEST, itself),
        Source(kinds.NODE, _waiting, lambda old, new: _addresses(old) != _addresses(new)),
        Source(kinds.SERVICE, lambda _, __: ()),  # only to be looked at
    )

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Approve the request ``key`` of a node, if nobody has decided yet."""
        del now
        request = cluster[kinds.SIGNING_REQUEST].get(*key)
        if request is None or request.status.certificate:
            return
        if has_condition(request, "Approved", "Denied"):
            return
        if subresources := _rights(cluster, request):
            yield Approve(
                tuple((_review(request, sub), _approved(request, why)) for sub, why in subresources)
            )
            yield Again(_AGAIN)


def _rights(cluster: ClusterState, request: CertificateSigningRequest) -> list[tuple[str, str]]:
    """Return the subresources of which one right is enough, each with the message of approval."""
    signer = request.spec.signer_name
    if signer not in (KUBELET_CLIENT_SIGNER, KUBELET_SERVING_SIGNER):
        return []
    try:
        asked = read_request(request.spec.request)
    except SigningError:
        return []  # written before requests were checked
    if refusal(signer, asked, request.spec.usages):
        return []
    if signer == KUBELET_SERVING_SIGNER:
        its_own = request.spec.username == asked.user and _is_its_own(cluster, asked)
        return [("selfnodeserver", _SERVING)] if its_own else []
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
