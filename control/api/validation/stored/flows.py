"""Validate FlowSchemas, and the status of flow control's kinds. Pure.

Source: k8s.io/kubernetes/pkg/apis/flowcontrol/validation
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from control.api import field, flows
from control.api.field import FieldError
from control.api.meta import Object
from control.api.validation import text
from control.api.validation.meta import invalid_each

Wire = Mapping[str, Any]

FIXED = "spec of '{}' must equal the fixed value"
_LAST = 10000
_ONLY_EXEMPT = "only the schema named 'exempt' may have matchingPrecedence 1"
_METHODS = ("ByNamespace", "ByUser")
_VERBS = (
    *("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update"),
    "watch",
)
# A subject's kind: the field that it has, and no other one.
_SUBJECTS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}
_NO_RULES = "at least one of resourceRules and nonResourceRules has to be non-empty"
_NO_PLACE = "resource rules that are not cluster scoped must supply at least one namespace"
_NO_ACCOUNT = "must specify namespace for service account"
_NO_VERBS = "verbs must contain at least one value"
_NO_PATHS = "nonResourceURLs must contain at least one value"
_PLACE = "each member of this list must be '*' or a DNS-1123 label; "
_ALL = "*"


def validate_flow_schema(schema: Object) -> list[FieldError]:
    """Check what a FlowSchema matches; the mandatory ones are as they are."""
    spec: Wire = schema.wire().get("spec") or {}
    name = schema.metadata.name
    found = _precedence(name, spec.get("matchingPrecedence") or 0)
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in _METHODS:
        found.append(field.not_supported("spec.distinguisherMethod.type", method, _METHODS))
    level, path = (spec.get("priorityLevelConfiguration") or {}).get("name"), "spec"
    path = f"{path}.priorityLevelConfiguration.name"
    if level:
        found += invalid_each(path, level, text.dns_subdomain(level))
    else:
        found.append(field.required(path, "must reference a priority level"))
    for at, rule in enumerate(spec.get("rules") or ()):
        found += _rule(f"spec.rules[{at}]", rule)
    fixed = flows.schemas().get(name)
    if name in flows.MANDATORY and fixed and not flows.is_as_fixed(name, {**spec}, fixed):
        found.append(field.invalid("spec", spec, FIXED.format(name)))
    return found


def validate_status(it: Object) -> list[FieldError]:
    """Check that each condition has a type of its own."""
    found, known = [], set()
    status: Wire = it.wire().get("status") or {}
    for at, condition in enumerate(status.get("conditions") or ()):
        path, name = f"status.conditions[{at}].type", condition.get("type") or ""
        if name in known:
            found.append(field.duplicate(path, name))
        known.add(name)
        if not name:
            found.append(field.required(path, "must not be empty"))
    return found


def _precedence(name: str, value: int) -> list[FieldError]:
    path, found = "spec.matchingPrecedence", []
    if value <= 0:
        found.append(field.invalid(path, value, "must be a positive value"))
    if value > _LAST:
        found.append(field.invalid(path, value, f"must not be greater than {_LAST}"))
    if value == 1 and name != flows.EXEMPT:
        found.append(field.invalid(path, value, _ONLY_EXEMPT))
    return found


def _rule(path: str, rule: Wire) -> list[FieldError]:
    found = []
    subjects = rule.get("subjects") or ()
    if not subjects:
        found.append(field.required(f"{path}.subjects", "subjects must contain at least one value"))
    for at, subject in enumerate(subjects):
        found += _subject(f"{path}.subjects[{at}]", subject)
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        found.append(field.required(path, _NO_RULES))
    for name, check in (("resourceRules", _of_resources), ("nonResourceRules", _of_paths)):
        for at, each in enumerate(rule.get(name) or ()):
            found += check(f"{path}.{name}[{at}]", each)
    return found


def _subject(path: str, subject: Wire) -> list[FieldError]:
    kind = subject.get("kind") or ""
    own = _SUBJECTS.get(kind)
    if own is None:
        return [field.not_supported(f"{path}.kind", kind, _SUBJECTS)]
    here, named = f"{path}.{own}", subject.get(own)
    if named is None:
        found = [field.required(here, f"{own} is required when subject kind is '{kind}'")]
    else:
        found = _named(here, named, is_account=kind == "ServiceAccount")
    for other, name in _SUBJECTS.items():
        if name != own and subject.get(name) is not None:
            why = f"{name} is forbidden when subject kind is not '{other}'"
            found.append(field.forbidden(f"{path}.{name}", why))
    return found


def _named(path: str, named: Wire, *, is_account: bool) -> list[FieldError]:
    name, found = named.get("name") or "", []
    if not name:
        found.append(field.required(f"{path}.name"))
    if not is_account:
        return found
    if name and name != _ALL:
        found += invalid_each(f"{path}.name", name, text.dns_subdomain(name))
    if namespace := named.get("namespace"):
        return found + invalid_each(f"{path}.namespace", namespace, text.dns_label(namespace))
    return [*found, field.required(f"{path}.namespace", _NO_ACCOUNT)]


def _of_resources(path: str, rule: Wire) -> list[FieldError]:
    found = _verbs(path, rule)
    for name, one, what in (
        ("apiGroups", "api group", "api groups"),
        ("resources", "resource", "resources"),
    ):
        none = f"resource rules must supply at least one {one}"
        found += _list(f"{path}.{name}", rule.get(name) or (), none, what)
    places, here = rule.get("namespaces") or (), f"{path}.namespaces"
    if not places and not rule.get("clusterScope"):
        return [*found, field.required(here, _NO_PLACE)]
    return found + _each(here, places, "namespaces", _place)


def _of_paths(path: str, rule: Wire) -> list[FieldError]:
    paths, here = rule.get("nonResourceURLs") or (), f"{path}.nonResourceURLs"
    found = _verbs(path, rule)
    if not paths:
        return [*found, field.required(here, _NO_PATHS)]
    return found + _each(here, paths, "non-resource URLs", _path)


def _verbs(path: str, rule: Wire) -> list[FieldError]:
    verbs, here = rule.get("verbs") or (), f"{path}.verbs"
    found = _list(here, verbs, _NO_VERBS, "verbs")
    if not found and _ALL not in verbs and not {*verbs} <= {*_VERBS}:
        found.append(field.not_supported(here, verbs, _VERBS))
    return found


def _list(path: str, given: Sequence[str], none: str, what: str) -> list[FieldError]:
    """Check that a list has something: one ``*``, or others."""
    if not given:
        return [field.required(path, none)]
    if _ALL in given and len(given) > 1:
        why = f"if '*' is present, must not specify other {what}"
        return [field.invalid(path, given, why)]
    return []


def _each(
    path: str, given: Sequence[str], what: str, check: Callable[[str], Sequence[str]]
) -> list[FieldError]:
    """Check each value of a list that is not ``*``."""
    if _ALL in given:
        return _list(path, given, "", what)
    return [
        field.invalid(f"{path}[{at}]", value, why)
        for at, value in enumerate(given)
        for why in check(value)
    ]


def _place(namespace: str) -> list[str]:
    return [f"{_PLACE}{why}" for why in text.dns_label(namespace)]


def _path(path: str) -> list[str]:
    """Return what is wrong with a path, the first thing alone."""
    if not path:
        return ["must not be empty"]
    if path == "/":
        return []
    stars = path.count(_ALL)
    for is_wrong, why in (
        (not path.startswith("/"), "must start with slash"),
        (" " in path, "must not contain white-space"),
        ("//" in path, "must not contain double slash"),
        (stars > 1 or (stars and not path.endswith("/*")), "wildcard can only do suffix matching"),
    ):
        if is_wrong:
            return [why]
    return []
