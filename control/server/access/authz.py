"""Authorize requests by the modes of ``--authorization-mode``, which are asked in their order.

Members of ``system:masters`` may do everything, as upstream's. Source:
https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

from collections.abc import Mapping
from typing import Protocol

from control.server.access.attributes import AccessAttributes, Verdict, selected
from control.server.access.node import NodeAuthorizer
from control.server.access.rbac import RoleIndex
from control.server.pages.routes import is_public
from control.server.state.watch_cache import WatchCache
from control.server.wire import errors
from control.server.wire.info import RequestInfo
from control.server.wire.request import User

MASTERS = "system:masters"
MODES = ("Node", "RBAC", "AlwaysAllow", "AlwaysDeny")
_STREAMS = ("attach", "exec", "portforward")
_ALLOWED = Verdict(True)


class Mode(Protocol):
    """One way to authorize."""

    def decide(self, user: User, asked: AccessAttributes) -> Verdict:
        """Return whether this mode allows an action; another one may still allow it."""


class AlwaysAllow:
    """Allows everything to known users, and the public pages to others."""

    def decide(self, user: User, asked: AccessAttributes) -> Verdict:
        """Return the verdict."""
        return Verdict(not user.anonymous or is_public(asked.path))


class AlwaysDeny:
    """Allows nothing."""

    def decide(self, user: User, asked: AccessAttributes) -> Verdict:
        """Return the verdict."""
        del user, asked
        return Verdict(False, "Everything is forbidden.")


class Authorizer:
    """All modes of a server, in their order."""

    def __init__(self, cache: WatchCache, modes: tuple[str, ...]) -> None:
        self.roles = RoleIndex(cache)
        known: Mapping[str, Mode] = {
            "AlwaysAllow": AlwaysAllow(),
            "AlwaysDeny": AlwaysDeny(),
            "Node": NodeAuthorizer(cache),
            "RBAC": self.roles,
        }
        self.modes = modes
        self._modes = tuple(known[mode] for mode in modes)

    def decide(self, user: User, asked: AccessAttributes) -> Verdict:
        """Return the first allowing verdict, else the reasons of all modes."""
        if MASTERS in user.groups:
            return _ALLOWED
        reasons = []
        for mode in self._modes:
            verdict = mode.decide(user, asked)
            if verdict.allowed:
                return verdict
            if verdict.reason:
                reasons.append(verdict.reason)
        return Verdict(False, "\n".join(reasons))

    def check(self, user: User, info: RequestInfo, asked: AccessAttributes) -> None:
        """Refuse a request on a kind that the user may not make; raises StatusError (403)."""
        self.require(user, asked, info)
        if asked.subresource in _STREAMS and asked.verb == "get":
            # A WebSocket begins with a GET, and does what a POST does.
            self.require(user, asked._replace(verb="create"), info)

    def require(self, user: User, asked: AccessAttributes, info: RequestInfo) -> None:
        """Refuse an action on a kind; raises StatusError (403)."""
        verdict = self.decide(user, asked)
        if not verdict.allowed:
            raise errors.forbidden(info.kind, asked.name, refusal(user, asked, verdict))

    def check_path(self, user: User, method: str, path: str) -> None:
        """Refuse a request on a path that is no resource; raises StatusError (403)."""
        asked = AccessAttributes(method.lower(), path=path)
        verdict = self.decide(user, asked)
        if not verdict.allowed:
            raise errors.forbidden_path(refusal(user, asked, verdict))


def attributes_of(info: RequestInfo, query: Mapping[str, str]) -> AccessAttributes:
    """Return what a request on a kind needs permission for."""
    kind, name = info.kind, info.name
    if info.verb in ("list", "watch") and "fieldSelector" in query:
        name = name or selected(query["fieldSelector"], "metadata.name")
    if info.subresource == "binding" and not name:  # POST .../namespaces/NAME/bindings
        return AccessAttributes(info.verb, kind.group, "bindings", namespace=info.namespace)
    namespace = info.name if kind.plural == "namespaces" and not kind.group else info.namespace
    selector = query.get("fieldSelector", "") if kind.plural == "pods" else ""
    names = (kind.group, kind.plural, info.subresource, namespace, name)
    return AccessAttributes(info.verb, *names, selector=selector)


def refusal(user: User, asked: AccessAttributes, verdict: Verdict) -> str:
    """Return upstream's sentence about a refused action."""
    if asked.path:
        text = f'User "{user.name}" cannot {asked.verb} path "{asked.path}"'
    else:
        sub = f"/{asked.subresource}" if asked.subresource else ""
        where = "at the cluster scope"
        if asked.namespace:
            where = f'in the namespace "{asked.namespace}"'
        text = (
            f'User "{user.name}" cannot {asked.verb} resource "{asked.resource}{sub}"'
            f' in API group "{asked.group}" {where}'
        )
    return f"{text}: {verdict.reason}" if verdict.reason else text
