"""Find the user of a ServiceAccount's token.

A token ends with its account, and with the object that it is bound to: both must exist, with the
uid of the token. Source: k8s.io/kubernetes/pkg/serviceaccount (claims.go)
"""

import base64
import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from control.api.kinds import NODE, POD, SECRET, SERVICE_ACCOUNT, Kind
from control.api.times import parse_time
from control.server.state.server import ServerState
from control.server.wire.info import storage_key
from control.server.wire.item import Item
from control.server.wire.request import User
from control.tokens import SECRET_ISSUER, Claims

_PREFIX = "system:serviceaccount:"
_CLAIM = "kubernetes.io/serviceaccount"
_EXTRA = "authentication.kubernetes.io"
# A token counts for a minute after its object's end, as upstream: the object may still need it.
_LEEWAY = 60.0
_BOUND = (("serviceaccount", SERVICE_ACCOUNT), ("pod", POD), ("secret", SECRET))


class AccountTokens:
    """The tokens that a server has issued."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def user(self, token: str, audiences: Iterable[str] = ()) -> tuple[User, list[str]] | None:
        """Return the user of a token and those of the audiences that it is for.

        None if the token is not valid, not for any audience, or has ended with its objects.
        """
        signer = self._state.tokens
        claims = signer.verify(token, self._state.now()) if signer else None
        if signer is None or claims is None:
            return None
        wanted = tuple(audiences) or signer.audiences
        if claims["iss"] == SECRET_ISSUER:
            found = self._of_secret(claims, token)
            common = [each for each in wanted if each in signer.audiences]
            return (found, common) if found and common else None
        given = claims.get("aud", [])
        meant = given if isinstance(given, list) else [given]
        common = [each for each in wanted if each in meant]
        own = claims.get("kubernetes.io")
        if not common or not isinstance(own, dict) or not self._live(own):
            return None
        return _user(claims, own), common

    def _of_secret(self, claims: Claims, token: str) -> User | None:
        """Return the user of a token that a Secret holds, as long as it holds it."""
        parts = ("namespace", "secret.name", "service-account.name", "service-account.uid")
        namespace, secret, name, uid = (claims.get(f"{_CLAIM}/{part}", "") for part in parts)
        held = self._state.cache.of(SECRET).get(storage_key(SECRET, namespace, secret))
        data = held.wire.get("data", {}) if held and not self._has_ended(held) else {}
        given = base64.b64encode(token.encode()).decode()
        if not hmac.compare_digest(data.get("token", ""), given):
            return None
        account = {"name": name, "uid": uid}
        if not self._exists(SERVICE_ACCOUNT, namespace, account):
            return None
        return _account_user(namespace, account)

    def _live(self, own: Mapping[str, Any]) -> bool:
        """Return True if the objects of a token exist."""
        namespace = own.get("namespace", "")
        bound = [*_BOUND, *([] if "pod" in own else [("node", NODE)])]
        return "serviceaccount" in own and all(
            self._exists(kind, namespace, own[name]) for name, kind in bound if name in own
        )

    def _exists(self, kind: Kind, namespace: str, wanted: Mapping[str, str]) -> bool:
        item = self._state.cache.of(kind).get(storage_key(kind, namespace, wanted["name"]))
        return (
            item is not None
            and item.wire["metadata"]["uid"] == wanted["uid"]
            and not self._has_ended(item)
        )

    def _has_ended(self, item: Item) -> bool:
        ended = parse_time(item.wire["metadata"].get("deletionTimestamp"))
        return ended is not None and (self._state.now() - ended).total_seconds() > _LEEWAY


def _user(claims: Claims, own: Mapping[str, Any]) -> User:
    user = _account_user(own["namespace"], own["serviceaccount"])
    return replace(user, extra=dict(_extra(claims, own)))


def _account_user(namespace: str, account: Mapping[str, str]) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return User(
        f"{_PREFIX}{namespace}:{account['name']}",
        (*groups, "system:authenticated"),
        account["uid"],
    )


def _extra(claims: Claims, own: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield f"{_EXTRA}/credential-id", (f"JTI={claims['jti']}",)
    for name in ("pod", "node"):
        for part in ("name", "uid"):
            if value := own.get(name, {}).get(part):
                yield f"{_EXTRA}/{name}-{part}", (value,)
