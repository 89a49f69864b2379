"""Validate the containers of a Pod. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation
"""

from collections.abc import Collection, Mapping

from control.api import field
from control.api.container import (
    Container,
    EnvFromSource,
    EnvVar,
    ResourceRequirements,
    SecurityContext,
)
from control.api.field import FieldError
from control.api.quantity import QuantityError, parse
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.validation.probe import validate_lifecycle, validate_probe
from control.api.validation.settings import validate_ids, validate_profiles
from control.api.validation.volume import validate_descending

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
_RESTART = ("Always", "Never", "OnFailure")
_PROC_MOUNTS = ("Default", "Unmasked")


def validate_containers(
    path: str, containers: list[Container], volumes: Collection[str], names: set[str]
) -> list[FieldError]:
    """Check a list of containers; ``names`` collects the names of several lists."""
    found: list[FieldError] = []
    for at, container in enumerate(containers):
        own = f"{path}[{at}]"
        found += _container(own, container, volumes)
        if container.name and container.name in names:
            found.append(field.duplicate(f"{own}.name", container.name))
        names.add(container.name)
    return found


def validate_init_container(path: str, container: Container) -> list[FieldError]:
    """Refuse hooks and probes, except for a sidecar (restartPolicy Always, KEP-753)."""
    if container.restart_policy == "Always":
        return []
    given = {
        "lifecycle": container.lifecycle,
        "livenessProbe": container.liveness_probe,
        "readinessProbe": container.readiness_probe,
        "startupProbe": container.startup_probe,
    }
    why = "may not be set for init containers without restartPolicy=Always"
    return [field.forbidden(f"{path}.{name}", why) for name, value in given.items() if value]


def _container(path: str, container: Container, volumes: Collection[str]) -> list[FieldError]:
    found = _name(path, container.name)
    image = container.image or ""
    if not image:
        found.append(field.required(f"{path}.image"))
    elif image != image.strip():
        why = "must not have leading or trailing whitespace"
        found.append(field.invalid(f"{path}.image", image, why))
    found += _choices(path, container)
    found += _program(path, container)
    if container.security_context:
        found += _rights(f"{path}.securityContext", container.security_context)
    found += _ports(f"{path}.ports", container)
    for at, variable in enumerate(container.env):
        found += _variable(f"{path}.env[{at}]", variable)
    for at, source in enumerate(container.env_from):
        found += _variables(f"{path}.envFrom[{at}]", source)
    found += _mounts(path, container, volumes)
    found += validate_resources(f"{path}.resources", container.resources)
    return found + _probes(path, container)


def _rights(path: str, context: SecurityContext) -> list[FieldError]:
    wire = context.wire()
    found = validate_ids(path, wire) + validate_profiles(path, wire)
    if context.proc_mount is not None and context.proc_mount not in _PROC_MOUNTS:
        found.append(field.not_supported(f"{path}.procMount", context.proc_mount, _PROC_MOUNTS))
    if context.allow_privilege_escalation is not False:
        return found
    why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
    if context.privileged:
        found.append(field.invalid(path, wire, why))
    if context.capabilities and "CAP_SYS_ADMIN" in context.capabilities.add:
        why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
        found.append(field.invalid(path, wire, why))
    return found


def _name(path: str, name: str) -> list[FieldError]:
    if not name:
        return [field.required(f"{path}.name")]
    return invalid_each(f"{path}.name", name, text.dns_label(name))


def _program(path: str, container: Container) -> list[FieldError]:
    """Refuse NUL in what a program is started with: no container could start."""
    given = {"workingDir": container.working_dir or ""}
    given |= {f"command[{at}]": value for at, value in enumerate(container.command)}
    given |= {f"args[{at}]": value for at, value in enumerate(container.args)}
    given |= {f"env[{at}].value": item.value or "" for at, item in enumerate(container.env)}
    return [
        error
        for name, value in given.items()
        for error in invalid_each(f"{path}.{name}", value, text.no_nul(value))
    ]


def _choices(path: str, container: Container) -> list[FieldError]:
    given = {
        "imagePullPolicy": (container.image_pull_policy, _PULL_POLICIES),
        "terminationMessagePolicy": (container.termination_message_policy, _MESSAGE_POLICIES),
        "restartPolicy": (container.restart_policy, _RESTART),
    }
    return [
        field.not_supported(f"{path}.{name}", value, known)
        for name, (value, known) in given.items()
        if value is not None and value not in known
    ]


