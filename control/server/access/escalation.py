"""Refuse roles and bindings that give more than their author has.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
and k8s.io/kubernetes/pkg/registry/rbac/{clusterrole,rolebinding}/policybased
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from control.api.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from control.api.rbac import GROUP
from control.server.access.attributes import AccessAttributes
from control.server.access.authz import MASTERS, Authorizer
from control.server.access.rbac import Powers, Rule, rule_of
from control.server.wire import errors
from control.server.wire.item import Item
from control.server.wire.request import ApiRequest, User

_ROLES = (ROLE, CLUSTER_ROLE)
_BINDINGS = (ROLE_BINDING, CLUSTER_ROLE_BINDING)
# Permissions of one write that are compared: a rule is a product of its lists.
_MOST_COMPARED = 100_000
_EVERYTHING = (
    AccessAttributes("*", "*", "*"),
    AccessAttributes("*", path="*"),
)


def check_grant(
    authorizer: Authorizer, request: ApiRequest, old: Mapping[str, Any] | None, new: Item
) -> None:
    """Refuse a role or a binding that gives what its author does not have (403, 404)."""
    if MASTERS in request.user.groups:
        return
    if request.info.kind in _ROLES:
        _check_role(authorizer, request, old, new)
    elif request.info.kind in _BINDINGS:
        _check_binding(authorizer, request, old, new)


def _check_role(
    authorizer: Authorizer, request: ApiRequest, old: Mapping[str, Any] | None, new: Item
) -> None:
    kind, wire = request.info.kind, new.wire
    name = wire["metadata"]["name"]
    before = old or {}
    same = [before.get(part) == wire.get(part) for part in ("rules", "aggregationRule")]
    namespace = request.info.namespace
    asked = AccessAttributes("escalate", GROUP, kind.plural, "", namespace, name)
    if all(same) or authorizer.decide(request.user, asked).allowed:
        return
    powers = authorizer.roles.powers(request.user, namespace)
    if wire.get("aggregationRule") and not same[1] and not _has_all(powers, _EVERYTHING):
        why = "must have cluster-admin privileges to use an aggregationRule"
        raise errors.forbidden(kind, name, why)
    _check_covered(request, powers, map(rule_of, wire.get("rules") or ()), name)


def _check_binding(
    authorizer: Authorizer, request: ApiRequest, old: Mapping[str, Any] | None, new: Item
) -> None:
    wire, namespace = new.wire, request.info.namespace
    parts = ("roleRef", "subjects")
    if old is not None and all(old.get(part) == wire.get(part) for part in parts):
        return
    role = wire["roleRef"]
    kind = ROLE if role["kind"] == "Role" else CLUSTER_ROLE
    asked = AccessAttributes("bind", GROUP, kind.plural, "", namespace, role["name"])
    if authorizer.decide(request.user, asked).allowed:
        return
    rules = authorizer.roles.rules(kind, namespace, role["name"])
    if rules is None:
        raise errors.not_found(kind, role["name"])
    powers = authorizer.roles.powers(request.user, namespace)
    _check_covered(request, powers, rules, wire["metadata"]["name"])


def _check_covered(request: ApiRequest, powers: Powers, rules: Iterable[Rule], name: str) -> None:
    """Refuse rules of which the user does not have every part; raises StatusError (403)."""
    missing, compared = [], 0
    for rule in rules:
        compared += _size(rule)
        if compared > _MOST_COMPARED:
            why = f"its rules have more than {_MOST_COMPARED} permissions: split them"
            raise errors.forbidden(request.info.kind, name, why)
        if not _has_all(powers, _permissions(rule)):
            missing.append(_shown(rule))
    if missing:
        raise errors.forbidden(request.info.kind, name, _more_than(request.user, missing))


def _more_than(user: User, missing: list[str]) -> str:
    groups = " ".join(f'"{group}"' for group in user.groups)
    return (
        f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not'
        " currently held:\n" + "\n".join(missing)
    )


def _has_all(powers: Powers, asked: Iterable[AccessAttributes]) -> bool:
    return all(powers.verdict(each).allowed for each in asked)


def _size(rule: Rule) -> int:
    if rule.paths:
        return len(rule.verbs) * len(rule.paths)
    names = max(1, len(rule.names))
    return len(rule.verbs) * len(rule.groups) * len(rule.resources) * names


def _permissions(rule: Rule) -> Iterator[AccessAttributes]:
    """Yield every single permission of a rule; ``*`` stands for itself."""
    for verb, path in product(rule.verbs, rule.paths):
        yield AccessAttributes(verb, path=path)
    for verb, group, whole, name in product(
        rule.verbs, rule.groups, rule.resources, rule.names or ("",)
    ):
        resource, _, sub = whole.partition("/")
        yield AccessAttributes(verb, group, resource, sub, name=name)


def _shown(rule: Rule) -> str:
    """Return a rule as upstream's errors show it."""
    parts = (
        ("APIGroups", () if rule.paths else sorted(rule.groups)),
        ("Resources", rule.resources),
        ("ResourceNames", sorted(rule.names)),
        ("NonResourceURLs", rule.paths),
        ("Verbs", sorted(rule.verbs)),
    )
    shown = (f"{name}:[{_quoted(values)}]" for name, values in parts if values)
    return "{" + ", ".join(shown) + "}"


def _quoted(values: Iterable[str]) -> str:
    return " ".join(f'"{value}"' for value in values)
