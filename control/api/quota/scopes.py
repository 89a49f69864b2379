"""Which objects a quota is about, by its scopes. Pure.

Source: k8s.io/kubernetes/pkg/quota/v1/evaluator/core (podMatchesScopeFunc, pvcMatchesScopeFunc)
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from control.api.defaults.pod import quality_of_service
from control.api.quota.model import ABSENT, EXISTS, IN, ResourceQuotaSpec, ScopeRequirement

TERMINATING, NOT_TERMINATING = "Terminating", "NotTerminating"
BEST_EFFORT, NOT_BEST_EFFORT = "BestEffort", "NotBestEffort"
PRIORITY_CLASS = "PriorityClass"
CROSS_NAMESPACE = "CrossNamespacePodAffinity"
VOLUME_CLASS = "VolumeAttributesClass"
SCOPES = (
    TERMINATING,
    NOT_TERMINATING,
    BEST_EFFORT,
    NOT_BEST_EFFORT,
    PRIORITY_CLASS,
    CROSS_NAMESPACE,
    VOLUME_CLASS,
)
Wire = Mapping[str, Any]
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_WEIGHED = "preferredDuringSchedulingIgnoredDuringExecution"


def in_scopes(resource: str, quota: ResourceQuotaSpec, wire: Wire) -> bool:
    """True if a quota is about an object: all its scopes hold; other kinds than two have none."""
    fits = _FITS.get(resource, _never)
    return all(fits(needed, wire) for needed in quota.requirements())


def _never(_needed: ScopeRequirement, _wire: Wire) -> bool:
    return False


def _fits_pod(needed: ScopeRequirement, pod: Wire) -> bool:
    if needed.scope_name == PRIORITY_CLASS:
        name = pod["spec"].get("priorityClassName")
        return _selected(needed, [name] if name else [])
    check = _OF_PODS.get(needed.scope_name)
    return check is not None and check(pod)


def _selected(needed: ScopeRequirement, names: list[str]) -> bool:
    """Match names as values of a label; an object without any has no such label."""
    if needed.operator in (EXISTS, ABSENT):
        return bool(names) is (needed.operator == EXISTS)
    if needed.operator == IN:
        return any(name in needed.values for name in names)
    return not names or any(name not in needed.values for name in names)


def _is_terminating(pod: Wire) -> bool:
    """Return True for a Pod that ends by itself at a time."""
    return pod["spec"].get("activeDeadlineSeconds") is not None


def _is_best_effort(pod: Wire) -> bool:
    quality = (pod.get("status") or {}).get("qosClass") or quality_of_service(dict(pod["spec"]))
    return bool(quality == "BestEffort")


def _crosses(pod: Wire) -> bool:
    """Return True if the affinity of a Pod looks at Pods of other namespaces."""
    affinity = pod["spec"].get("affinity") or {}
    return any(
        term.get("namespaces") or term.get("namespaceSelector") is not None
        for part in ("podAffinity", "podAntiAffinity")
        for term in _terms(affinity.get(part) or {})
    )


def _terms(affinity: Wire) -> Iterator[Wire]:
    yield from affinity.get(_REQUIRED) or ()
    yield from (each.get("podAffinityTerm") or {} for each in affinity.get(_WEIGHED) or ())


_OF_PODS: Mapping[str, Callable[[Wire], bool]] = {
    TERMINATING: _is_terminating,
    NOT_TERMINATING: lambda pod: not _is_terminating(pod),
    BEST_EFFORT: _is_best_effort,
    NOT_BEST_EFFORT: lambda pod: not _is_best_effort(pod),
    CROSS_NAMESPACE: _crosses,
}


def _fits_claim(needed: ScopeRequirement, claim: Wire) -> bool:
    if needed.scope_name != VOLUME_CLASS:
        return False
    status = claim.get("status") or {}
    names = (
        claim["spec"].get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return _selected(needed, [name for name in names if name])


_FITS: Mapping[str, Callable[[ScopeRequirement, Wire], bool]] = {
    "pods": _fits_pod,
    "persistentvolumeclaims": _fits_claim,
}
