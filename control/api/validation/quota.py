"""Validate ResourceQuotas. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (ValidateResourceQuota)
"""

from collections.abc import Collection, Sequence

from control.api import field
from control.api.field import FieldError
from control.api.quantity import QuantityError, parse
from control.api.quota.model import (
    ABSENT,
    EXISTS,
    IN,
    NOT_IN,
    Hard,
    ResourceQuota,
    ResourceQuotaSpec,
    ScopeRequirement,
)
from control.api.quota.scopes import (
    BEST_EFFORT,
    CROSS_NAMESPACE,
    NOT_BEST_EFFORT,
    NOT_TERMINATING,
    PRIORITY_CLASS,
    SCOPES,
    TERMINATING,
    VOLUME_CLASS,
)
from control.api.validation.meta import IMMUTABLE
from control.api.validation.pods.resources import (
    HUGE_PAGES_OF_QUOTAS,
    OF_QUOTAS,
    resource_name,
    validate_quantity,
)

_PODS = ("pods",)
_COMPUTE = tuple(f"{part}{it}" for part in ("", "requests.", "limits.") for it in ("cpu", "memory"))
_OF_SCOPES = {
    TERMINATING: (*_PODS, *_COMPUTE),
    NOT_TERMINATING: (*_PODS, *_COMPUTE),
    NOT_BEST_EFFORT: (*_PODS, *_COMPUTE),
    PRIORITY_CLASS: (*_PODS, *_COMPUTE),
    CROSS_NAMESPACE: (*_PODS, *_COMPUTE),
    BEST_EFFORT: _PODS,
    VOLUME_CLASS: ("persistentvolumeclaims", "requests.storage"),
}
_PLAIN = (BEST_EFFORT, NOT_BEST_EFFORT, TERMINATING, NOT_TERMINATING, CROSS_NAMESPACE)
_OPPOSITE = ((BEST_EFFORT, NOT_BEST_EFFORT), (TERMINATING, NOT_TERMINATING))
_UNSUPPORTED = "unsupported scope"
_UNFIT = "unsupported scope applied to resource"
_ONLY_EXISTS = (
    "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating,"
    " ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort,"
    " ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def validate_quota(quota: ResourceQuota) -> list[FieldError]:
    """Check what a quota limits, and its scopes."""
    spec = quota.spec
    found = _amounts("spec.hard", spec.hard)
    if spec.scopes:
        found += _scopes(spec)
    if spec.scope_selector is not None:
        found += _selector(spec, spec.scope_selector.match_expressions)
    return found


def validate_quota_update(new: ResourceQuota, old: ResourceQuota) -> list[FieldError]:
    """Check that the scopes stay."""
    if set(new.spec.scopes) == set(old.spec.scopes):
        return []
    return [field.invalid("spec.scopes", new.spec.scopes, IMMUTABLE)]


def validate_quota_status(quota: ResourceQuota) -> list[FieldError]:
    """Check the limits and the usage of a status."""
    status = quota.status
    return _amounts("status.hard", status.hard) + _amounts("status.used", status.used)


def _amounts(path: str, amounts: Hard) -> list[FieldError]:
    found = []
    for name, amount in amounts.items():
        own = f"{path}[{name}]"
        found += resource_name(own, name)
        if "/" not in name and not _is_standard(name):
            found.append(field.invalid(own, name, "must be a standard resource for quota"))
        try:
            found += validate_quantity(own, name, parse(amount))
        except QuantityError as err:
            found.append(field.invalid(own, amount, str(err)))
    return found


def _is_standard(name: str) -> bool:
    return name in OF_QUOTAS or name.startswith(HUGE_PAGES_OF_QUOTAS)


def _unfit(hard: Collection[str], scope: str) -> list[str]:
    """Return the resources that a scope is not about."""
    known = _OF_SCOPES.get(scope)
    return [name for name in hard if known and _is_standard(name) and name not in known]


def _scopes(spec: ResourceQuotaSpec) -> list[FieldError]:
    found = []
    for name in spec.scopes:
        if name not in SCOPES:
            found.append(field.invalid("spec.scopes", spec.scopes, _UNSUPPORTED))
        for _ in _unfit(spec.hard, name):
            found.append(field.invalid("spec.scopes", spec.scopes, _UNFIT))
    return found + _opposite("spec.scopes", spec, set(spec.scopes))


def _opposite(path: str, spec: ResourceQuotaSpec, scopes: set[str]) -> list[FieldError]:
    return [
        field.invalid(path, spec.scopes, "conflicting scopes")
        for pair in _OPPOSITE
        if scopes.issuperset(pair)
    ]


def _selector(spec: ResourceQuotaSpec, needed: Sequence[ScopeRequirement]) -> list[FieldError]:
    path = "spec.scopeSelector.matchExpressions"
    found = []
    for each in needed:
        if each.scope_name not in SCOPES:
            found.append(field.invalid(f"{path}.scopeName", each.scope_name, _UNSUPPORTED))
        for _ in _unfit(spec.hard, each.scope_name):
            found.append(field.invalid(path, spec.scope_selector, _UNFIT))
        found += _requirement(path, each)
    return found + _opposite(path, spec, {each.scope_name for each in needed})


def _requirement(path: str, needed: ScopeRequirement) -> list[FieldError]:
    found = []
    operator, values = needed.operator, needed.values
    if needed.scope_name in _PLAIN and operator != EXISTS:
        found.append(field.invalid(f"{path}.operator", operator, _ONLY_EXISTS))
    if operator in (IN, NOT_IN):
        if not values:
            why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            found.append(field.required(f"{path}.values", why))
    elif operator in (EXISTS, ABSENT):
        if values:
            why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            found.append(field.invalid(f"{path}.values", values, why))
    else:
        found.append(field.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    return found
