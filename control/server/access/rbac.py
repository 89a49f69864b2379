"""Authorize by roles and bindings, which are read from the watch cache.

A *power* is a rule that a binding gives to a user. The powers of one user in one namespace are
collected once and kept until a role or a binding changes; a request then looks only at the rules
that name its resource. Source: k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from msgspec import Struct

from control.api.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, Kind
from control.server.access.attributes import AccessAttributes, Verdict
from control.server.state.watch_cache import KindCache, ObjectChange, WatchCache
from control.server.wire.errors import resource
from control.server.wire.info import storage_key
from control.server.wire.item import Item
from control.server.wire.request import User

_KINDS = (ROLE, CLUSTER_ROLE, ROLE_BINDING, CLUSTER_ROLE_BINDING)
_NOT_ALLOWED = Verdict(False)
# Users with a namespace, and answers of each, that are kept.
_MOST_KEPT = 1024


class Rule(Struct, frozen=True):
    """One rule of a role; ``names`` empty means every name."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: tuple[str, ...]
    names: frozenset[str]
    paths: tuple[str, ...]

    def fits(self, asked: AccessAttributes) -> bool:
        """Return True if the rule allows an action on a resource that it names."""
        return (
            (asked.verb in self.verbs or "*" in self.verbs)
            and (asked.group in self.groups or "*" in self.groups)
            and (not self.names or asked.name in self.names)
        )

    def fits_path(self, asked: AccessAttributes) -> bool:
        """Return True if the rule allows an action on a path."""
        return (asked.verb in self.verbs or "*" in self.verbs) and any(
            path == asked.path or (path.endswith("*") and asked.path.startswith(path[:-1]))
            for path in self.paths
        )

    def wire(self) -> dict[str, Any]:
        """Return the rule as a SelfSubjectRulesReview shows it."""
        verbs = {"verbs": sorted(self.verbs)}
        if self.paths:
            return verbs | {"nonResourceURLs": list(self.paths)}
        made = verbs | {"apiGroups": sorted(self.groups), "resources": list(self.resources)}
        return made | ({"resourceNames": sorted(self.names)} if self.names else {})


def rule_of(wire: Mapping[str, Any]) -> Rule:
    """Read a PolicyRule."""
    return Rule(
        frozenset(wire.get("verbs") or ()),
        frozenset(wire.get("apiGroups") or ()),
        tuple(wire.get("resources") or ()),
        frozenset(wire.get("resourceNames") or ()),
        tuple(wire.get("nonResourceURLs") or ()),
    )


class _Binding(Struct, frozen=True):
    namespace: str  # empty: everywhere
    role: str  # the storage key
    missing: str  # the error if there is no such role
    text: str
    subjects: tuple[tuple[str, str], ...]  # (key, description)


class Powers:
    """The rules of one user in one namespace."""

    def __init__(self, given: Iterable[tuple[Rule, str]], errors: tuple[str, ...]) -> None:
        self.rules: list[Rule] = []
        # by resource, and by the name of an object if the rule has names
        self._by_resource: defaultdict[tuple[str, str], list[tuple[Rule, str]]] = defaultdict(list)
        self._by_path: list[tuple[Rule, str]] = []
        for rule, text in given:
            self.rules.append(rule)
            if rule.paths:
                self._by_path.append((rule, text))
            few = len(rule.resources) * len(rule.names) <= _MOST_KEPT
            for place in product(rule.resources, (rule.names if few else ()) or ("",)):
                self._by_resource[place].append((rule, text))
        why = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
        self._refusal = Verdict(False, f"RBAC: {why}") if errors else _NOT_ALLOWED
        self._known: dict[AccessAttributes, Verdict] = {}

    def verdict(self, asked: AccessAttributes) -> Verdict:
        """Return whether the user may do it, and by which binding."""
        if asked.selector:
            asked = asked._replace(selector="")
        found = self._known.get(asked)
        if found is None:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            found = self._known[asked] = self._decided(asked)
        return found

    def _decided(self, asked: AccessAttributes) -> Verdict:
        if asked.path:
            given, fits = iter(self._by_path), Rule.fits_path
        else:
            given, fits = self._naming(asked), Rule.fits
        for rule, text in given:
            if fits(rule, asked):
                return Verdict(True, f"RBAC: allowed by {text}")
        return self._refusal

    def _naming(self, asked: AccessAttributes) -> Iterator[tuple[Rule, str]]:
        """Yield the rules that name a resource, with its name or without."""
        sub, by_resource = asked.subresource, self._by_resource
        whole = f"{asked.resource}/{sub}" if sub else asked.resource
        for place in dict.fromkeys((whole, "*", f"*/{sub}" if sub else "*")):
            yield from by_resource.get((place, ""), ())
            if asked.name:
                yield from by_resource.get((place, asked.name), ())


