"""Which writes a rule of a webhook or a policy matches. Pure.

Source: pkg/admission/plugin/webhook/predicates of k8s.io/apiserver.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from control.api.meta import LabelSelector
from control.api.selectors import Labels, SelectorError, from_model

Wire = Mapping[str, Any]
_GROUP = "admissionregistration.k8s.io"
# What is never asked about, so that it can be mended.
_EXEMPT = {
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a request does, and to which resource."""

    operation: str
    group: str
    version: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def exempt(self) -> bool:
        """True for the configurations of admission itself."""
        return self.group == _GROUP and self.resource in _EXEMPT

    @property
    def is_namespace(self) -> bool:
        """True for a namespace itself, whose name upstream's attributes have as its namespace."""
        return (self.group, self.resource) == ("", "namespaces")

    def as_of(self, group: str, version: str, resource: str) -> "Target":
        """Return the same request on another version of the resource."""
        return replace(self, group=group, version=version, resource=resource)


@dataclass(frozen=True, slots=True)
class Rule:
    """Operations on resources; ``names`` is empty for objects of any name."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]  # with its subresource
    scope: str = "*"
    names: frozenset[str] = frozenset()

    def matches(self, target: Target) -> bool:
        """Return True if a request is one of those."""
        return self.concerns(target) and (not self.names or target.name in self.names)

    def concerns(self, target: Target) -> bool:
        """Return True if a request is one of those, whatever the name of its object."""
        return (
            _has(self.operations, target.operation)
            and _has(self.groups, target.group)
            and _has(self.versions, target.version)
            and any(_is_one(each, target) for each in self.resources)
            and self._in_scope(target)
        )

    def _in_scope(self, target: Target) -> bool:
        if self.scope == "*":
            return True
        namespaced = bool(target.namespace) and not target.is_namespace
        return namespaced == (self.scope == "Namespaced")


def _has(known: frozenset[str], value: str) -> bool:
    return value in known or "*" in known


def _is_one(known: tuple[str, str], target: Target) -> bool:
    resource, subresource = known
    return resource in ("*", target.resource) and subresource in ("*", target.subresource)


def read_rule(wire: Wire) -> Rule:
    """Read a valid rule."""
    resources = (each.partition("/") for each in wire.get("resources") or ())
    return Rule(
        frozenset(wire.get("operations") or ()),
        frozenset(wire.get("apiGroups") or ()),
        frozenset(wire.get("apiVersions") or ()),
        tuple((name, sub) for name, _, sub in resources),
        wire.get("scope") or "*",
        frozenset(wire.get("resourceNames") or ()),
    )


def read_rules(wires: Iterable[Wire] | None) -> tuple[Rule, ...]:
    """Read valid rules."""
    return tuple(map(read_rule, wires or ()))


_NOTHING = Labels(from_model(LabelSelector.parse({"matchLabels": {"": ""}})).requirements)


def read_selector(wire: Wire | None) -> Labels:
    """Read a selector; without one everything is selected, by one that is wrong nothing."""
    try:
        return from_model(LabelSelector.parse(dict(wire or {})))
    except SelectorError:
        return _NOTHING
