"""Kubernetes' questions to the authorizer. Source: pkg/cel/library/authz.go of k8s.io/apiserver."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

from control.api.cel.errors import EvaluationError
from control.api.cel.functions.table import Overload
from control.api.cel.meter import of_text
from control.api.cel.types import Field, Type
from control.api.selectors import SelectorError, parse_fields

_CHECK = 350_000  # units: two checks an expression
_STEPS = 200  # what a check takes in truth
_SELECTOR = 10


class Asked(NamedTuple):
    """What a check asks; ``account`` is namespace and name of another user, or nothing."""

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    account: tuple[str, str] = ("", "")
    fields: str = ""  # a selector


_NOTHING = Asked()


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is allowed."""

    CEL: ClassVar[str] = "kubernetes.authorization.Decision"
    allowed: bool
    reason: str = ""


Decide = Callable[[Asked], Decision]


@dataclass(frozen=True, slots=True)
class Check:
    """A check of a resource."""

    CEL: ClassVar[str] = "kubernetes.authorization.ResourceCheck"
    decide: Decide
    asked: Asked

    def check(self, verb: str) -> Decision:
        """Ask."""
        return self.decide(self.asked._replace(verb=verb))


@dataclass(frozen=True, slots=True)
class PathCheck(Check):
    """A check of a path that is no resource."""

    CEL: ClassVar[str] = "kubernetes.authorization.PathCheck"

    def check(self, verb: str) -> Decision:
        """Ask."""
        return self.decide(self.asked._replace(verb=verb.lower()))


@dataclass(frozen=True, slots=True)
class GroupCheck(Check):
    """A check of a group's resource, which is not named yet."""

    CEL: ClassVar[str] = "kubernetes.authorization.GroupCheck"


@dataclass(frozen=True, slots=True)
class Authorizer:
    """The variable ``authorizer``; ``resource`` is what the request is about."""

    CEL: ClassVar[str] = "kubernetes.authorization.Authorizer"
    decide: Decide
    resource: Asked = _NOTHING
    account: tuple[str, str] = ("", "")

    def field(self, name: str, _: object) -> Check:
        """Return the check of the request's resource."""
        if name != "requestResource":
            raise EvaluationError(f"no such key: {name}")
        return Check(self.decide, self.resource)

    def has(self, name: str) -> bool:
        """Return True for its one field."""
        return name == "requestResource"


_A, _P, _G, _R, _D = (each.CEL for each in (Authorizer, PathCheck, GroupCheck, Check, Decision))
AUTHORIZER = Type(_A, (), {"requestResource": Field(Type(_R), "requestResource")})


def _path(authorizer: Authorizer, path: str) -> PathCheck:
    if not path:
        raise EvaluationError("path must not be empty")
    return PathCheck(authorizer.decide, Asked(path=path, account=authorizer.account))


def _group(authorizer: Authorizer, group: str) -> GroupCheck:
    return GroupCheck(authorizer.decide, Asked(group=group, account=authorizer.account))


def _account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    return replace(authorizer, account=(namespace, name))


def _resource(check: GroupCheck, resource: str) -> Check:
    if not resource:
        raise EvaluationError("resource must not be empty")
    return Check(check.decide, check.asked._replace(resource=resource))


def _in_namespace(check: Check, value: str) -> Check:
    return replace(check, asked=check.asked._replace(namespace=value))


def _named(check: Check, value: str) -> Check:
    return replace(check, asked=check.asked._replace(name=value))


def _of_subresource(check: Check, value: str) -> Check:
    return replace(check, asked=check.asked._replace(subresource=value))


def _of_fields(check: Check, text: str) -> Check:
    """Ask about objects with these fields; what cannot be parsed is left out, as upstream."""
    try:
        parse_fields(text)
    except SelectorError:
        text = ""
    return replace(check, asked=check.asked._replace(fields=text))


def _of_labels(check: Check, _: str) -> Check:
    """Take a selector of labels; no authorizer of this server looks at it, as upstream's."""
    return check


def _selector_cost(_: Check, text: str) -> int:
    return _SELECTOR + of_text(len(text)) + len(text) * 25


def _check_cost(*_: object) -> int:
    return _CHECK


AUTHORIZATION = (
    Overload("path", f"{_A}.(string) {_P}", _path),
    Overload("group", f"{_A}.(string) {_G}", _group),
    Overload("serviceAccount", f"{_A}.(string, string) {_A}", _account),
    Overload("resource", f"{_G}.(string) {_R}", _resource),
    Overload("subresource", f"{_R}.(string) {_R}", _of_subresource),
    Overload("namespace", f"{_R}.(string) {_R}", _in_namespace),
    Overload("name", f"{_R}.(string) {_R}", _named),
    Overload("fieldSelector", f"{_R}.(string) {_R}", _of_fields, _selector_cost),
    Overload("labelSelector", f"{_R}.(string) {_R}", _of_labels, _selector_cost),
    Overload("check", f"{_R}.(string) {_D}", Check.check, _check_cost, _STEPS),
    Overload("check", f"{_P}.(string) {_D}", PathCheck.check, _check_cost, _STEPS),
    Overload("allowed", f"{_D}.() bool", lambda it: it.allowed),
    Overload("reason", f"{_D}.() string", lambda it: it.reason),
    Overload("errored", f"{_D}.() bool", lambda _: False),
    Overload("error", f"{_D}.() string", lambda _: ""),
)
