"""Questions about who one is and what one may do: the review resources, and the one answer.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from control.server.access.authn import Authenticator
from control.server.pages.discovery import REVIEWS
from control.server.wire.body import Body
from control.server.wire.errors import bad_request, forbidden, method_not_allowed
from control.server.wire.info import RequestInfo
from control.server.wire.request import User

_ALL_RULES = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
_ALL_PATHS = {"verbs": ["*"], "nonResourceURLs": ["*"]}
_PATHS = {f"/apis/{r.group}/{r.version}/{r.plural}": r for r in REVIEWS}
Wire = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attributes:
    """What somebody wants to do."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""  # of what is not a resource


def authorize(user: User, attributes: Attributes) -> bool:
    """Whether a user may: everyone who is somebody may do everything, so far."""
    del attributes
    return not user.anonymous


def check(user: User, info: RequestInfo) -> None:
    """Whether a user may do what a request on a kind asks; raises StatusError (403)."""
    kind = info.kind
    names = (kind.group, kind.plural, info.subresource, info.namespace, info.name)
    if authorize(user, Attributes(info.verb, *names)):
        return
    resource = f"{kind.plural}/{info.subresource}" if info.subresource else kind.plural
    where = f'in the namespace "{info.namespace}"' if info.namespace else "at the cluster scope"
    why = (
        f'User "{user.name}" cannot {info.verb} resource "{resource}" in API group'
        f' "{kind.group}" {where}'
    )
    raise forbidden(kind, info.name, why)


def is_review(path: str) -> bool:
    """Whether a path is that of a review resource."""
    return path.rstrip("/") in _PATHS


def review(method: str, path: str, user: User, body: Body, known: Authenticator) -> Wire:
    """The answered review of a request; raises StatusError (400, 405, 415)."""
    found = _PATHS[path.rstrip("/")]
    if method != "POST":
        raise method_not_allowed()
    question = body.object()
    spec = question.get("spec", {})
    if not isinstance(spec, dict):
        raise bad_request("the spec of a review must be an object")
    answer = _ANSWERS[found.kind](user, spec, known)
    head = {"kind": found.kind, "apiVersion": f"{found.group}/{found.version}"}
    return head | {"metadata": question.get("metadata", {}), "spec": spec, "status": answer}


def _own_access(user: User, spec: Mapping[str, Any], _: Authenticator) -> Wire:
    return {"allowed": authorize(user, _attributes(spec))}


def _access(_: User, spec: Mapping[str, Any], __: Authenticator) -> Wire:
    who = User(str(spec.get("user", "")), tuple(spec.get("groups", ())))
    return {"allowed": authorize(who, _attributes(spec))}


def _attributes(spec: Mapping[str, Any]) -> Attributes:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if not isinstance(resource or other, dict) or (resource and other):
        raise bad_request(
            "spec.resourceAttributes: Invalid value: exactly one of nonResourceAttributes or"
            " resourceAttributes must be specified"
        )
    if other:
        return Attributes(str(other.get("verb", "")), path=str(other.get("path", "")))
    names = ("verb", "group", "resource", "subresource", "namespace", "name")
    given = resource or {}
    return Attributes(**{name: str(given.get(name, "")) for name in names})


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
