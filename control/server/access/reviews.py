"""Answer the review resources, which ask about a user's identity and permissions.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from control.api import field
from control.api.field import FieldError
from control.api.types.table import message_name
from control.server.access import selected
from control.server.access.attributes import AccessAttributes
from control.server.access.authn import Authenticator
from control.server.access.authz import MASTERS, Authorizer, refusal
from control.server.access.node import node_of
from control.server.pages.discovery import REVIEWS, ReviewResource
from control.server.wire.body import Body
from control.server.wire.decode import read_message
from control.server.wire.errors import (
    bad_request,
    forbidden_resource,
    invalid_review,
    method_not_allowed,
)
from control.server.wire.request import User

_ALL_RULES = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
_ALL_PATHS = {"verbs": ["*"], "nonResourceURLs": ["*"]}
_NODE_RULES = "node authorizer does not support user rule resolution"
_NOTHING_ASKED = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
_NOBODY = "at least one of user or group must be specified"
# What reviews of a kind must name.
_NEEDED = (
    ("SelfSubjectRulesReview", "namespace", "no namespace on request"),
    ("TokenReview", "token", "token is required for TokenReview in authentication"),
)
Wire = dict[str, Any]


class ReviewTarget(Struct, frozen=True):
    """A review resource, and the namespace of its path if it is namespaced."""

    resource: ReviewResource
    namespace: str = ""

    def attributes(self) -> AccessAttributes:
        """Return what the review needs permission for."""
        found = self.resource
        return AccessAttributes("create", found.group, found.plural, namespace=self.namespace)


class Reviewer(Struct, frozen=True):
    """Who asks, and what the answers come from."""

    user: User
    known: Authenticator
    authorizer: Authorizer


def review_at(path: str) -> ReviewTarget | None:
    """Return the review resource at a path; None for any other path."""
    match path.strip("/").split("/"):
        case ["apis", group, version, plural]:
            namespace, namespaced = "", False
        case ["apis", group, version, "namespaces", namespace, plural]:
            namespaced = True
        case _:
            return None
    for found in REVIEWS:
        if (found.group, found.version, found.plural) == (group, version, plural):
            return ReviewTarget(found, namespace) if found.namespaced == namespaced else None
    return None


def check_review(reviewer: Reviewer, method: str, target: ReviewTarget) -> None:
    """Refuse a review that a user may not ask for; raises StatusError (403, 405)."""
    if method != "POST":
        raise method_not_allowed()
    found, asked = target.resource, target.attributes()
    verdict = reviewer.authorizer.decide(reviewer.user, asked)
    if not verdict.allowed:
        raise forbidden_resource(found.group, found.plural, refusal(reviewer.user, asked, verdict))


def review(reviewer: Reviewer, target: ReviewTarget, body: Body) -> Wire:
    """Return the review of a request with its answer; raises StatusError (400, 415)."""
    found = target.resource
    message = message_name(found.group, found.kind)
    question = read_message(message, body.object())
    spec = question.get("spec", {})
    if found.kind.endswith("AccessReview"):
        wrong = _named(question.get("metadata") or {}, found) + _errors(found.kind, spec)
        if found.namespaced:
            wrong += _elsewhere(spec, target.namespace)
        if wrong:
            raise invalid_review(found.kind, found.group, wrong)
    for kind, name, why in _NEEDED:
        if kind == found.kind and not spec.get(name):
            raise bad_request(why)
    answer = _ANSWERS[found.kind](reviewer, spec)
    head = {"kind": found.kind, "apiVersion": f"{found.group}/{found.version}"}
    asked = {name: question[name] for name in ("metadata", "spec") if name in question}
    return read_message(message, head | asked | {"status": answer})


def _errors(kind: str, spec: Mapping[str, Any]) -> list[FieldError]:
    """Return what is wrong with the question of an access review."""
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    found = []
    if resource is not None and other is not None:
        why = "cannot be specified in combination with resourceAttributes"
        found.append(field.invalid("spec.nonResourceAttributes", other, why))
    if resource is None and other is None:
        found.append(field.invalid("spec.resourceAttributes", None, _NOTHING_ASKED))
    if not kind.startswith("Self") and not spec.get("user") and not spec.get("groups"):
        found.append(field.invalid("spec.user", spec.get("user", ""), _NOBODY))
    return found + selected.check(resource or {})


def _named(metadata: Mapping[str, Any], asked: ReviewResource) -> list[FieldError]:
    """Return an error for metadata: a review is stored nowhere, so it has none."""
    kept = ("managedFields", "namespace") if asked.namespaced else ("managedFields",)
    if not any(value for name, value in metadata.items() if name not in kept):
        return []
    why = "must be empty except for namespace" if asked.namespaced else "must be empty"
    return [field.invalid("metadata", metadata, why)]


def _elsewhere(spec: Mapping[str, Any], namespace: str) -> list[FieldError]:
    """Return the errors of a question about more than the namespace of its path."""
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    found = []
    if resource is not None and (given := resource.get("namespace", "")) != namespace:
        where, why = "spec.resourceAttributes.namespace", "must match metadata.namespace"
        found.append(field.invalid(where, given, why))
    if other is not None:
        why = "disallowed on this kind of request"
        found.append(field.invalid("spec.nonResourceAttributes", other, why))
    return found


def _own_access(reviewer: Reviewer, spec: Mapping[str, Any]) -> Wire:
    return _answered(reviewer.authorizer, reviewer.user, spec)


def _access(reviewer: Reviewer, spec: Mapping[str, Any]) -> Wire:
    groups = tuple(spec.get("groups", ()))
    return _answered(reviewer.authorizer, User(spec.get("user", ""), groups), spec)


def _answered(authorizer: Authorizer, user: User, spec: Mapping[str, Any]) -> Wire:
    verdict = authorizer.decide(user, _attributes(spec))
    made: Wire = {"allowed": verdict.allowed}
    if wrong := selected.ignored(spec.get("resourceAttributes") or {}):
        made["evaluationError"] = wrong
    return made | ({"reason": verdict.reason} if verdict.reason else {})


def _attributes(spec: Mapping[str, Any]) -> AccessAttributes:
    given, other = spec.get("resourceAttributes") or {}, spec.get("nonResourceAttributes")
    if other is not None:
        return AccessAttributes(other.get("verb", ""), path=other.get("path", ""))
    names = ("verb", "group", "resource", "subresource", "namespace", "name")
    asked = {name: given.get(name, "") for name in names}
    return AccessAttributes(**asked, selector=selected.field_selector(given))


def _rules(reviewer: Reviewer, spec: Mapping[str, Any]) -> Wire:
    authorizer, user = reviewer.authorizer, reviewer.user
    if "AlwaysAllow" in authorizer.modes or MASTERS in user.groups:
        return {
            "resourceRules": [_ALL_RULES],
            "nonResourceRules": [_ALL_PATHS],
            "incomplete": False,
        }
    rules = authorizer.roles.powers(user, spec.get("namespace", "")).rules
    made: Wire = {
        "resourceRules": [rule.wire() for rule in rules if not rule.paths],
        "nonResourceRules": [rule.wire() for rule in rules if rule.paths],
        "incomplete": "Node" in authorizer.modes and node_of(user) is not None,
    }
    return made | ({"evaluationError": _NODE_RULES} if made["incomplete"] else {})


def _self(reviewer: Reviewer, _: Mapping[str, Any]) -> Wire:
    return {"userInfo": reviewer.user.wire()}


def _token(reviewer: Reviewer, spec: Mapping[str, Any]) -> Wire:
    token, audiences = spec.get("token", ""), tuple(spec.get("audiences") or ())
    accounts = reviewer.known.accounts
    if accounts and (found := accounts.user(token, audiences)):
        return {"authenticated": True, "user": found[0].wire(), "audiences": found[1]}
    user = reviewer.known.user(None, f"Bearer {token}")
    if user is None or audiences:
        why = accounts.why_not(token, audiences) if accounts else "invalid bearer token"
        return {"authenticated": False, "error": why}
    return {"authenticated": True, "user": user.wire()}


_ANSWERS: dict[str, Callable[[Reviewer, Mapping[str, Any]], Wire]] = {
    "LocalSubjectAccessReview": _access,
    "SelfSubjectAccessReview": _own_access,
    "SubjectAccessReview": _access,
    "SelfSubjectRulesReview": _rules,
    "SelfSubjectReview": _self,
    "TokenReview": _token,
}
