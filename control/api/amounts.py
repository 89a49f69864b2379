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


def in_use(pod: Mapping[str, Any], part: str) -> Amounts:
    """Return what a Pod counts as while it is resized: the most of what it asks for and has.

    A resize that the node can never do does not count (KEP-1287).
    """
    status = pod.get("status") or {}
    names = ("containerStatuses", "initContainerStatuses")
    known = {it["name"]: it for name in names for it in status.get(name) or ()}
    pending = (it for it in status.get("conditions") or () if it["type"] == "PodResizePending")
    skip = any(it.get("reason") == "Infeasible" for it in pending)
    spec = dict(pod["spec"])
    for name in ("containers", "initContainers"):
        spec[name] = [
            _effective(it, known.get(it["name"]), part, skip=skip)
            if name == "containers" or it.get("restartPolicy") == "Always"
            else it
            for it in spec.get(name) or ()
        ]
    whole = _effective(spec, status, part, skip=skip)
    asked = own(spec, part).keys()
    amounts = {n: it for n, it in whole["resources"].get(part, {}).items() if n in asked}
    return pod_total(spec | {"resources": {part: amounts}}, part)


def _effective(
    holder: Mapping[str, Any], status: Mapping[str, Any] | None, part: str, *, skip: bool
) -> dict[str, Any]:
    """Return a container, or a spec, with the amounts that count."""
    resources = holder.get("resources") or {}
    if status is None or status.get("resources") is None:
        return {**holder, "resources": resources}
    most = {} if skip else parsed(resources.get(part))
    raise_to(most, own(status, part))
    if part == "requests":
        raise_to(most, parsed(status.get("allocatedResources")))
    return {**holder, "resources": {part: shown(most)}}


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