class RoleIndex:
    """The roles and bindings of the cluster, by subject."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache
        self._followed: tuple[KindCache, ...] = ()
        self._start_over()

    def decide(self, user: User, asked: AccessAttributes) -> Verdict:
        """Return whether the roles of a user allow an action."""
        return self.powers(user, asked.namespace).verdict(asked)

    def powers(self, user: User, namespace: str) -> Powers:
        """Return the rules of a user in a namespace; those of the cluster if it is empty."""
        if not self._followed or self._followed[0] is not self._cache.of(ROLE):
            self._follow()
        key = (user.name, user.groups, namespace)
        found = self._powers.get(key)
        if found is None:
            if len(self._powers) >= _MOST_KEPT:
                self._powers.clear()
            found = self._powers[key] = self._collected(user, namespace)
        return found

    def rules(self, kind: Kind, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """Return the rules of a role; None if there is no such role."""
        item = self._cache.of(kind).get(storage_key(kind, namespace, name))
        return None if item is None else tuple(map(rule_of, item.wire.get("rules") or ()))

    def _collected(self, user: User, namespace: str) -> Powers:
        given: list[tuple[Rule, str]] = []
        errors: dict[str, None] = {}
        subjects = (f"User {user.name}", *(f"Group {group}" for group in user.groups))
        for subject in subjects:
            for binding, text in self._by_subject.get(subject, {}).values():
                if binding.namespace not in ("", namespace):
                    continue
                rules = self._rules.get(binding.role)
                if rules is None:
                    errors[binding.missing] = None
                given += [(rule, text) for rule in rules or ()]
        return Powers(given, tuple(errors))

    def _follow(self) -> None:
        """Read all roles and bindings, and follow their changes."""
        self._start_over()
        self._followed = tuple(map(self._cache.of, _KINDS))
        for followed in self._followed:
            followed.listeners.add(self._changed)
            for item in followed.items():
                self._put(item)

    def _start_over(self) -> None:
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._bindings: dict[str, _Binding] = {}
        self._by_subject: dict[str, dict[str, tuple[_Binding, str]]] = {}
        self._powers: dict[tuple[str, tuple[str, ...], str], Powers] = {}

    def _changed(self, change: ObjectChange | None) -> None:
        if change is None:  # the cache starts over
            self._followed = ()
            return
        self._powers.clear()
        self._drop(change.item.key)
        if not change.removed:
            self._put(change.item)

    def _drop(self, key: str) -> None:
        self._rules.pop(key, None)
        if binding := self._bindings.pop(key, None):
            for subject, _ in binding.subjects:
                self._by_subject.get(subject, {}).pop(key, None)

    def _put(self, item: Item) -> None:
        wire = item.wire
        if "roleRef" not in wire:
            self._rules[item.key] = tuple(map(rule_of, wire.get("rules") or ()))
            return
        binding = self._bindings[item.key] = _binding_of(wire)
        for subject, text in binding.subjects:
            self._by_subject.setdefault(subject, {})[item.key] = (binding, text)


def _binding_of(wire: Mapping[str, Any]) -> _Binding:
    metadata, role = wire["metadata"], wire["roleRef"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    kind = ROLE if role["kind"] == "Role" else CLUSTER_ROLE
    what = f'RoleBinding "{name}/{namespace}"' if namespace else f'ClusterRoleBinding "{name}"'
    text = f'{what} of {role["kind"]} "{role["name"]}" to'
    missing = f'{resource(kind).replace("s.", ".", 1)} "{role["name"]}" not found'
    key = storage_key(kind, namespace, role["name"])
    subjects = [_subject(subject, namespace) for subject in wire.get("subjects") or ()]
    described = tuple((subject, f"{text} {shown}") for subject, shown in subjects)
    return _Binding(namespace, key, missing, text, described)


def _subject(wire: Mapping[str, Any], namespace: str) -> tuple[str, str]:
    """Return the key of a subject, and its description in reasons."""
    kind, name = wire["kind"], wire["name"]
    if kind == "ServiceAccount":
        where = wire.get("namespace") or namespace
        return f"User system:serviceaccount:{where}:{name}", f'{kind} "{name}/{where}"'
    return f"{kind} {name}", f'{kind} "{name}"'
