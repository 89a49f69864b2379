"""Validate roles and bindings. Pure.

Source: k8s.io/kubernetes/pkg/apis/rbac/validation
"""

from itertools import chain

from control.api import field
from control.api.field import FieldError
from control.api.rbac import (
    GROUP,
    AggregationRule,
    ClusterRole,
    ClusterRoleBinding,
    PolicyRule,
    Role,
    RoleBinding,
    RoleRef,
    Subject,
)
from control.api.validation import text
from control.api.validation.meta import invalid_each, validate_selector

_SUBJECT_GROUPS = {"ServiceAccount": "", "User": GROUP, "Group": GROUP}
_PATHS_AND_RESOURCES = "rules cannot apply to both regular resources and non-resource URLs"
_NAMESPACED_PATHS = "namespaced rules cannot apply to non-resource URLs"


def validate_role(role: Role) -> list[FieldError]:
    """Check the rules of a Role, which names no paths."""
    return _rules(role.rules, namespaced=True)


def validate_cluster_role(role: ClusterRole) -> list[FieldError]:
    """Check the rules of a ClusterRole, and its aggregation."""
    found = _rules(role.rules, namespaced=False)
    return found + (_aggregation(role.aggregation_rule) if role.aggregation_rule else [])


def _rules(rules: list[PolicyRule], *, namespaced: bool) -> list[FieldError]:
    each = (_rule(f"rules[{at}]", rule, namespaced) for at, rule in enumerate(rules))
    return list(chain.from_iterable(each))


def _rule(path: str, rule: PolicyRule, namespaced: bool) -> list[FieldError]:
    found = []
    if not rule.verbs:
        found.append(field.required(f"{path}.verbs", "verbs must contain at least one value"))
    if rule.paths:
        if namespaced:
            found.append(field.invalid(f"{path}.nonResourceURLs", rule.paths, _NAMESPACED_PATHS))
        if rule.api_groups or rule.resources or rule.resource_names:
            found.append(field.invalid(f"{path}.nonResourceURLs", rule.paths, _PATHS_AND_RESOURCES))
        return found
    if not rule.api_groups:
        why = "resource rules must supply at least one api group"
        found.append(field.required(f"{path}.apiGroups", why))
    if not rule.resources:
        why = "resource rules must supply at least one resource"
        found.append(field.required(f"{path}.resources", why))
    return found


def _aggregation(rule: AggregationRule) -> list[FieldError]:
    path = "aggregationRule.clusterRoleSelectors"
    if not rule.cluster_role_selectors:
        return [
            field.required(
                path, "at least one clusterRoleSelector required if aggregationRule is non-nil"
            )
        ]
    found = []
    for at, selector in enumerate(rule.cluster_role_selectors):
        if wrong := validate_selector(f"{path}[{at}]", selector):
            found += [*wrong, field.invalid(f"{path}[{at}]", None, "invalid label selector.")]
    return found


def validate_role_binding(binding: RoleBinding) -> list[FieldError]:
    """Check the role and the subjects of a RoleBinding."""
    found = _role_ref(binding.role_ref, ("Role", "ClusterRole"))
    return found + _subjects(binding.subjects, namespaced=True)


def validate_cluster_role_binding(binding: ClusterRoleBinding) -> list[FieldError]:
    """Check the role and the subjects of a ClusterRoleBinding."""
    found = _role_ref(binding.role_ref, ("ClusterRole",))
    return found + _subjects(binding.subjects, namespaced=False)


def validate_binding_update(
    new: RoleBinding | ClusterRoleBinding, old: RoleBinding | ClusterRoleBinding
) -> list[FieldError]:
    """Refuse a change of the role: a binding to another role is another binding."""
    if new.role_ref == old.role_ref:
        return []
    return [field.invalid("roleRef", new.role_ref, "cannot change roleRef")]


def _role_ref(role: RoleRef, kinds: tuple[str, ...]) -> list[FieldError]:
    found = []
    if role.api_group != GROUP:
        found.append(field.not_supported("roleRef.apiGroup", role.api_group, [GROUP]))
    if role.kind not in kinds:
        found.append(field.not_supported_in_order("roleRef.kind", role.kind, kinds))
    if not role.name:
        found.append(field.required("roleRef.name"))
    else:
        found += invalid_each("roleRef.name", role.name, text.path_segment(role.name))
    return found


def _subjects(subjects: list[Subject], *, namespaced: bool) -> list[FieldError]:
    """Check subjects; without a namespace, an account is of the namespace of its binding."""
    each = (
        _subject(f"subjects[{at}]", subject, namespaced=namespaced)
        for at, subject in enumerate(subjects)
    )
    return list(chain.from_iterable(each))


def _subject(path: str, subject: Subject, *, namespaced: bool) -> list[FieldError]:
    found = [] if subject.name else [field.required(f"{path}.name")]
    if subject.kind not in _SUBJECT_GROUPS:
        found.append(field.not_supported_in_order(f"{path}.kind", subject.kind, _SUBJECT_GROUPS))
        return found
    group = _SUBJECT_GROUPS[subject.kind]
    if (subject.api_group or "") != group:
        found.append(field.not_supported(f"{path}.apiGroup", subject.api_group or "", [group]))
    if subject.kind == "ServiceAccount":
        if subject.name:
            found += invalid_each(f"{path}.name", subject.name, text.dns_subdomain(subject.name))
        if not subject.namespace and not namespaced:
            found.append(field.required(f"{path}.namespace"))
    return found
