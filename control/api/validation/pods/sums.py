"""Validate the resources of a whole Pod beside those of its containers. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (validatePodResourceConsistency), and for the
sums k8s.io/component-helpers/resource (KEP-753).
"""

from collections.abc import Mapping
from typing import Literal

from control.api import field
from control.api.container import Container, ResourceRequirements
from control.api.field import FieldError
from control.api.pod import PodSpec
from control.api.quantity import Quantity, QuantityError, parse

Side = Literal["requests", "limits"]
Sums = dict[str, Quantity]

_HUGE_PAGES = "hugepages-"


def validate_sums(path: str, spec: PodSpec, whole: ResourceRequirements) -> list[FieldError]:
    """Check that a Pod asks for no less than its containers, and limits each of them."""
    try:
        return (
            _requests(f"{path}.requests", spec, _read(whole.requests))
            + _limits(f"{path}.limits", spec, _read(whole.limits))
            + _limits_of_each(path, spec, _read(whole.limits))
        )
    except QuantityError:
        return []  # which the checks of single amounts have said


def _requests(path: str, spec: PodSpec, whole: Sums) -> list[FieldError]:
    return [
        field.invalid(f"{path}[{name}]", str(whole[name]), f"{_LEAST} requests of {needed}")
        for name, needed in sorted(_sums(spec, "requests").items())
        if name in whole and needed > whole[name]
    ]


_LEAST = "must be greater than or equal to aggregate container"


def _limits(path: str, spec: PodSpec, whole: Sums) -> list[FieldError]:
    """Check huge pages, which are never shared: the limits of all containers are in the Pod's."""
    return [
        field.invalid(f"{path}[{name}]", str(whole[name]), f"{_LEAST} limits of {needed}")
        for name, needed in sorted(_sums(spec, "limits").items())
        if name.startswith(_HUGE_PAGES) and name in whole and needed > whole[name]
    ]


def _limits_of_each(path: str, spec: PodSpec, whole: Sums) -> list[FieldError]:
    return [
        field.invalid(
            f"{path}.containers[{at}][{name}].limits",
            str(limit),
            f"must be less than or equal to pod limits of {whole[name]}",
        )
        for at, container in enumerate(spec.containers)
        for name, limit in sorted(_read(container.resources.limits).items())
        if name in whole and limit > whole[name]
    ]


def _sums(spec: PodSpec, side: Side) -> Sums:
    """Return what the containers need together at the most.

    An init container needs its own amount beside those of the sidecars before it.
    """
    steady: Sums = {}
    for container in spec.containers:
        _add(steady, _of(container, side))
    sidecars: Sums = {}
    peak: Sums = {}
    for container in spec.init_containers:
        own = _of(container, side)
        if container.is_sidecar:
            _add(steady, own)
            _add(sidecars, own)
            _raise(peak, sidecars)
        else:
            _add(own, sidecars)
            _raise(peak, own)
    _raise(steady, peak)
    return steady


def _of(container: Container, side: Side) -> Sums:
    resources = container.resources
    return _read(resources.requests if side == "requests" else resources.limits)


def _read(amounts: Mapping[str, str | int | float]) -> Sums:
    return {name: parse(amount) for name, amount in amounts.items()}


def _add(total: Sums, more: Sums) -> None:
    for name, amount in more.items():
        total[name] = total[name] + amount if name in total else amount


def _raise(most: Sums, other: Sums) -> None:
    for name, amount in other.items():
        most[name] = max(most[name], amount) if name in most else amount
