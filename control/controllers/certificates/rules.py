"""Which requests a signer takes. Pure.

Source: k8s.io/kubernetes/pkg/apis/certificates/helpers.go and pkg/controller/certificates/signer.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from control.api.certificates import (
    CLIENT_SIGNER,
    KUBELET_CLIENT_SIGNER,
    KUBELET_SERVING_SIGNER,
    CertificateSigningRequest,
)
from control.api.signing import Asked

_SIGNS, _ENCIPHERS = "digital signature", "key encipherment"
_CLIENT, _SERVER = "client auth", "server auth"
_NODES, _NODE = "system:nodes", "system:node:"


def refusal(signer: str, asked: Asked, usages: Collection[str]) -> str:
    """Return why a signer of ``SIGNERS`` does not sign a request; empty if it does."""
    return SIGNERS[signer](asked, usages)


def _client(_: Asked, usages: Collection[str]) -> str:
    for usage in usages:
        if usage not in (_SIGNS, _ENCIPHERS, _CLIENT):
            return f"invalid usage for client certificate: {usage}"
    if _CLIENT not in usages:
        return f"missing required usage for client certificate: {_CLIENT}"
    return ""


def _kubelet_client(asked: Asked, usages: Collection[str]) -> str:
    held = {
        "DNS": asked.dns_names,
        "Email": asked.emails,
        "IP": asked.ips,
        "URI": asked.uris,
    }
    return _first(
        _of_nodes(asked),
        *_not_allowed(held),
        _of_a_node(asked),
        _exactly(usages, _CLIENT),
    )


def _kubelet_serving(asked: Asked, usages: Collection[str]) -> str:
    named = asked.dns_names or asked.ips
    return _first(
        _of_nodes(asked),
        "" if named else "DNS or IP subjectAltName is required",
        *_not_allowed({"Email": asked.emails, "URI": asked.uris}),
        _exactly(usages, _SERVER),
        _of_a_node(asked),
    )


SIGNERS: Mapping[str, Callable[[Asked, Collection[str]], str]] = {
    CLIENT_SIGNER: _client,
    KUBELET_CLIENT_SIGNER: _kubelet_client,
    KUBELET_SERVING_SIGNER: _kubelet_serving,
}


def _first(*faults: str) -> str:
    return next(filter(None, faults), "")


def _of_nodes(asked: Asked) -> str:
    return "" if asked.groups == [_NODES] else f"subject organization is not {_NODES}"


def _of_a_node(asked: Asked) -> str:
    fits = asked.user.startswith(_NODE)
    return "" if fits else f"subject common name does not begin with {_NODE}"


def _not_allowed(held: Mapping[str, Collection[object]]) -> Iterable[str]:
    return (f"{name} subjectAltNames are not allowed" for name, given in held.items() if given)


def _exactly(usages: Collection[str], needed: str) -> str:
    full = {_SIGNS, _ENCIPHERS, needed}
    fits = set(usages) in (full, full - {_ENCIPHERS})  # not every key can encipher
    return "" if fits else f"usages did not match [{' '.join(sorted(full))}]"


def has_condition(request: CertificateSigningRequest, *types: str) -> bool:
    """Return True if a request has a condition of one of the types."""
    return any(item.type in types for item in request.status.conditions)
