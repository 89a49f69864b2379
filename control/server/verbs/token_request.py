"""Issue tokens of ServiceAccounts: POST to ``serviceaccounts/NAME/token``.

Source: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
and k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage (token.go).
"""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from control.api import field
from control.api.base import encode
from control.api.kinds import NODE, POD, SECRET, SERVICE_ACCOUNT, Kind
from control.api.times import rfc3339
from control.server.state.server import ServerState
from control.server.verbs.read import find
from control.server.wire import errors
from control.server.wire.decode import read_message
from control.server.wire.info import storage_key
from control.server.wire.item import Wire
from control.server.wire.request import ApiRequest
from control.tokens import TokenSigner

_DEFAULT_SECONDS = 3600
_LEAST_SECONDS = 600
_MOST_SECONDS = 1 << 32
_PRIVATE = "kubernetes.io"
_BOUND: Mapping[str, Kind] = {"Pod": POD, "Secret": SECRET, "Node": NODE}


async def request_token(state: ServerState, request: ApiRequest) -> Wire:
    """Return a TokenRequest with its token; raises StatusError (400, 404, 409, 422)."""
    if state.tokens is None:
        raise errors.no_such_path()
    asked = read_message("authentication.TokenRequest", request.body.object())
    await state.cache.fresh()
    account = find(state, request.info).wire
    state.guard.check(request, None, encode(asked))
    spec, name = asked.get("spec", {}), (asked.get("metadata") or {}).get("name")
    if name not in (None, "", request.info.name):
        why = "must match the service account name if specified"
        found = [field.invalid("metadata.name", name, why)]
        raise errors.invalid(_TOKEN_REQUEST, request.info.name, found)
    seconds = _seconds(spec)
    audiences = spec.get("audiences") or list(state.tokens.audiences)
    bound = _bound_claims(state, request, spec.get("boundObjectRef"))
    now = int(state.now().timestamp())
    claims = _claims(state.tokens, account, now, seconds) | {"aud": audiences}
    claims[_PRIVATE] |= bound
    return read_message(
        "authentication.TokenRequest",
        {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": request.info.name,
                "namespace": request.info.namespace,
                "creationTimestamp": rfc3339(now),
            },
            "spec": spec | {"audiences": audiences, "expirationSeconds": seconds},
            "status": {
                "token": state.tokens.sign(claims),
                "expirationTimestamp": rfc3339(now + seconds),
            },
        },
    )


def _seconds(spec: Mapping[str, Any]) -> int:
    seconds = int(spec.get("expirationSeconds") or _DEFAULT_SECONDS)
    if _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        return seconds
    why = (
        "may not specify a duration less than 10 minutes"
        if seconds < _LEAST_SECONDS
        else "may not specify a duration larger than 2^32 seconds"
    )
    found = [field.invalid("spec.expirationSeconds", seconds, why)]
    raise errors.invalid(_TOKEN_REQUEST, "", found)


# The kind that errors name; it is never stored.
_TOKEN_REQUEST = Kind("authentication.k8s.io", "v1", "TokenRequest", "", SERVICE_ACCOUNT.model)


def _claims(signer: TokenSigner, account: Mapping[str, Any], now: int, seconds: int) -> Wire:
    metadata = account["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    return {
        "iss": signer.issuer,
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "iat": now,
        "nbf": now,
        "exp": now + seconds,
        "jti": str(uuid.uuid4()),
        _PRIVATE: {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": metadata["uid"]},
        },
    }


def _bound_claims(state: ServerState, request: ApiRequest, wanted: Wire | None) -> Wire:
    """Return the claims of the object that a token ends with."""
    if wanted is None:
        return {}
    kind = _BOUND.get(wanted.get("kind", ""))
    if kind is None or wanted.get("apiVersion") != "v1":
        version = wanted.get("apiVersion", "")
        version = version if "/" in version else f"/{version}"
        what = f"{version}, Kind={wanted.get('kind', '')}"
        raise errors.bad_request(f"cannot bind token to object of type {what}")
    name = wanted.get("name", "")
    namespace = request.info.namespace if kind.namespaced else ""
    item = state.cache.of(kind).get(storage_key(kind, namespace, name))
    if item is None:
        raise errors.not_found(kind, name)
    uid = item.wire["metadata"]["uid"]
    if wanted.get("uid", uid) != uid:
        why = (
            f"the UID in the bound object reference ({wanted['uid']}) does not match the UID in"
            f" record. The object might have been deleted and then recreated"
        )
        raise errors.conflict(replace(kind, plural=kind.name), name, why)
    claims: Wire = {kind.name.lower(): {"name": name, "uid": uid}}
    return claims | (_pod_claims(state, request, item.wire) if kind is POD else {})


def _pod_claims(state: ServerState, request: ApiRequest, pod: Mapping[str, Any]) -> Wire:
    """Return the claims of a Pod's node; refuse a Pod of another ServiceAccount."""
    if pod["spec"].get("serviceAccountName") != request.info.name:
        raise errors.bad_request(
            f'cannot bind token for serviceaccount "{request.info.name}" to pod running with'
            " different serviceaccount name."
        )
    name = pod["spec"].get("nodeName", "")
    node = state.cache.of(NODE).get(storage_key(NODE, "", name)) if name else None
    if not name:
        return {}
    return {"node": {"name": name} | ({"uid": node.wire["metadata"]["uid"]} if node else {})}
