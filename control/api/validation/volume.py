"""Validate the volumes of a Pod. Pure."""

from collections.abc import Sequence

from control.api import field
from control.api.field import FieldError
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.volume import KeyToPath, Volume


def validate_volumes(path: str, volumes: Sequence[Volume]) -> list[FieldError]:
    """Check that each volume has a unique name and one source."""
    found: list[FieldError] = []
    names: set[str] = set()
    for at, volume in enumerate(volumes):
        own = f"{path}[{at}]"
        if not volume.name:
            found.append(field.required(f"{own}.name"))
        else:
            found += invalid_each(f"{own}.name", volume.name, text.dns_label(volume.name))
        if volume.name in names:
            found.append(field.duplicate(f"{own}.name", volume.name))
        names.add(volume.name)
        found += _source(own, volume)
    return found


def _source(path: str, volume: Volume) -> list[FieldError]:
    given = volume.wire().keys() - {"name"}
    if not given:
        return [field.required(path, "must specify a volume type")]
    if len(given) > 1:
        second = sorted(given)[1]
        return [field.forbidden(f"{path}.{second}", "may not specify more than 1 volume type")]
    if volume.config_map is not None:
        found = [] if volume.config_map.name else [field.required(f"{path}.configMap.name")]
        return found + _items(f"{path}.configMap.items", volume.config_map.items)
    if volume.secret is not None:
        found = [] if volume.secret.secret_name else [field.required(f"{path}.secret.secretName")]
        return found + _items(f"{path}.secret.items", volume.secret.items)
    if volume.host_path is not None:
        return _host_path(f"{path}.hostPath.path", volume.host_path.path)
    return []


def _items(path: str, items: Sequence[KeyToPath]) -> list[FieldError]:
    found = []
    for at, item in enumerate(items):
        if not item.key:
            found.append(field.required(f"{path}[{at}].key"))
        found += _relative(f"{path}[{at}].path", item.path)
    return found


def _relative(path: str, value: str) -> list[FieldError]:
    return validate_descending(path, value) if value else [field.required(path)]


def validate_descending(path: str, value: str) -> list[FieldError]:
    """Check that a path leads below the folder that it begins in."""
    if value.startswith("/"):
        return [field.invalid(path, value, "must be a relative path")]
    if ".." in value.split("/"):
        return [field.invalid(path, value, "must not contain '..'")]
    return []


def _host_path(path: str, value: str) -> list[FieldError]:
    if not value:
        return [field.required(path)]
    if ".." in value.split("/"):
        return [field.invalid(path, value, "must not contain '..'")]
    return []
