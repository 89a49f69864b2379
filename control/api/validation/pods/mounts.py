"""Validate the mounts and block devices of a container. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (ValidateVolumeMounts, ValidateVolumeDevices)
"""

from control.api import field
from control.api.container import Container, VolumeDevice, VolumeMount
from control.api.field import FieldError
from control.api.validation.pods.context import PodContext
from control.api.validation.pods.paths import validate_descending, validate_no_backsteps
from control.api.volume import Volume

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")


def validate_mounts(path: str, container: Container, context: PodContext) -> list[FieldError]:
    """Check the mounts: each of a volume, at a path of its own."""
    found: list[FieldError] = []
    devices = {device.name: device.device_path for device in container.volume_devices}
    paths = {*devices.values()}
    seen: set[str] = set()
    for at, mount in enumerate(container.volume_mounts):
        own = f"{path}.volumeMounts[{at}]"
        found += _named(own, mount, context)
        if not mount.mount_path:
            found.append(field.required(f"{own}.mountPath"))
        elif mount.mount_path in seen:
            found.append(field.invalid(f"{own}.mountPath", mount.mount_path, "must be unique"))
        seen.add(mount.mount_path)
        if mount.name in devices:
            why = "must not already exist in volumeDevices"
            found.append(field.invalid(f"{own}.name", mount.name, why))
        if mount.mount_path in paths:
            why = "must not already exist as a path in volumeDevices"
            found.append(field.invalid(f"{own}.mountPath", mount.mount_path, why))
        if mount.sub_path or mount.sub_path_expr:
            found += _below(f"{path}.volumeMounts", own, mount)
        if mount.mount_propagation is not None or mount.recursive_read_only is not None:
            found += _options(f"{path}.volumeMounts", mount, container)
    return found


def _named(path: str, mount: VolumeMount, context: PodContext) -> list[FieldError]:
    if not mount.name:
        return [field.required(f"{path}.name")]
    if mount.name not in context.volumes:
        return [field.not_found(f"{path}.name", mount.name)]
    return []


def _below(path: str, own: str, mount: VolumeMount) -> list[FieldError]:
    """Check the parts of a volume; upstream's paths of these errors have no number."""
    found = []
    if mount.sub_path:
        found += validate_descending(f"{path}.subPath", mount.sub_path)
    if mount.sub_path_expr:
        if mount.sub_path:
            why = "subPathExpr and subPath are mutually exclusive"
            found.append(field.invalid(f"{own}.subPathExpr", mount.sub_path_expr, why))
        found += validate_descending(f"{path}.subPathExpr", mount.sub_path_expr)
    return found


def _options(path: str, mount: VolumeMount, container: Container) -> list[FieldError]:
    found = []
    if (propagation := mount.mount_propagation) is not None:
        own, context = f"{path}.mountPropagation", container.security_context
        if propagation not in _PROPAGATIONS:
            found.append(field.not_supported(own, propagation, _PROPAGATIONS))
        if propagation == "Bidirectional" and not (context and context.privileged):
            why = "Bidirectional mount propagation is available only to privileged containers"
            found.append(field.forbidden(own, why))
    if mount.recursive_read_only is not None:
        found += _recursive(f"{path}.recursiveReadOnly", mount, mount.recursive_read_only)
    return found


def _recursive(path: str, mount: VolumeMount, value: str) -> list[FieldError]:
    if value not in _RECURSIVE:
        return [field.not_supported(path, value, _RECURSIVE)]
    if value == "Disabled":
        return []
    found = []
    if not mount.read_only:
        found.append(field.forbidden(path, "may only be specified when readOnly is true"))
    if mount.mount_propagation not in (None, "None"):
        why = "may only be specified when mountPropagation is None or not specified"
        found.append(field.forbidden(path, why))
    return found


def validate_devices(path: str, container: Container, context: PodContext) -> list[FieldError]:
    """Check the block devices: each of a volume by claim, at a path of its own."""
    found: list[FieldError] = []
    mounts = {mount.name: mount.mount_path for mount in container.volume_mounts}
    paths = {*mounts.values()}
    names: set[str] = set()
    seen: set[str] = set()
    for at, device in enumerate(container.volume_devices):
        own = f"{path}.volumeDevices[{at}]"
        found += _device(own, device, context.volumes.get(device.name))
        found += _once(own, device, names, seen)
        if device.name in mounts:
            why = "must not already exist in volumeMounts"
            found.append(field.invalid(f"{own}.name", device.name, why))
        if device.device_path in paths:
            why = "must not already exist as a path in volumeMounts"
            found.append(field.invalid(f"{own}.devicePath", device.device_path, why))
    return found


def _device(path: str, device: VolumeDevice, volume: Volume | None) -> list[FieldError]:
    found = [] if device.name else [field.required(f"{path}.name")]
    if volume is None:
        found.append(field.not_found(f"{path}.name", device.name))
    elif volume.persistent_volume_claim is None and volume.ephemeral is None:
        kinds = "PersistentVolumeClaim or Ephemeral"
        why = f"can only use volume source type of {kinds} for block mode"
        found.append(field.invalid(f"{path}.name", device.name, why))
    if not device.device_path:
        found.append(field.required(f"{path}.devicePath"))
    elif validate_no_backsteps(path, device.device_path):
        why = "can not contain backsteps ('..')"
        found.append(field.invalid(f"{path}.devicePath", device.device_path, why))
    return found


def _once(path: str, device: VolumeDevice, names: set[str], paths: set[str]) -> list[FieldError]:
    found = []
    if device.name in names:
        found.append(field.invalid(f"{path}.name", device.name, "must be unique"))
    if device.device_path in paths:
        found.append(field.invalid(f"{path}.devicePath", device.device_path, "must be unique"))
    names.add(device.name)
    paths.add(device.device_path)
    return found