def _ports(path: str, container: Container) -> list[FieldError]:
    found: list[FieldError] = []
    names: set[str] = set()
    for at, port in enumerate(container.ports):
        own = f"{path}[{at}]"
        if port.name:
            found += invalid_each(f"{own}.name", port.name, text.port_name(port.name))
            if port.name in names:
                found.append(field.duplicate(f"{own}.name", port.name))
            names.add(port.name)
        if not port.container_port:
            found.append(field.required(f"{own}.containerPort"))
        else:
            messages = text.port_number(port.container_port)
            found += invalid_each(f"{own}.containerPort", port.container_port, messages)
        if port.host_port:
            found += invalid_each(
                f"{own}.hostPort", port.host_port, text.port_number(port.host_port)
            )
        if port.protocol not in _PROTOCOLS:
            found.append(field.not_supported(f"{own}.protocol", port.protocol, _PROTOCOLS))
    return found


def _variable(path: str, variable: EnvVar) -> list[FieldError]:
    if not variable.name:
        return [field.required(f"{path}.name")]
    found = invalid_each(f"{path}.name", variable.name, text.env_name(variable.name))
    source = variable.value_from
    if source is None:
        return found
    given = [
        source.field_ref,
        source.resource_field_ref,
        source.config_map_key_ref,
        source.secret_key_ref,
        source.file_key_ref,
    ]
    count = sum(item is not None for item in given)
    if variable.value:
        why = "may not be specified when `value` is not empty"
        found.append(field.invalid(f"{path}.valueFrom", "", why))
    if count > 1:
        why = "may not have more than one field specified at a time"
        found.append(field.invalid(f"{path}.valueFrom", "", why))
    elif not count:
        names = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        why = f"must specify one of: {names}"
        found.append(field.invalid(f"{path}.valueFrom", "", why))
    return found


def _variables(path: str, source: EnvFromSource) -> list[FieldError]:
    if source.config_map_ref and source.secret_ref:
        why = "may not have more than one field specified at a time"
        return [field.invalid(path, "", why)]
    reference = source.config_map_ref or source.secret_ref
    if reference is None:
        return [field.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")]
    if not reference.name:
        name = "configMapRef" if source.config_map_ref else "secretRef"
        return [field.required(f"{path}.{name}.name")]
    return []


def _mounts(path: str, container: Container, volumes: Collection[str]) -> list[FieldError]:
    found = []
    seen: set[str] = set()
    for at, mount in enumerate(container.volume_mounts):
        own = f"{path}.volumeMounts[{at}]"
        if not mount.name:
            found.append(field.required(f"{own}.name"))
        elif mount.name not in volumes:
            found.append(field.not_found(f"{own}.name", mount.name))
        if not mount.mount_path:
            found.append(field.required(f"{own}.mountPath"))
        elif mount.mount_path in seen:
            found.append(field.invalid(f"{own}.mountPath", mount.mount_path, "must be unique"))
        seen.add(mount.mount_path)
        found += validate_descending(f"{own}.subPath", mount.sub_path or "")
    return found


def _probes(path: str, container: Container) -> list[FieldError]:
    found: list[FieldError] = []
    if container.liveness_probe:
        found += validate_probe(f"{path}.livenessProbe", container.liveness_probe, once=True)
    if container.readiness_probe:
        found += validate_probe(f"{path}.readinessProbe", container.readiness_probe, once=False)
    if container.startup_probe:
        found += validate_probe(f"{path}.startupProbe", container.startup_probe, once=True)
    if container.lifecycle:
        found += validate_lifecycle(f"{path}.lifecycle", container.lifecycle)
    return found


Amounts = Mapping[str, str | int | float]


def validate_resources(path: str, resources: ResourceRequirements) -> list[FieldError]:
    """Check the quantities of requests and limits; no request may exceed its limit."""
    found = _quantities(f"{path}.limits", resources.limits)
    found += _quantities(f"{path}.requests", resources.requests)
    if found:
        return found
    for name in resources.requests.keys() & resources.limits.keys():
        request, limit = resources.requests[name], resources.limits[name]
        if parse(request) > parse(limit):
            why = f"must be less than or equal to {name} limit of {limit}"
            found.append(field.invalid(f"{path}.requests", str(request), why))
    return found


def _quantities(path: str, amounts: Amounts) -> list[FieldError]:
    found = []
    for name, amount in amounts.items():
        found += invalid_each(f"{path}[{name}]", name, text.qualified_name(name))
        try:
            negative = parse(amount).nano < 0
        except QuantityError as err:
            found.append(field.invalid(f"{path}[{name}]", amount, str(err)))
            continue
        if negative:
            why = "must be greater than or equal to 0"
            found.append(field.invalid(f"{path}[{name}]", str(amount), why))
    return found
