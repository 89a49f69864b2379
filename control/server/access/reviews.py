"""Answer the review resources, which ask about a user's identity and permissions.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

from collections.abc import Callable, Mapping
from typing import Any

from control.api.types.table import message_name
from control.server.access.authn import Authenticator
from control.server.access.authz import AccessAttributes, authorize
from control.server.pages.discovery import REVIEWS
from control.server.wire.body import Body
from control.server.wire.decode import read_message
from control.server.wire.errors import bad_request, method_not_allowed
from control.server.wire.request import User

_ALL_RULES = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
_ALL_PATHS = {"verbs": ["*"], "nonResourceURLs": ["*"]}
_PATHS = {f"/apis/{r.group}/{r.version}/{r.plural}": r for r in REVIEWS}
Wire = dict[str, Any]


def is_review(path: str) -> bool:
    """Return True for the path of a review resource."""
    return path.rstrip("/") in _PATHS


def review(method: str, path: str, user: User, body: Body, known: Authenticator) -> Wire:
    """Return the review of a request with its answer; raises StatusError (400, 405, 415)."""
    found = _PATHS[path.rstrip("/")]
    if method != "POST":
        raise method_not_allowed()
    message = message_name(found.group, found.kind)
    question = read_message(message, body.object())
    spec = question.get("spec", {})
    answer = _ANSWERS[found.kind](user, spec, known)
    head = {"kind": found.kind, "apiVersion": f"{found.group}/{found.version}"}
    asked = {name: question[name] for name in ("metadata", "spec") if name in question}
    return read_message(message, head | asked | {"status": answer})


def _own_access(user: User, spec: Mapping[str, Any], _: Authenticator) -> Wire:
    return {"allowed": authorize(user, _attributes(spec))}


def _access(_: User, spec: Mapping[str, Any], __: Authenticator) -> Wire:
    user = User(spec.get("user", ""), tuple(spec.get("groups", ())))
    return {"allowed": authorize(user, _attributes(spec))}


def _attributes(spec: Mapping[str, Any]) -> AccessAttributes:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (other is None):
        raise bad_request(
            "spec.resourceAttributes: Invalid value: exactly one of nonResourceAttributes or"
            " resourceAttributes must be specified"
        )
    if other is not None:
        return AccessAttributes(other.get("verb", ""), path=other.get("path", ""))
    names = ("verb", "group", "resource", "subresource", "namespace", "name")
    given = resource or {}
    return AccessAttributes(**{name: given.get(name, "") for name in names})


def _rules(_: User, __: Mapping[str, Any], ___: Authenticator) -> Wire:
    return {"resourceRules": [_ALL_RULES], "nonResourceRules": [_ALL_PATHS], "incomplete": False}


def _self(user: User, _: Mapping[str, Any], __: Authenticator) -> Wire:
    return {"userInfo": {"username": user.name, "groups": list(user.groups)}}


def _token(_: User, spec: Mapping[str, Any], known: Authenticator) -> Wire:
    user = known.user(None, f"Bearer {spec.get('token', '')}")
    if user is None:
        return {"authenticated": False, "error": "unknown token"}
    return {
        "authenticated": True,
        "user": {"username": user.name, "groups": list(user.groups)},
    }


_ANSWERS: dict[str, Callable[[User, Mapping[str, Any], Authenticator], Wire]] = {
    "SelfSubjectAccessReview": _own_access,
    "SubjectAccessReview": _access,
    "SelfSubjectRulesReview": _rules,
    "SelfSubjectReview": _self,
    "TokenReview": _token,
}
