"""What one object uses of which resources of a quota. Pure.

Source: k8s.io/kubernetes/pkg/quota/v1/evaluator/core
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from control.api.amounts import Amounts, add, in_use, own, parsed
from control.api.kind import Kind
from control.api.quantity import ZERO, Quantity
from control.api.times import seconds_of

Wire = Mapping[str, Any]
PODS, SERVICES, CLAIMS = "pods", "services", "persistentvolumeclaims"
_ONE = Quantity(10**9)
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
# Resources that each container of a Pod must name, if a quota limits them.
_NEEDED = {f"{part}{name}" for part in ("", "requests.", "limits.") for name in ("cpu", "memory")}
_OF_PODS = {
    PODS,
    "count/pods",
    *(f"{part}{name}" for part in ("", "requests.", "limits.") for name in _COMPUTE),
}
_OF_SERVICES = {SERVICES, "count/services", "services.nodeports", "services.loadbalancers"}
_OF_CLAIMS = (CLAIMS, "requests.storage")
_BY_CLASS = ".storageclass.storage.k8s.io/"
# Kinds of the core group whose number has a short name, too.
_SHORT = ("configmaps", "replicationcontrollers", "resourcequotas", "secrets")
_HUGE_PAGES, _REQUESTS = "hugepages-", "requests."
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def resource_of(kind: Kind) -> str:
    """Return a kind's name in a quota: ``pods``, ``deployments.apps``."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def is_counted(kind: Kind) -> bool:
    """True if quotas count the objects of a kind: those of namespaces, but for Events."""
    return kind.namespaced and kind.plural != "events"


def matching(resource: str, names: Iterable[str]) -> list[str]:
    """Return the names of a quota that objects of a resource use."""
    return [name for name in names if _is_used_by(resource, name)]


def _is_used_by(resource: str, name: str) -> bool:
    if resource == PODS:
        return name in _OF_PODS or name.startswith(_HUGE_PAGES) or _is_extended(name)
    if resource == SERVICES:
        return name in _OF_SERVICES
    if name == f"count/{resource}":
        return True
    if resource == CLAIMS:
        return name in _OF_CLAIMS or name.endswith(tuple(f"{_BY_CLASS}{it}" for it in _OF_CLAIMS))
    return name == resource and resource in _SHORT


def _is_extended(name: str) -> bool:
    """Return True for ``requests.`` of huge pages or of a resource of somebody's own."""
    if name.startswith(f"{_REQUESTS}{_HUGE_PAGES}"):
        return True
    return name.startswith(_REQUESTS) and "/" in name and "kubernetes.io/" not in name


def usage(resource: str, wire: Wire, now: float) -> Amounts:
    """Return what an object uses at ``now``, in seconds since the epoch."""
    if resource == PODS:
        return _pod(wire, now)
    if resource == SERVICES:
        return _service(wire)
    if resource == CLAIMS:
        return _claim(wire)
    names = (f"count/{resource}", *((resource,) if resource in _SHORT else ()))
    return dict.fromkeys(names, _ONE)


def _pod(pod: Wire, now: float) -> Amounts:
    used = {"count/pods": _ONE}
    if _has_ended(pod, now):
        return used
    spec = pod["spec"]
    requests, limits = in_use(pod, "requests"), in_use(pod, "limits")
    overhead = parsed(spec.get("overhead"))
    add(requests, overhead)
    add(limits, {name: more for name, more in overhead.items() if name in limits})
    return used | _compute(requests, limits)


def _has_ended(pod: Wire, now: float) -> bool:
    """Return True for a Pod that has ended, or that is long over the end of its grace period."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    metadata = pod["metadata"]
    grace = metadata.get("deletionGracePeriodSeconds")
    deleted = seconds_of(metadata.get("deletionTimestamp"))
    return deleted is not None and grace is not None and now > deleted + grace


def _compute(requests: Amounts, limits: Amounts) -> Amounts:
    used = {PODS: _ONE}
    for name in _COMPUTE:
        if name in requests:
            used |= {name: requests[name], f"{_REQUESTS}{name}": requests[name]}
        if name in limits:
            used[f"limits.{name}"] = limits[name]
    for name, amount in requests.items():
        if name.startswith(_HUGE_PAGES):
            used |= {name: amount, f"{_REQUESTS}{name}": amount}
        elif "/" in name and "kubernetes.io/" not in name and not name.startswith(_REQUESTS):
            used[f"{_REQUESTS}{name}"] = amount
    return used


def unmet(resource: str, names: Iterable[str], wire: Wire) -> str:
    """Return what a quota of these names wants its objects to say, and this one does not.

    Each container of a Pod has to say how much it needs of CPU and memory that are limited.
    """
    needed = sorted(_NEEDED.intersection(names)) if resource == PODS else []
    lacking: dict[str, set[str]] = {}
    for container in _containers(wire) if needed else ():
        said = _compute(own(container, "requests"), own(container, "limits"))
        for name in needed:
            if name not in said:
                lacking.setdefault(name, set()).add(container.get("name", ""))
    parts = [f"{name} for: {','.join(sorted(lacking[name]))}" for name in sorted(lacking)]
    return f"must specify {'; '.join(parts)}" if parts else ""


def _containers(pod: Wire) -> list[Wire]:
    spec = pod["spec"]
    return [*spec.get("containers", ()), *spec.get("initContainers", ())]


def _service(service: Wire) -> Amounts:
    spec = service["spec"]
    ports: Sequence[Wire] = spec.get("ports") or ()
    kind = spec.get("type")
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
        ports = [port for port in ports if port.get("nodePort")]
    balanced = kind == "LoadBalancer"
    return {
        "count/services": _ONE,
        SERVICES: _ONE,
        "services.loadbalancers": _ONE if balanced else ZERO,
        "services.nodeports": _times(len(ports)) if balanced or kind == "NodePort" else ZERO,
    }


def _times(number: int) -> Quantity:
    return Quantity(number * 10**9)


def _claim(claim: Wire) -> Amounts:
    used = {CLAIMS: _ONE, "count/persistentvolumeclaims": _ONE}
    storage_class = _class_of(claim)
    if (storage := _storage(claim)) is not None:
        used["requests.storage"] = storage
    if storage_class:
        prefix = f"{storage_class}{_BY_CLASS}"
        used |= {f"{prefix}{name}": used[name] for name in _OF_CLAIMS if name in used}
    return used


def _class_of(claim: Wire) -> str:
    annotations = claim["metadata"].get("annotations") or {}
    return str(annotations.get(_BETA_CLASS) or claim["spec"].get("storageClassName") or "")


def _storage(claim: Wire) -> Quantity | None:
    """Return the whole bytes that a claim requests, or more if it has more by now."""
    asked = own(claim["spec"], "requests").get("storage")
    if asked is None:
        return None
    given = parsed((claim.get("status") or {}).get("allocatedResources")).get("storage")
    most = asked if given is None else max(asked, given)
    return Quantity(most.value() * 10**9, most.notation)
