"""Validate what webhooks and policies match: rules, selectors, conditions. Pure.

Source: k8s.io/kubernetes/pkg/apis/admissionregistration/validation
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.meta import LabelSelector
from control.api.validation import text
from control.api.validation.meta import invalid_each, validate_selector

Wire = Mapping[str, Any]
FAILURE_POLICIES = ("Fail", "Ignore")
MATCH_POLICIES = ("Equivalent", "Exact")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_MOST_CONDITIONS = 64


def one_of(path: str, value: Any, known: Sequence[str]) -> list[FieldError]:
    """Check a value of a closed set."""
    return [] if value in known else [field.not_supported(path, value, known)]


def rule_errors(rule: Wire, path: str) -> Iterator[FieldError]:
    """Yield the errors of a rule with operations."""
    operations = rule.get("operations") or []
    yield from _alone(operations, f"{path}.operations", "operations")
    for at, each in enumerate(operations):
        yield from one_of(f"{path}.operations[{at}]", each, _OPERATIONS)
    yield from _alone(rule.get("apiGroups") or [], f"{path}.apiGroups", "API groups")
    versions = rule.get("apiVersions") or []
    yield from _alone(versions, f"{path}.apiVersions", "API versions")
    for at, each in enumerate(versions):
        if not each:
            yield field.required(f"{path}.apiVersions[{at}]")
    yield from _resource_errors(rule.get("resources") or [], f"{path}.resources")
    if (scope := rule.get("scope")) is not None:
        yield from one_of(f"{path}.scope", scope, _SCOPES)


def _alone(values: list[str], path: str, what: str) -> Iterator[FieldError]:
    if not values:
        yield field.required(path)
    if len(values) > 1 and "*" in values:
        yield field.invalid(path, values, f"if '*' is present, must not specify other {what}")


def _resource_errors(resources: list[str], path: str) -> Iterator[FieldError]:
    if not resources:
        yield field.required(path)
    every_sub, every_resource = set[str](), set[str]()
    whole = False
    for at, each in enumerate(resources):
        if not each:
            yield field.required(f"{path}[{at}]")
            continue
        resource, slash, sub = each.partition("/")
        if not slash:
            whole = each != "*"
            continue
        if resource in every_sub:
            why = f"if '{resource}/*' is present, must not specify {each}"
            yield field.invalid(f"{path}[{at}]", each, why)
        if sub in every_resource:
            why = f"if '*/{sub}' is present, must not specify {each}"
            yield field.invalid(f"{path}[{at}]", each, why)
        if sub == "*":
            every_sub.add(resource)
        if resource == "*":
            every_resource.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        why = "if '*/*' is present, must not specify other resources"
        yield field.invalid(path, resources, why)
    if "*" in resources and whole:
        why = "if '*' is present, must not specify other resources without subresources"
        yield field.invalid(path, resources, why)


def named_rule_errors(rule: Wire, path: str) -> Iterator[FieldError]:
    """Yield the errors of a rule that may name objects."""
    seen = set()
    for at, name in enumerate(rule.get("resourceNames") or ()):
        where = f"{path}.resourceNames[{at}]"
        yield from invalid_each(where, name, text.path_segment(name))
        if name in seen:
            yield field.duplicate(where, name)
        seen.add(name)
    yield from rule_errors(rule, path)


def selector_errors(selector: Wire | None, path: str) -> list[FieldError]:
    """Return the errors of a label selector."""
    if selector is None:
        return []
    return validate_selector(path, LabelSelector.parse(dict(selector)))


def match_errors(match: Wire, path: str) -> Iterator[FieldError]:
    """Yield the errors of what a policy, or a binding, matches."""
    yield from one_of(f"{path}.matchPolicy", match.get("matchPolicy"), MATCH_POLICIES)
    for name in ("namespaceSelector", "objectSelector"):
        yield from selector_errors(match.get(name), f"{path}.{name}")
    for name in ("resourceRules", "excludeResourceRules"):
        for at, rule in enumerate(match.get(name) or ()):
            yield from named_rule_errors(rule, f"{path}.{name}[{at}]")


def condition_errors(
    conditions: Sequence[Wire], path: str, *, params: bool = False
) -> Iterator[FieldError]:
    """Yield the errors of match conditions, and of their expressions."""
    if len(conditions) > _MOST_CONDITIONS:
        yield field.too_many(path, len(conditions), _MOST_CONDITIONS)
        return
    if not conditions:
        return
    from control.api.policies.compiled import conditions_of  # if there is an expression

    seen = set()
    for at, made in enumerate(conditions_of(conditions, params=params)):
        where, name = f"{path}[{at}]", conditions[at].get("name") or ""
        if not made.source.strip():
            yield field.required(f"{where}.expression")
        else:
            yield from made.errors(f"{where}.expression")
        if not name:
            yield field.required(f"{where}.name")
        yield from invalid_each(f"{where}.name", name, text.qualified_name(name) if name else [])
        if name and name in seen:
            yield field.duplicate(f"{where}.name", name)
        seen.add(name)
