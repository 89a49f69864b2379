"""Which flow schema a request matches, and which flow it is of. Pure.

Source: k8s.io/apiserver/pkg/util/flowcontrol/rule.go
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from control.server.access.attributes import AccessAttributes
from control.server.wire.request import User

_ACCOUNT = "system:serviceaccount:"
_LAST = 10000  # upstream's highest precedence


class Flow(NamedTuple):
    """Requests that take turns with others as one: those of a schema and, mostly, of a user."""

    schema: str
    schema_uid: str
    level: str
    distinguisher: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """Who asks, and for what: of resources or of paths."""

    users: frozenset[str]
    groups: frozenset[str]
    resources: tuple[Mapping[str, Any], ...]
    paths: tuple[Mapping[str, Any], ...]

    def fits(self, user: User, asked: AccessAttributes) -> bool:
        if not (self._is_user(user.name) or "*" in self.groups or self.groups & {*user.groups}):
            return False
        if asked.path:
            return any(_fits_path(each, asked) for each in self.paths)
        return any(_fits_resource(each, asked) for each in self.resources)

    def _is_user(self, name: str) -> bool:
        everybody = name.startswith(_ACCOUNT) and f"{name.rpartition(':')[0]}:*" in self.users
        return name in self.users or "*" in self.users or everybody


@dataclass(frozen=True, slots=True)
class Schema:
    """A FlowSchema: the first that fits decides, by precedence, then by name."""

    name: str
    uid: str
    level: str
    precedence: int
    by: str  # ByUser, ByNamespace, or nothing
    rules: tuple[_Rule, ...]

    def flow(self, user: User, asked: AccessAttributes) -> Flow | None:
        """Return the flow of a request; None if the schema does not fit it."""
        if not any(rule.fits(user, asked) for rule in self.rules):
            return None
        by = {"ByUser": user.name, "ByNamespace": asked.namespace}.get(self.by, "")
        return Flow(self.name, self.uid, self.level, by)


def schema_of(wire: Mapping[str, Any]) -> Schema:
    """Read a FlowSchema, whatever somebody wrote into it."""
    meta, spec = wire.get("metadata") or {}, wire.get("spec") or {}
    return Schema(
        meta.get("name", ""),
        meta.get("uid", ""),
        (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
        spec.get("matchingPrecedence") or 1000,
        (spec.get("distinguisherMethod") or {}).get("type", ""),
        tuple(map(_rule, spec.get("rules") or ())),
    )


def _rule(wire: Mapping[str, Any]) -> _Rule:
    users, groups = set(), set()
    for subject in wire.get("subjects") or ():
        if named := subject.get("user"):
            users.add(named.get("name", ""))
        if named := subject.get("serviceAccount"):
            users.add(f"{_ACCOUNT}{named.get('namespace', '')}:{named.get('name', '')}")
        if named := subject.get("group"):
            groups.add(named.get("name", ""))
    resources, paths = (tuple(wire.get(it) or ()) for it in ("resourceRules", "nonResourceRules"))
    return _Rule(frozenset(users), frozenset(groups), resources, paths)


def in_order(schemas: Iterable[Schema]) -> tuple[Schema, ...]:
    """Return schemas in the order in which they are asked."""
    return tuple(sorted(schemas, key=lambda it: (min(it.precedence, _LAST), it.name)))


def _fits_resource(rule: Mapping[str, Any], asked: AccessAttributes) -> bool:
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    places = rule.get("namespaces") or ()
    place = bool(rule.get("clusterScope"))
    if asked.namespace:
        place = asked.namespace in places or "*" in places
    return (
        place
        and _has(rule.get("verbs"), asked.verb)
        and _has(rule.get("apiGroups"), asked.group)
        and _has(rule.get("resources"), resource)
    )


def _fits_path(rule: Mapping[str, Any], asked: AccessAttributes) -> bool:
    return _has(rule.get("verbs"), asked.verb) and any(
        path == asked.path or (path.endswith("*") and asked.path.startswith(path[:-1]))
        for path in rule.get("nonResourceURLs") or ()
    )


def _has(names: Iterable[str] | None, name: str) -> bool:
    return any(each in (name, "*") for each in names or ())
