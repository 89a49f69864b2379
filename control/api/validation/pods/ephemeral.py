"""Validate the ephemeral containers of a Pod. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (validateEphemeralContainers and
ValidatePodEphemeralContainersUpdate), KEP-277
"""

from collections.abc import Collection

from control.api import field
from control.api.container import EphemeralContainer
from control.api.field import FieldError
from control.api.pod import Pod, PodSpec
from control.api.validation.pods.container import validate_containers, validate_images
from control.api.validation.pods.context import PodContext

_WHY = "cannot be set for an Ephemeral Container"
_MIRROR = "kubernetes.io/config.mirror"
# Upstream names the fields of its structure here, not those of the wire.
_FORBIDDEN = {
    "Ports": "ports",
    "LivenessProbe": "liveness_probe",
    "ReadinessProbe": "readiness_probe",
    "StartupProbe": "startup_probe",
    "Lifecycle": "lifecycle",
    "RestartPolicy": "restart_policy",
    "RestartPolicyRules": "restart_policy_rules",
    "ResizePolicy": "resize_policy",
}


def validate_ephemeral(
    path: str, spec: PodSpec, context: PodContext, names: set[str]
) -> list[FieldError]:
    """Check them; ``names`` are those of the Pod's other containers, and get theirs."""
    others = frozenset(names)
    found = validate_containers(path, [*spec.ephemeral_containers], context, names)
    found += validate_images(path, spec.ephemeral_containers)
    for at, container in enumerate(spec.ephemeral_containers):
        found += _one(f"{path}[{at}]", container, others)
    return found


def _one(path: str, container: EphemeralContainer, others: Collection[str]) -> list[FieldError]:
    found = []
    target = container.target_container_name
    if target and target not in others:
        found.append(field.not_found(f"{path}.targetContainerName", target))
    for name, attribute in _FORBIDDEN.items():
        if getattr(container, attribute):
            found.append(field.forbidden(f"{path}.{name}", _WHY))
    if container.resources.wire():
        found.append(field.forbidden(f"{path}.Resources", _WHY))
    for at, mount in enumerate(container.volume_mounts):
        if mount.sub_path:
            found.append(field.forbidden(f"{path}.volumeMounts[{at}].subPath", _WHY))
        if mount.sub_path_expr:
            found.append(field.forbidden(f"{path}.volumeMounts[{at}].subPathExpr", _WHY))
    return found


def validate_ephemeral_update(new: Pod, old: Pod) -> list[FieldError]:
    """Refuse to change or to remove those that are there: they may have run."""
    path = "spec.ephemeralContainers"
    if _MIRROR in old.metadata.annotations:
        return [field.forbidden("[]", "static pods do not support ephemeral containers")]
    after = {container.name: container for container in new.spec.ephemeral_containers}
    found = []
    for before in old.spec.ephemeral_containers:
        what = f'existing ephemeral containers "{before.name}" may not be'
        if before.name not in after:
            found.append(field.forbidden(path, f"{what} removed\n"))
        elif after[before.name].wire() != before.wire():
            found.append(field.forbidden(path, f"{what} changed\n"))
    return found
