"""Validate the resources of containers and Pods: names, amounts and claims. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (validateResourceRequirements) and
pkg/apis/core/helper
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from control.api import field
from control.api.container import ResourceRequirements
from control.api.field import FieldError
from control.api.quantity import Quantity, QuantityError, parse
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.validation.text import NOT_NEGATIVE

Amounts = Mapping[str, str | int | float]
NameCheck = Callable[[str, str], list[FieldError]]

_COMPUTE = {"cpu", "memory"}
_OF_CONTAINERS = {*_COMPUTE, "ephemeral-storage"}
_OF_PODS = ("cpu", "hugepages-", "memory")
_COUNTED = {
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
}
# What a ResourceQuota may limit.
OF_QUOTAS = {
    *_OF_CONTAINERS,
    *(f"{part}.{name}" for part in ("limits", "requests") for name in _OF_CONTAINERS),
    *_COUNTED,
    "requests.storage",
}
_STANDARD = {*OF_QUOTAS, "storage"}
_HUGE_PAGES = "hugepages-"
HUGE_PAGES_OF_QUOTAS = (_HUGE_PAGES, f"requests.{_HUGE_PAGES}")
_WHOLE = 1000  # thousandths


def validate_resources(
    path: str, resources: ResourceRequirements, claims: Collection[str]
) -> list[FieldError]:
    """Check a container's resources; no request may exceed its limit."""
    found = _amounts(path, resources, container_resource)
    if resources.claims:
        found += _claims(f"{path}.claims", resources.claims, claims)
    return found


def validate_pod_resources(path: str, resources: ResourceRequirements) -> list[FieldError]:
    """Check the resources of a whole Pod: CPU, memory and huge pages only (KEP-2837)."""
    found = _amounts(path, resources, _pod_name)
    if resources.claims:
        why = "claims may not be set for Resources at pod-level"
        found.append(field.forbidden(f"{path}.claims", why))
    return found


def validate_overhead(path: str, overhead: Amounts) -> list[FieldError]:
    """Check what a Pod costs besides its containers, as the limits of a container."""
    return _amounts(path, ResourceRequirements(limits=dict(overhead)), container_resource)


def _amounts(path: str, resources: ResourceRequirements, check: NameCheck) -> list[FieldError]:
    limits, requests = resources.limits, resources.requests
    if not limits and not requests:
        return []
    found: list[FieldError] = []
    for name, amount in limits.items():
        found += _amount(f"{path}.limits[{name}]", name, amount, check)
    for name, amount in requests.items():
        found += _amount(f"{path}.requests[{name}]", name, amount, check)
    found += [] if found else _requests(path, requests, limits)
    names = limits.keys() | requests.keys()
    if not names & _COMPUTE and any(name.startswith(_HUGE_PAGES) for name in names):
        found.append(field.forbidden(path, "HugePages require cpu or memory"))
    return found


def _amount(path: str, name: str, amount: str | int | float, check: NameCheck) -> list[FieldError]:
    found = [] if name in _COMPUTE else check(path, name)
    try:
        quantity = parse(amount)
    except QuantityError as err:
        return [*found, field.invalid(path, amount, str(err))]
    return found + validate_quantity(path, name, quantity) + _pages(path, name, quantity)


def validate_quantity(path: str, name: str, quantity: Quantity) -> list[FieldError]:
    """Check the amount of a resource: not negative, and whole if the resource is counted."""
    found = []
    if quantity.nano < 0:
        found.append(field.invalid(path, str(quantity), NOT_NEGATIVE))
    if name not in _OF_CONTAINERS and _is_counted(name) and quantity.milli() % _WHOLE:
        found.append(field.invalid(path, str(quantity), "must be an integer"))
    return found


def _pages(path: str, name: str, quantity: Quantity) -> list[FieldError]:
    if not name.startswith(_HUGE_PAGES) or _is_divisible(name, quantity):
        return []
    why = f"{quantity} is not positive integer multiple of {name}"
    return [field.invalid(path, str(quantity), why)]


def _is_divisible(name: str, quantity: Quantity) -> bool:
    try:
        size = parse(name.removeprefix(_HUGE_PAGES))
    except QuantityError:
        return False
    return size.nano > 0 and not size.milli() % _WHOLE and not quantity.value() % size.value()


