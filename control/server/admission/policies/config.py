"""Policies and bindings as their objects name them. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from control.api.selectors import Labels
from control.server.admission.rules import Rule, read_rules, read_selector

Wire = Mapping[str, Any]


_ALL = Labels()


@dataclass(frozen=True, slots=True)
class Match:
    """What a policy, or a binding, is about. Without rules it is about every resource."""

    rules: tuple[Rule, ...] = ()
    excluded: tuple[Rule, ...] = ()
    namespaces: Labels = _ALL
    objects: Labels = _ALL
    equivalent: bool = True


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """A policy; ``source`` is its spec as JSON, which says what it computes."""

    name: str
    match: Match
    ignores_failure: bool
    params: tuple[str, str] | None  # apiVersion and kind
    source: bytes
    reinvoked: bool = False  # a mutating one that wants to see later changes


@dataclass(frozen=True, slots=True)
class ParamRef:
    """Which objects are the parameters: one of a name, or all that a selector selects."""

    name: str
    namespace: str
    selector: Labels | None
    denies_missing: bool


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a policy holds, and what becomes of what it refuses."""

    name: str
    policy: str
    match: Match | None
    params: ParamRef | None
    actions: tuple[str, ...]


def read_policy(wire: Wire) -> Iterator[PolicyConfig]:
    """Yield the policy of a ValidatingAdmissionPolicy, or of a mutating one."""
    spec = wire.get("spec") or {}
    kind = spec.get("paramKind")
    yield PolicyConfig(
        wire["metadata"]["name"],
        _match(spec.get("matchConstraints")) or Match(),
        spec.get("failurePolicy") == "Ignore",
        (kind.get("apiVersion") or "", kind.get("kind") or "") if kind else None,
        orjson.dumps(spec),
        spec.get("reinvocationPolicy") == "IfNeeded",
    )


def read_binding(wire: Wire) -> Iterator[Binding]:
    """Yield the binding of a policy."""
    spec = wire.get("spec") or {}
    yield Binding(
        wire["metadata"]["name"],
        spec.get("policyName") or "",
        _match(spec.get("matchResources")),
        _params(spec.get("paramRef")),
        tuple(spec.get("validationActions") or ()),
    )


def _match(wire: Wire | None) -> Match | None:
    if wire is None:
        return None
    return Match(
        read_rules(wire.get("resourceRules")),
        read_rules(wire.get("excludeResourceRules")),
        read_selector(wire.get("namespaceSelector")),
        read_selector(wire.get("objectSelector")),
        wire.get("matchPolicy") != "Exact",
    )


def _params(wire: Wire | None) -> ParamRef | None:
    if wire is None:
        return None
    selector = wire.get("selector")
    return ParamRef(
        wire.get("name") or "",
        wire.get("namespace") or "",
        None if selector is None else read_selector(selector),
        wire.get("parameterNotFoundAction") == "Deny",
    )
