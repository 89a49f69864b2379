"""Validate the containers of a Pod. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation
"""

from collections.abc import Mapping, Sequence
from typing import Any

from control.api import field
from control.api.container import Container, SecurityContext
from control.api.field import FieldError
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.validation.pods.context import PodContext
from control.api.validation.pods.env import validate_env, validate_env_from
from control.api.validation.pods.mounts import validate_devices, validate_mounts
from control.api.validation.pods.probe import validate_lifecycle, validate_probe
from control.api.validation.pods.resources import validate_resources
from control.api.validation.pods.settings import validate_ids, validate_profiles
from control.api.validation.pods.windows import validate_windows_options

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
_RESTART = ("Always", "Never", "OnFailure")
_PROC_MOUNTS = ("Default", "Unmasked")
_RESIZED = ("cpu", "memory")
_RESIZE_RESTARTS = ("NotRequired", "RestartContainer")
_RULE_ACTIONS = ("Restart", "RestartAllContainers")
_OPERATORS = ("In", "NotIn")
_MOST_RULES, _MOST_CODES = 20, 255


def validate_containers(
    path: str, containers: list[Container], context: PodContext, names: set[str]
) -> list[FieldError]:
    """Check a list of containers; ``names`` collects the names of several lists."""
    found: list[FieldError] = []
    for at, container in enumerate(containers):
        own = f"{path}[{at}]"
        found += _container(own, container, context)
        if container.name and container.name in names:
            found.append(field.duplicate(f"{own}.name", container.name))
        names.add(container.name)
    return found


def validate_init_container(path: str, container: Container) -> list[FieldError]:
    """Refuse what only a sidecar may have (restartPolicy Always, KEP-753): hooks and probes."""
    if container.restart_policy == "Always":
        return []
    given = {
        "lifecycle": container.lifecycle,
        "livenessProbe": container.liveness_probe,
        "readinessProbe": container.readiness_probe,
        "startupProbe": container.startup_probe,
    }
    why = "may not be set for init containers without restartPolicy=Always"
    found = [field.forbidden(f"{path}.{name}", why) for name, value in given.items() if value]
    why = "must not be set to 'RestartContainer' for non-sidecar initContainers"
    return found + [
        field.invalid(f"{path}.resizePolicy[{at}].restartPolicy", "RestartContainer", why)
        for at, policy in enumerate(container.resize_policy)
        if policy.get("restartPolicy") == "RestartContainer"
    ]


def _container(path: str, container: Container, context: PodContext) -> list[FieldError]:
    found = _name(path, container.name)
    if not container.image:
        found.append(field.required(f"{path}.image"))
    found += _choices(path, container)
    found += _program(path, container)
    if container.security_context:
        found += _rights(f"{path}.securityContext", container.security_context, context)
    found += _ports(f"{path}.ports", container)
    if container.env:
        found += validate_env(f"{path}.env", container.env, context)
    if container.env_from:
        found += validate_env_from(f"{path}.envFrom", container.env_from)
    if container.volume_mounts:
        found += validate_mounts(path, container, context)
    if container.volume_devices:
        found += validate_devices(path, container, context)
    found += validate_resources(f"{path}.resources", container.resources, context.claims)
    if container.resize_policy:
        found += _resizing(f"{path}.resizePolicy", container.resize_policy, context)
    if container.restart_policy_rules:
        found += _restart_rules(path, container)
    return found + _probes(path, container, context)


def validate_images(path: str, containers: Sequence[Container]) -> list[FieldError]:
    """Refuse spaces around the images of a Pod; a template may have them."""
    why = "must not have leading or trailing whitespace"
    return [
        field.invalid(f"{path}[{at}].image", container.image, why)
        for at, container in enumerate(containers)
        if container.image and container.image != container.image.strip()
    ]


def _rights(path: str, context: SecurityContext, pod: PodContext) -> list[FieldError]:
    wire = context.wire()
    found = validate_ids(path, wire) + validate_profiles(path, wire)
    if context.proc_mount is not None and context.proc_mount not in _PROC_MOUNTS:
        found.append(field.not_supported(f"{path}.procMount", context.proc_mount, _PROC_MOUNTS))
    if context.proc_mount == "Unmasked" and pod.host_users:
        why = "`hostUsers` must be false to use `Unmasked`"
        found.append(field.invalid(f"{path}.procMount", context.proc_mount, why))
    if context.windows_options is not None:
        found += validate_windows_options(f"{path}.windowsOptions", context.windows_options)
    if context.allow_privilege_escalation is not False:
        return found
    why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
    if context.privileged:
        found.append(field.invalid(path, wire, why))
    if context.capabilities and "CAP_SYS_ADMIN" in context.capabilities.add:
        why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
        found.append(field.invalid(path, wire, why))
    return found


def _resizing(
    path: str, policies: Sequence[Mapping[str, str]], context: PodContext
) -> list[FieldError]:
    """Check what a resize of CPU or memory restarts; upstream's paths have no number here."""
    found = []
    seen: set[str] = set()
    for at, policy in enumerate(policies):
        name, restart = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if name in seen:
            found.append(field.duplicate(f"{path}[{at}]", name))
        seen.add(name)
        for value, known in ((name, _RESIZED), (restart, _RESIZE_RESTARTS)):
            if not value:
                found.append(field.required(path))
            elif value not in known:
                found.append(field.not_supported(path, value, known))
        if context.restart_policy == "Never" and restart != "NotRequired":
            why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            found.append(field.invalid(path, restart, why))
    return found


def _restart_rules(path: str, container: Container) -> list[FieldError]:
    """Check the rules that restart a container by its exit code (KEP-5307)."""
    own, rules = f"{path}.restartPolicyRules", container.restart_policy_rules
    found = []
    if container.restart_policy is None:
        why = "must specify restartPolicy when restart rules are used"
        found.append(field.required(f"{path}.restartPolicy", why))
    if len(rules) > _MOST_RULES:
        found.append(field.too_many(own, len(rules), _MOST_RULES))
    for at, rule in enumerate(rules[:_MOST_RULES]):
        if rule.get("action", "") not in _RULE_ACTIONS:
            action = rule.get("action", "")
            found.append(field.not_supported(f"{own}[{at}].action", action, _RULE_ACTIONS))
        found += _exit_codes(f"{own}[{at}].exitCodes", rule.get("exitCodes"))
    return found


def _exit_codes(path: str, codes: Mapping[str, Any] | None) -> list[FieldError]:
    if codes is None:
        return [field.required(path, "must be specified")]
    found, operator, values = [], codes.get("operator", ""), codes.get("values", ())
    if operator not in _OPERATORS:
        found.append(field.not_supported(f"{path}.operator", operator, _OPERATORS))
    if len(values) > _MOST_CODES:
        found.append(field.too_many(f"{path}.values", len(values), _MOST_CODES))
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


def _probes(path: str, container: Container, context: PodContext) -> list[FieldError]:
    found: list[FieldError] = []
    if container.liveness_probe:
        found += validate_probe(f"{path}.livenessProbe", container.liveness_probe, once=True)
    if container.readiness_probe:
        found += validate_probe(f"{path}.readinessProbe", container.readiness_probe, once=False)
    if container.startup_probe:
        found += validate_probe(f"{path}.startupProbe", container.startup_probe, once=True)
    if container.lifecycle:
        found += validate_lifecycle(f"{path}.lifecycle", container.lifecycle, context.grace)
    return found