def _requests(path: str, requests: Amounts, limits: Amounts) -> list[FieldError]:
    found = []
    own = f"{path}.requests"
    for name, amount in requests.items():
        overcommits = name in _OF_CONTAINERS or _overcommits(name)
        if name not in limits:
            if not overcommits:
                why = "Limit must be set for non overcommitable resources"
                found.append(field.required(f"{path}.limits", why))
            continue
        request, limit = parse(amount), parse(limits[name])
        if request != limit and not overcommits:
            why = f"must be equal to {name} limit of {limit}"
            found.append(field.invalid(own, str(request), why))
        elif request > limit:
            why = f"must be less than or equal to {name} limit of {limit}"
            found.append(field.invalid(own, str(request), why))
    return found


def _is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def _is_extended(name: str) -> bool:
    if _is_native(name) or name.startswith("requests."):
        return False
    return not text.qualified_name(f"requests.{name}")


def _is_counted(name: str) -> bool:
    return name in _COUNTED or _is_extended(name)


def _overcommits(name: str) -> bool:
    return _is_native(name) and not name.startswith(_HUGE_PAGES)


def resource_name(path: str, name: str) -> list[FieldError]:
    """Check the name of a resource of any kind."""
    if found := invalid_each(path, name, text.qualified_name(name)):
        return found
    if "/" in name or name in _STANDARD or name.startswith(HUGE_PAGES_OF_QUOTAS):
        return []
    why = "must be a standard resource type or fully qualified"
    return [field.invalid(path, name, why)]


def container_resource(path: str, name: str) -> list[FieldError]:
    """Check the name of a resource that a container may ask for."""
    if name in _OF_CONTAINERS:
        return []
    found = resource_name(path, name)
    if "/" not in name:
        if not name.startswith(_HUGE_PAGES):
            why = "must be a standard resource for containers"
            found.append(field.invalid(path, name, why))
    elif not _is_native(name) and not _is_extended(name):
        why = "doesn't follow extended resource name standard"
        found.append(field.invalid(path, name, why))
    return found


def _pod_name(path: str, name: str) -> list[FieldError]:
    if found := resource_name(path, name):
        return found
    if name in _COMPUTE or name.startswith(_HUGE_PAGES):
        return []
    return [field.not_supported(path, name, _OF_PODS)]


def _claims(
    path: str, claims: Sequence[Mapping[str, str]], known: Collection[str]
) -> list[FieldError]:
    found = []
    whole: set[str] = set()  # claims that are used whole
    parts: set[str] = set()  # claims of which single requests are used
    pairs: set[tuple[str, str]] = set()
    for at, claim in enumerate(claims):
        own, name, request = f"{path}[{at}]", claim.get("name", ""), claim.get("request", "")
        if not name:
            found.append(field.required(own))
            continue
        if request:
            found += invalid_each(f"{own}.request", request, text.dns_label(request))
        if name in whole or (not request and name in parts):
            found.append(field.duplicate(own, name))
        elif (name, request) in pairs:
            found.append(field.duplicate(own, f"{name}/{request}"))
        (parts if request else whole).add(name)
        pairs.add((name, request))
        if name not in known:
            found.append(_unknown_claim(own, name, known))
    return found


def _unknown_claim(path: str, name: str, known: Collection[str]) -> FieldError:
    listed = f": {', '.join(sorted(known))}" if known else " which is empty"
    why = f"must be one of the names in pod.spec.resourceClaims{listed}"
    return FieldError(field.NOT_FOUND, path, why, name)


def validate_pod_claims(path: str, claims: Sequence[Mapping[str, str]]) -> list[FieldError]:
    """Check the resource claims of a Pod: each has a name, and one claim or one template."""
    found: list[FieldError] = []
    names: set[str] = set()
    for at, claim in enumerate(claims):
        own, name = f"{path}[{at}]", claim.get("name", "")
        if not name:
            found.append(field.required(f"{own}.name"))
        elif name in names:
            found.append(field.duplicate(f"{own}.name", name))
        else:
            found += invalid_each(f"{own}.name", name, text.dns_label(name))
        names.add(name)
        found += _claim_source(own, claim)
    return found


def _claim_source(path: str, claim: Mapping[str, str]) -> list[FieldError]:
    given = [name for name in ("resourceClaimName", "resourceClaimTemplateName") if name in claim]
    found = []
    if len(given) > 1:
        why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
        found.append(field.invalid(path, dict(claim), why))
    if not given:
        why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
        found.append(field.invalid(path, dict(claim), why))
    for name in given:
        found += invalid_each(f"{path}.{name}", claim[name], text.dns_subdomain(claim[name]))
    return found
