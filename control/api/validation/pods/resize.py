"""Validate the resize of a running Pod's resources. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (ValidatePodResize), KEP-1287 and KEP-5419
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from control.api import field
from control.api.container import Container, ResourceRequirements
from control.api.defaults.pod import quality_of_service
from control.api.field import FieldError
from control.api.pod import Pod

_MIRROR = "kubernetes.io/config.mirror"
_RESIZED = ("cpu", "memory")
_ONLY = "only cpu and memory resources are mutable"
_ONLY_INIT = "only cpu and memory resources for init or sidecar containers are mutable"
_RESTARTS = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
Wire = Mapping[str, Any]


def unresizable(old: Pod) -> list[FieldError]:
    """Return why a Pod can never be resized: it is a node's own, or one of Windows."""
    if _MIRROR in old.metadata.annotations:
        return [field.forbidden("[]", "static pods cannot be resized")]
    if old.spec.os is not None and old.spec.os.get("name") == "windows":
        return [field.forbidden("[]", "windows pods cannot be resized")]
    return []


def validate_resize(new: Pod, old: Pod) -> list[FieldError]:
    """Refuse to change anything but CPU and memory, and to change the quality of service."""
    found = []
    quality = old.status.qos_class or quality_of_service(old.spec.wire())
    if quality_of_service(new.spec.wire()) != quality:
        why = "Pod QOS Class may not change as a result of resizing"
        found.append(field.invalid("spec", new.status.qos_class or "", why))
    if not _node_resizes(old):
        found.append(field.forbidden("spec", "Pod running on node without support for resize"))
    found += _whole(new.spec.resources, old.spec.resources)
    if other := [*_order(new, old)]:
        return found + other
    for part, containers, before in _lists(new, old):
        for at, (container, earlier) in enumerate(zip(containers, before, strict=True)):
            path = f"spec.{part}[{at}].resources"
            found += _removed(path, "resource", container.resources, earlier.resources)
    for part, containers, before in reversed(_lists(new, old)):
        for at, (container, earlier) in enumerate(zip(containers, before, strict=True)):
            found += _changes(part, at, container, earlier)
    empty = new.spec.resources is not None and not new.spec.resources.wire()
    return (
        [field.forbidden("spec", _ONLY)]
        if not found and empty and old.spec.resources is None
        else found
    )


def _node_resizes(pod: Pod) -> bool:
    """Return True if the node reports the resources of running containers, or none runs."""
    running = (status for status in pod.status.container_statuses if status.state.running)
    return next((status.resources is not None for status in running), True)


def _lists(new: Pod, old: Pod) -> list[tuple[str, list[Container], list[Container]]]:
    return [
        ("initContainers", new.spec.init_containers, old.spec.init_containers),
        ("containers", new.spec.containers, old.spec.containers),
    ]


def _order(new: Pod, old: Pod) -> Iterator[FieldError]:
    for part, containers, before in reversed(_lists(new, old)):
        if len(containers) != len(before):
            yield field.forbidden(f"spec.{part}", f"{part} may not be added or removed on resize")
            continue
        for at, (container, earlier) in enumerate(zip(containers, before, strict=True)):
            if container.name != earlier.name:
                why = f"{part} may not be renamed or reordered on resize"
                yield field.forbidden(f"spec.{part}[{at}].name", why)


def _removed(
    path: str, what: str, new: ResourceRequirements, old: ResourceRequirements
) -> Iterator[FieldError]:
    if old.requests.keys() - new.requests.keys():
        yield field.forbidden(f"{path}.requests", f"{what} requests cannot be removed")
    if old.limits.keys() - new.limits.keys():
        yield field.forbidden(f"{path}.limits", f"{what} limits cannot be removed")


def _whole(new: ResourceRequirements | None, old: ResourceRequirements | None) -> list[FieldError]:
    """Check the resources of the Pod as a whole (KEP-5419)."""
    if not any(each and (each.requests or each.limits) for each in (new, old)):
        return []
    if new is None:
        return [field.forbidden("spec.resources", "pod-level resources cannot be removed")]
    before = old or ResourceRequirements()
    found = [] if old is None else [*_removed("spec.resources", "pod-level resource", new, old)]
    if _others(new) != _others(before) or new.claims != before.claims:
        found.append(field.forbidden("spec", f"{_ONLY} at pod-level"))
    return found


def _others(resources: ResourceRequirements) -> list[dict[str, Any]]:
    """Return the requests and limits of what no resize changes."""
    return [
        {name: amount for name, amount in amounts.items() if name not in _RESIZED}
        for amounts in (resources.requests, resources.limits)
    ]


def _changes(part: str, at: int, new: Container, old: Container) -> Iterator[FieldError]:
    """Check one container; as upstream, one that claims devices can never be resized."""
    is_init = part == "initContainers"
    if (
        _fixed(new) != _fixed(old)
        or _others(new.resources) != _others(old.resources)
        or old.resources.claims
    ):
        yield (
            field.forbidden(f"spec.{part}[{at}]", _ONLY_INIT)
            if is_init
            else field.forbidden("spec", _ONLY)
        )
    if is_init and not old.is_sidecar and new.wire() != old.wire():
        yield from _restarting(f"spec.{part}[{at}]", new.resize_policy)


def _fixed(container: Container) -> Wire:
    return {name: value for name, value in container.wire().items() if name != "resources"}


def _restarting(path: str, policies: Iterable[Mapping[str, str]]) -> Iterator[FieldError]:
    for policy in policies:
        if policy.get("restartPolicy") == "RestartContainer":
            yield field.forbidden(path, _RESTARTS)
