"""Amounts of resources by name: sums, peaks, and what a whole Pod asks for. Pure.

Source: k8s.io/component-helpers/resource (PodRequests, PodLimits)
"""

from collections.abc import Iterable, Mapping
from typing import Any

from control.api.quantity import Quantity, parse

Amounts = dict[str, Quantity]
_POD_LEVEL = ("cpu", "memory")


def parsed(amounts: Mapping[str, Any] | None) -> Amounts:
    """Return amounts of the wire as numbers; raises QuantityError."""
    return {name: parse(amount) for name, amount in (amounts or {}).items()}


def shown(amounts: Mapping[str, Quantity]) -> dict[str, str | int | float]:
    """Return amounts as the wire has them."""
    return {name: str(amount) for name, amount in amounts.items()}


def add(total: Amounts, more: Mapping[str, Quantity]) -> None:
    """Add amounts to others, in place."""
    for name, amount in more.items():
        total[name] = total[name] + amount if name in total else amount


def raise_to(total: Amounts, others: Mapping[str, Quantity]) -> None:
    """Raise amounts to others where those are higher, in place."""
    for name, amount in others.items():
        total[name] = max(total.get(name, amount), amount)


def masked(amounts: Mapping[str, Quantity], names: Iterable[str]) -> Amounts:
    """Return the amounts with these names."""
    kept = set(names)
    return {name: amount for name, amount in amounts.items() if name in kept}


def own(holder: Mapping[str, Any], part: str) -> Amounts:
    """Return the ``requests`` or ``limits`` of a container, or of a Pod's spec itself."""
    return parsed((holder.get("resources") or {}).get(part))


def pod_total(spec: Mapping[str, Any], part: str) -> Amounts:
    """Return what a Pod asks for as a whole: what runs together, or an init container's peak."""
    total: Amounts = {}
    for container in spec.get("containers", ()):
        add(total, own(container, part))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers", ()):
        now = own(container, part)
        add(now, sidecars)
        if container.get("restartPolicy") == "Always":
            add(total, own(container, part))
            sidecars = now
        raise_to(peak, now)
    raise_to(total, peak)
    whole = own(spec, part)
    return total | {name: whole[name] for name in _POD_LEVEL if name in whole}
