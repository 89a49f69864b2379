"""Decide the IP families of a Service from its spec and the cluster's families. Pure.

Source: https://kubernetes.io/docs/concepts/services-networking/dual-stack/#services (KEP-563)
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from control.api import field
from control.api.defaults.service import HEADLESS
from control.api.field import FieldError

SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
_OTHER = {"IPv4": "IPv6", "IPv6": "IPv4"}
_POLICY = "spec.ipFamilyPolicy"
_FIELDS = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")

Wire = dict[str, Any]


def family_of(ip: str) -> str:
    """Return IPv4 or IPv6."""
    return f"IPv{ip_address(ip).version}"


def with_families(
    spec: Wire, old: Mapping[str, Any] | None, cluster: tuple[str, ...]
) -> tuple[Wire, list[FieldError]]:
    """Return the spec with policy and families set, or errors.

    ``cluster`` has the cluster's families in order; ``old`` is None for a new Service. The
    addresses are valid (see validation).
    """
    if spec.get("type") == "ExternalName" or _is_unchanged_prefer(spec, old):
        return spec, []
    spec = spec | {"ipFamilyPolicy": spec.get("ipFamilyPolicy") or _policy(spec, old)}
    if old is not None:
        spec = _released(spec, old)
    found = [*_policy_errors(spec, old), *_address_errors(spec, cluster)]
    if found:
        return spec, found
    spec = spec | {"ipFamilies": _with_inferred(spec)}
    if _is_free(spec):
        return spec | {"ipFamilies": _completed(spec, cluster[:1], tuple(_OTHER))}, []
    if found := list(_cluster_errors(spec, cluster)):
        return spec, found
    return spec | {"ipFamilies": _completed(spec, cluster[:1], cluster)}, []


def _is_unchanged_prefer(spec: Wire, old: Mapping[str, Any] | None) -> bool:
    """Return True for a PreferDualStack Service whose update does not touch these fields."""
    return (
        old is not None
        and spec.get("ipFamilyPolicy") == PREFER
        and all(spec.get(name) == old.get(name) for name in _FIELDS)
    )


def _is_free(spec: Wire) -> bool:
    """Return True for a headless Service without selector: the user sets its endpoints."""
    return spec.get("clusterIP") == HEADLESS and not spec.get("selector")


def _policy(spec: Wire, old: Mapping[str, Any] | None) -> str:
    if old is not None and old.get("ipFamilyPolicy"):
        return str(old["ipFamilyPolicy"])
    return REQUIRE if _is_free(spec) else SINGLE


def _released(spec: Wire, old: Mapping[str, Any]) -> Wire:
    """Release the second family of a Service that becomes SingleStack."""
    if spec["ipFamilyPolicy"] != SINGLE:
        return spec
    cut = {
        name: spec[name][:1]
        for name in ("clusterIPs", "ipFamilies")
        if spec.get(name) == old.get(name) and spec.get(name)
    }
    return spec | cut


def _policy_errors(spec: Wire, old: Mapping[str, Any] | None) -> list[FieldError]:
    policy, found = spec["ipFamilyPolicy"], []
    names = (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family"))
    for name, noun in names:
        values = spec.get(name, [])
        if policy == SINGLE and len(values) == 2:
            plural = "cluster IPs" if name == "clusterIPs" else "IP families"
            needed = "must be 'RequireDualStack' or 'PreferDualStack'"
            why = f"{needed} when multiple {plural} are specified"
            found.append(field.invalid(_POLICY, policy, why))
        if policy != SINGLE and old is not None and _is_reduced(values, old.get(name, [])):
            why = f"must be 'SingleStack' to release the secondary {noun}"
            found.append(field.invalid(_POLICY, policy, why))
    return found


def _is_reduced(new: list[str], old: list[str]) -> bool:
    return bool(new) and len(new) == 1 and len(old) == 2 and new[0] == old[0]


def _given_ips(spec: Wire) -> list[str]:
    return [ip for ip in spec.get("clusterIPs", []) if ip and ip != HEADLESS]


def _address_errors(spec: Wire, cluster: tuple[str, ...]) -> list[FieldError]:
    ips, families = _given_ips(spec), spec.get("ipFamilies", [])
    return [
        field.invalid(
            f"spec.clusterIPs[{at}]",
            spec["clusterIPs"],
            f"{family_of(ip)} is not configured on this cluster",
        )
        for at, ip in enumerate(ips)
        if at >= len(families) and family_of(ip) not in cluster
    ]


def _with_inferred(spec: Wire) -> list[str]:
    """Return the given families, plus those of further addresses."""
    families = list(spec.get("ipFamilies", []))
    return families + [family_of(ip) for ip in _given_ips(spec)[len(families) :]]


def _cluster_errors(spec: Wire, cluster: tuple[str, ...]) -> Iterable[FieldError]:
    policy = spec["ipFamilyPolicy"]
    if policy == REQUIRE and len(cluster) < 2:
        why = "this cluster is not configured for dual-stack services"
        yield field.invalid(_POLICY, policy, why)
    for at, family in enumerate(spec["ipFamilies"]):
        if family not in cluster:
            yield field.invalid(f"spec.ipFamilies[{at}]", family, "not configured on this cluster")


def _completed(spec: Wire, default: tuple[str, ...], available: tuple[str, ...]) -> list[str]:
    """Return the default family if none is given, plus the other one for dual stack."""
    families = spec["ipFamilies"] or list(default)
    if spec["ipFamilyPolicy"] == SINGLE or len(families) == 2:
        return list(families)
    other = _OTHER[families[0]]
    return [*families, other] if other in available else list(families)
