"""Find the user of a ServiceAccount's token.

A token ends with its account, and with the object that it is bound to: both must exist, with the
uid of the token. Source: k8s.io/kubernetes/pkg/serviceaccount (claims.go)
"""

import base64
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from control.api.kinds import NODE, POD, SECRET, SERVICE_ACCOUNT, Kind
from control.api.times import parse_time
from control.server.access.legacy_tokens import LegacyTokens
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

    def __init__(self, state: ServerState, legacy: LegacyTokens | None = None) -> None:
        """``legacy`` notes the uses of tokens that Secrets hold; default: nobody does."""
        self._state, self._legacy = state, legacy

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
        meant = _audiences(claims)
        common = [each for each in wanted if each in meant]
        own = claims.get("kubernetes.io")
        if not common or not isinstance(own, dict) or not self._live(own):
            return None
        return _user(claims, own), common

    def why_not(self, token: str, audiences: Iterable[str] = ()) -> str:
        """Say why a token has no user for any of the audiences, as upstream's TokenReviews."""
        signer, why = self._state.tokens, "invalid bearer token"
        claims = signer.verify(token, self._state.now()) if signer else None
        if signer is None or claims is None or claims["iss"] == SECRET_ISSUER:
            return why
        wanted, meant = tuple(audiences) or signer.audiences, _audiences(claims)
        if set(wanted) & set(meant):
            return why
        given = f"token audiences {_listed(meant)}"
        return f"[{why}, {given} is invalid for the target audiences {_listed(wanted)}]"

    def _of_secret(self, claims: Claims, token: str) -> User | None:
        """Return the user of a token that a Secret holds, as long as it holds it."""
        parts = ("namespace", "secret.name", "service-account.name", "service-account.uid")
        namespace, secret, name, uid = (claims.get(f"{_CLAIM}/{part}", "") for part in parts)
        held = self._state.cache.of(SECRET).get(storage_key(SECRET, namespace, secret))
        data = held.wire.get("data", {}) if held and not self._has_ended(held) else {}
        given = base64.b64encode(token.encode()).decode()
        if held is None or not hmac.compare_digest(data.get("token", ""), given):
            return None
        account = {"name": name, "uid": uid}
        if not self._exists(SERVICE_ACCOUNT, namespace, account):
            return None
        warning = self._noted(held, namespace, name)
        return None if warning is None else _account_user(namespace, account, warning)

    def _noted(self, secret: Item, namespace: str, name: str) -> str | None:
        """Note a use of a Secret's token; return the warning, None for one that is invalid."""
        item = self._state.cache.of(SERVICE_ACCOUNT).get(
            storage_key(SERVICE_ACCOUNT, namespace, name)
        )
        if self._legacy is None:
            return ""
        return self._legacy.used(secret, item.wire if item else {})

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


def _audiences(claims: Claims) -> list[str]:
    given = claims.get("aud", [])
    return given if isinstance(given, list) else [given]


def _listed(names: Iterable[str]) -> str:
    """Show texts as Go's ``%q`` does."""
    return f"[{' '.join(json.dumps(name, ensure_ascii=False) for name in names)}]"


def _user(claims: Claims, own: Mapping[str, Any]) -> User:
    user = _account_user(own["namespace"], own["serviceaccount"])
    return replace(user, extra=dict(_extra(claims, own)))


def _account_user(namespace: str, account: Mapping[str, str], warning: str = "") -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return User(
        f"{_PREFIX}{namespace}:{account['name']}",
        (*groups, "system:authenticated"),
        account["uid"],
        warning=warning,
    )


def _extra(claims: Claims, own: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield f"{_EXTRA}/credential-id", (f"JTI={claims['jti']}",)
    for name in ("pod", "node"):
        for part in ("name", "uid"):
            if value := own.get(name, {}).get(part):
                yield f"{_EXTRA}/{name}-{part}", (value,)
