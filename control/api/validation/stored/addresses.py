"""Validate IPAddresses and ServiceCIDRs. Pure.

Source: k8s.io/kubernetes/pkg/apis/networking/validation
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.meta import Object
from control.api.validation import text
from control.api.validation.meta import IMMUTABLE, immutable, invalid_each

Wire = Mapping[str, Any]

_FAMILIES = 2


def validate_address(address: Object) -> list[FieldError]:
    """Check whom an IPAddress belongs to."""
    parent = _parent(address)
    if parent is None:
        return [field.required("spec.parentRef")]
    found = []
    if group := parent.get("group"):
        found += invalid_each("spec.parentRef.group", group, text.dns_subdomain(group))
    for name, must in (("resource", True), ("name", True), ("namespace", False)):
        if value := parent.get(name):
            found += invalid_each(f"spec.parentRef.{name}", value, text.path_segment(value))
        elif must:
            found.append(field.required(f"spec.parentRef.{name}"))
    return found


def validate_address_update(new: Object, old: Object) -> list[FieldError]:
    """Refuse another owner."""
    return immutable("spec.parentRef", _parent(new), _parent(old))


def _parent(address: Object) -> Wire | None:
    parent: Wire | None = address.wire().get("spec", {}).get("parentRef")
    return parent


def validate_ranges(ranges: Object) -> list[FieldError]:
    """Check the ranges of a ServiceCIDR: one, or one of each IP family."""
    cidrs = _cidrs(ranges)
    if not cidrs:
        return [field.required("spec.cidrs", "at least one CIDR required")]
    if len(cidrs) > _FAMILIES:
        return [field.invalid("spec.cidrs", {"cidrs": cidrs}, "may only hold up to 2 values")]
    found = []
    for at, cidr in enumerate(cidrs):
        found += invalid_each(f"spec.cidrs[{at}]", cidr, text.canonical_cidr(cidr))
    if not found and len({ip_network(cidr).version for cidr in cidrs}) < len(cidrs):
        why = (
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and"
            " 2001:db8::/64"
        )
        found.append(field.invalid("spec.cidrs", cidrs, why))
    return found


def validate_ranges_update(new: Object, old: Object) -> list[FieldError]:
    """Refuse changes, but a second range beside the first."""
    after, before = _cidrs(new), _cidrs(old)
    grows = len(before) == 1 and len(after) == _FAMILIES
    if len(after) != len(before) and not grows:
        return [field.invalid("spec.cidrs", after, IMMUTABLE)]
    return [
        field.invalid(f"spec.cidrs[{at}]", now, IMMUTABLE)
        for at, (now, was) in enumerate(zip(after, before, strict=False))
        if now != was
    ]


def _cidrs(ranges: Object) -> Sequence[str]:
    cidrs: Sequence[str] = ranges.wire().get("spec", {}).get("cidrs", ())
    return cidrs
