"""Act as another user: the headers ``Impersonate-*``.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
and k8s.io/apiserver/pkg/endpoints/filters/impersonation
"""

from collections import defaultdict
from collections.abc import Iterator
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from control.server.access.attributes import AccessAttributes
from control.server.access.authz import Authorizer, refusal
from control.server.wire import errors
from control.server.wire.request import User

_AUTHENTICATED = "system:authenticated"
_UNAUTHENTICATED = "system:unauthenticated"
_ACCOUNT = "system:serviceaccount:"
_GROUP = "authentication.k8s.io"
_EXTRA = "impersonate-extra-"


def impersonated(authorizer: Authorizer, user: User, headers: CIMultiDictProxy[str]) -> User:
    """Return the user that the headers name, or the same one; raises StatusError (400, 403)."""
    if not any(name.lower().startswith("impersonate-") for name in headers):
        return user
    name = header_text(headers.get("Impersonate-User", ""))
    wanted = User(
        name,
        tuple(map(header_text, headers.getall("Impersonate-Group", ()))),
        header_text(headers.get("Impersonate-Uid", "")),
        _extra(headers),
    )
    if not name:
        if wanted != User(""):
            why = f"requested {wanted.wire()} without impersonating a user name"
            raise errors.bad_request(why)
        return user
    for asked in _asked(wanted):
        verdict = authorizer.decide(user, asked)
        if not verdict.allowed:
            raise errors.forbidden_named(
                asked.group, asked.resource, asked.name, refusal(user, asked, verdict)
            )
    return User(name, _groups(wanted), wanted.uid, wanted.extra)


def _extra(headers: CIMultiDictProxy[str]) -> dict[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in headers.items():
        if name.lower().startswith(_EXTRA):
            found[unquote(name.lower().removeprefix(_EXTRA))].append(header_text(value))
    return {name: tuple(values) for name, values in found.items()}


def header_text(value: str) -> str:
    """Return a header's value as text; bytes that are no UTF-8 are surrogates in aiohttp's."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _asked(wanted: User) -> Iterator[AccessAttributes]:
    """Yield every permission that acting as a user needs."""
    if account := _account(wanted.name):
        namespace, name = account
        yield AccessAttributes("impersonate", "", "serviceaccounts", "", namespace, name)
    else:
        yield AccessAttributes("impersonate", "", "users", name=wanted.name)
    for group in wanted.groups:
        yield AccessAttributes("impersonate", "", "groups", name=group)
    for key, values in wanted.extra.items():
        for value in values:
            yield AccessAttributes("impersonate", _GROUP, "userextras", key, name=value)
    if wanted.uid:
        yield AccessAttributes("impersonate", _GROUP, "uids", name=wanted.uid)


def _account(name: str) -> tuple[str, str] | None:
    """Return the (namespace, name) of a ServiceAccount's user; None for other users."""
    namespace, colon, account = name.removeprefix(_ACCOUNT).partition(":")
    if not name.startswith(_ACCOUNT) or not colon or ":" in account:
        return None
    return namespace, account


def _groups(wanted: User) -> tuple[str, ...]:
    """Return the groups, with those that every such user has."""
    groups = wanted.groups
    if not groups and (account := _account(wanted.name)):
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    last = _UNAUTHENTICATED if wanted.anonymous else _AUTHENTICATED
    return groups if last in groups else (*groups, last)
