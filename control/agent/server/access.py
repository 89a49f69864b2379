"""Who may use the agent's server: kubelet's authentication and authorization.

A client shows a certificate of the cluster's authority, or a bearer token, which the API server
reviews (TokenReview). What it may do, the API server says too (SubjectAccessReview): a path of the
server is a subresource of this node. The API server itself and administrators are not asked about.
Source: https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/ and KEP-2862
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from aiohttp import web

from control.agent.server.errors import HttpError
from control.client import ClientError

logger = logging.getLogger(__name__)

_USER = "kube-apiserver-kubelet-client"
_GROUP = "system:masters"
_VERBS = {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# A path, what it was called before there were finer names (KEP-2862), and what it is called now.
_FINE = {"/pods": "pods", "/healthz": "healthz", "/configz": "configz"}
_COARSE = {"/stats": "stats", "/metrics": "metrics", "/logs": "log"}
# kubelet's defaults, in seconds.
_TOKEN, _ALLOWED, _REFUSED = 120.0, 300.0, 30.0
_MOST = 1024  # answers that are kept

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def trusted(self) -> bool:
        """True for the API server and for administrators."""
        return self.name == _USER or _GROUP in self.groups


class Reviews(Protocol):
    """What the API server answers about others; both raise ClientError."""

    async def identify(self, token: str) -> Mapping[str, Any] | None:
        """Return the user of a token (a TokenReview's ``status.user``); None: it is not valid."""

    async def allows(self, review: Mapping[str, Any]) -> bool:
        """Answer a SubjectAccessReview's spec."""


class Access:
    """Checks the requests to one node's server; answers of the API server are kept for a while."""

    def __init__(
        self, node: str, reviews: Reviews | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Without ``reviews`` nobody but the API server and administrators may enter."""
        self._node, self._reviews = node, reviews
        self._callers: _Kept[Caller | None] = _Kept(clock)
        self._verdicts: _Kept[bool] = _Kept(clock)

    @property
    def takes_tokens(self) -> bool:
        """True if a client may come without a certificate."""
        return self._reviews is not None

    async def check(self, request: web.Request) -> None:
        """Raise HttpError 401, 403 or 500 if a request must not be served."""
        caller = await self._caller(request)
        if caller is None:
            raise HttpError(401, "Unauthorized")
        if caller.trusted:
            return
        verb = _VERBS.get(request.method, "")
        names = subresources(request.path)
        for name in names:
            if await self._allowed(caller, verb, name):
                return
        raise HttpError(
            403,
            f"Forbidden (user={caller.name}, verb={verb}, resource=nodes, "
            f"subresource(s)=[{' '.join(names)}])\n",
        )

    async def _caller(self, request: web.Request) -> Caller | None:
        found = request.transport and request.transport.get_extra_info("peercert")
        if found and (caller := of_certificate(found)):
            return caller
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if self._reviews is None or scheme.lower() != "bearer" or not token.strip():
            return None
        return await self._of_token(self._reviews, token.strip())

    async def _of_token(self, reviews: Reviews, token: str) -> Caller | None:
        known = self._callers.get(token)
        if known is not None:
            return known[0]
        try:
            user = await reviews.identify(token)
        except ClientError as err:
            logger.warning("a client's token cannot be reviewed: %s", err)
            raise HttpError(401, "Unauthorized") from err  # a stranger learns no more
        caller = of_user(user) if user is not None else None
        self._callers.put(token, caller, _TOKEN)
        return caller

    async def _allowed(self, caller: Caller, verb: str, name: str) -> bool:
        if self._reviews is None:
            return False
        known = self._verdicts.get((caller, verb, name))
        if known is not None:
            return known[0]
        try:
            allowed = await self._reviews.allows(_review(caller, verb, self._node, name))
        except ClientError as err:
            raise HttpError(
                500, f"Authorization error (user={caller.name}, verb={verb}): {err}"
            ) from err
        self._verdicts.put((caller, verb, name), allowed, _ALLOWED if allowed else _REFUSED)
        return allowed


def _review(caller: Caller, verb: str, node: str, subresource: str) -> dict[str, Any]:
    return {
        "user": caller.name,
        "groups": list(caller.groups),
        "uid": caller.uid,
        "extra": {key: list(values) for key, values in caller.extra},
        "resourceAttributes": {
            "verb": verb,
            "version": "v1",
            "resource": "nodes",
            "subresource": subresource,
            "name": node,
        },
    }


def subresources(path: str) -> tuple[str, ...]:
    """Return the subresources of a Node, one of which the caller must be allowed."""
    first = "/" + path.lstrip("/").partition("/")[0]
    if first in _COARSE:
        return (_COARSE[first],)
    return (_FINE[first], "proxy") if first in _FINE else ("proxy",)


def of_certificate(certificate: Mapping[str, Any]) -> Caller | None:
    """Return the user of a certificate that TLS has verified (``ssl.SSLSocket.getpeercert``).

    None: it names nobody, as one without a common name.
    """
    pairs = [pair for names in certificate.get("subject", ()) for pair in names]
    name = next((value for key, value in pairs if key == "commonName"), "")
    if not name:
        return None
    groups = tuple(value for key, value in pairs if key == "organizationName")
    return Caller(name, (*groups, "system:authenticated"))


def of_user(user: Mapping[str, Any]) -> Caller:
    """Return the user of a reviewed token."""
    extra = tuple((key, tuple(values)) for key, values in (user.get("extra") or {}).items())
    groups = tuple(user.get("groups") or ())
    return Caller(user.get("username", ""), groups, user.get("uid", ""), extra)


class _Kept(Generic[V]):
    """A bounded number of answers, each for a time of its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._items: OrderedDict[Hashable, tuple[V, float]] = OrderedDict()

    def get(self, key: Hashable) -> tuple[V] | None:
        """Return the answer in a tuple; None if it is not known, or too old."""
        kept = self._items.get(key)
        return (kept[0],) if kept is not None and self._clock() < kept[1] else None

    def put(self, key: Hashable, value: V, seconds: float) -> None:
        """Keep an answer; the oldest gives way."""
        self._items.pop(key, None)
        self._items[key] = value, self._clock() + seconds
        if len(self._items) > _MOST:
            self._items.popitem(last=False)
