"""Validate what a Pod's sandbox is set to: resolver, sysctls, IDs, profiles, gates. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (validatePodDNSConfig, validateSysctls,
validateSeccompProfileField, ValidateAppArmorProfileField)
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.pod import PodDNSConfig, PodSpec
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.validation.pods.paths import validate_descending
from control.api.validation.pods.windows import (
    validate_host_processes,
    validate_system,
    validate_windows_options,
)

_MAX_NAMESERVERS, _MAX_SEARCHES, _MAX_SEARCH_CHARACTERS = 3, 32, 2048
_PART = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"^({_PART}[\./])*{_PART}$"
_SYSCTL_MAX = 253
_ID_MAX = 2**31 - 1
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_POLICIES = {
    "fsGroupChangePolicy": ("Always", "OnRootMismatch"),
    "supplementalGroupsPolicy": ("Merge", "Strict"),
    "seLinuxChangePolicy": ("MountOption", "Recursive"),
}
_HOSTNAME_MAX = 64


def validate_settings(path: str, spec: PodSpec) -> list[FieldError]:
    """Check the settings of a Pod's sandbox."""
    found = _dns(f"{path}.dnsConfig", spec.dns_config) if spec.dns_config else []
    if spec.runtime_class_name is not None:
        name = spec.runtime_class_name
        found += invalid_each(f"{path}.runtimeClassName", name, text.dns_subdomain(name))
    context = spec.security_context or {}
    found += list(_sysctls(f"{path}.securityContext.sysctls", context, spec))
    found += validate_ids(f"{path}.securityContext", context)
    found += validate_profiles(f"{path}.securityContext", context)
    found += _policies(f"{path}.securityContext", context)
    if "windowsOptions" in context:
        own = f"{path}.securityContext.windowsOptions"
        found += validate_windows_options(own, context["windowsOptions"])
    found += validate_host_processes(path, spec) + validate_system(path, spec)
    return found + _gates(path, spec) + _namespaces(path, spec) + _hostname(path, spec)


def validate_profiles(path: str, context: Mapping[str, Any]) -> list[FieldError]:
    """Check the profiles of seccomp and AppArmor of a security context."""
    seccomp, armor = context.get("seccompProfile"), context.get("appArmorProfile")
    found: list[FieldError] = []
    if seccomp is not None:
        found += _profile(f"{path}.seccompProfile", "seccomp", seccomp)
        file = seccomp.get("localhostProfile", "")
        if seccomp.get("type") == "Localhost":
            found += validate_descending(f"{path}.seccompProfile.localhostProfile", file)
    if armor is not None:
        found += _profile(f"{path}.appArmorProfile", "AppArmor", armor)
        name = armor.get("localhostProfile", "")
        if name != name.strip():
            why = "must not be padded with whitespace"
            found.append(field.invalid(f"{path}.appArmorProfile.localhostProfile", name, why))
    return found


def _profile(path: str, system: str, profile: Mapping[str, str]) -> list[FieldError]:
    kind, own = profile.get("type", ""), f"{path}.localhostProfile"
    if not kind:
        why = f"type is required when {path.rpartition('.')[2]} is set"
        return [field.required(f"{path}.type", why)]
    if kind not in _PROFILES:
        return [field.not_supported(f"{path}.type", kind, _PROFILES)]
    if kind == "Localhost":
        why = f"must be set when {system} type is Localhost"
        return [] if profile.get("localhostProfile") else [field.required(own, why)]
    if "localhostProfile" not in profile:
        return []
    why = f"can only be set when {system} type is Localhost"
    return [field.invalid(own, profile["localhostProfile"], why)]


def _policies(path: str, context: Mapping[str, Any]) -> list[FieldError]:
    return [
        field.not_supported(f"{path}.{name}", context[name], known)
        for name, known in _POLICIES.items()
        if name in context and context[name] not in known
    ]


def _gates(path: str, spec: PodSpec) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for at, gate in enumerate(spec.scheduling_gates):
        own, name = f"{path}.schedulingGates[{at}]", gate.get("name", "")
        found += invalid_each(own, name, text.qualified_name(name))
        if name in seen:
            found.append(field.duplicate(own, name))
        seen.add(name)
    for at, gate in enumerate(spec.readiness_gates):
        own, name = f"{path}.readinessGates[{at}].conditionType", gate.get("conditionType", "")
        found += invalid_each(own, name, text.qualified_name(name))
    return found


def _namespaces(path: str, spec: PodSpec) -> list[FieldError]:
    found = []
    if spec.share_process_namespace and spec.host_pid:
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        found.append(field.invalid(f"{path}.securityContext.shareProcessNamespace", True, why))
    return found + (_user_namespace(path, spec) if spec.host_users is False else [])


def _user_namespace(path: str, spec: PodSpec) -> list[FieldError]:
    """Refuse what cannot be had with users of one's own; two of upstream's paths begin upper."""
    why = "when `hostUsers` is false"
    shared = {
        "hostNetwork": spec.host_network,
        "HostPID": spec.host_pid,
        "HostIPC": spec.host_ipc,
    }
    found = [field.forbidden(f"{path}.{name}", why) for name, value in shared.items() if value]
    for name, containers in (
        ("initContainers", spec.init_containers),
        ("containers", spec.containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    ):
        found += [
            field.forbidden(f"{path}.{name}[{at}].volumeDevices", why)
            for at, container in enumerate(containers)
            if container.volume_devices
        ]
    return found


def _hostname(path: str, spec: PodSpec) -> list[FieldError]:
    """Check a hostname that is no name in DNS (KEP-4762)."""
    name, own = spec.hostname_override, f"{path}.hostnameOverride"
    if name is None:
        return []
    found = []
    if spec.set_hostname_as_fqdn:
        why = "may not be specified when setHostnameAsFQDN is true"
        found.append(field.forbidden(own, why))
    if spec.host_network:
        why = "may not be specified when hostNetwork is true"
        found.append(field.forbidden(own, why))
    if len(name) > _HOSTNAME_MAX:
        found.append(field.too_long(own, _HOSTNAME_MAX))
    return found + invalid_each(own, name, text.dns_subdomain(name))


def validate_ids(path: str, context: Mapping[str, Any]) -> list[FieldError]:
    """Check the user and group IDs of a security context."""
    found = []
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        if name in context:
            messages = text.in_range(context[name], 0, _ID_MAX)
            found += invalid_each(f"{path}.{name}", context[name], messages)
    for at, group in enumerate(context.get("supplementalGroups", ())):
        messages = text.in_range(group, 0, _ID_MAX)
        found += invalid_each(f"{path}.supplementalGroups[{at}]", group, messages)
    return found


def _dns(path: str, config: PodDNSConfig) -> list[FieldError]:
    found = []
    if len(config.nameservers) > _MAX_NAMESERVERS:
        why = f"must not have more than {_MAX_NAMESERVERS} nameservers"
        found.append(field.invalid(f"{path}.nameservers", config.nameservers, why))
    for at, address in enumerate(config.nameservers):
        found += invalid_each(f"{path}.nameservers[{at}]", address, text.ip(address))
    if len(config.searches) > _MAX_SEARCHES:
        why = f"must not have more than {_MAX_SEARCHES} search paths"
        found.append(field.invalid(f"{path}.searches", config.searches, why))
    if len(" ".join(config.searches)) > _MAX_SEARCH_CHARACTERS:
        size = f"{_MAX_SEARCH_CHARACTERS} characters (including spaces)"
        why = f"must not have more than {size} in the search list"
        found.append(field.invalid(f"{path}.searches", config.searches, why))
    for at, domain in enumerate(config.searches):
        found += invalid_each(f"{path}.searches[{at}]", domain, text.search_domain(domain))
    return found + list(_options(f"{path}.options", config.options))


def _options(path: str, options: list[dict[str, str]]) -> Iterator[FieldError]:
    for at, option in enumerate(options):
        if not option.get("name"):
            yield field.required(f"{path}[{at}]", "must not be empty")
        for part in ("name", "value"):
            yield from invalid_each(
                f"{path}[{at}].{part}", option.get(part, ""), text.one_line(option.get(part, ""))
            )


def _sysctls(path: str, context: Mapping[str, Any], spec: PodSpec) -> Iterator[FieldError]:
    seen: set[str] = set()
    for at, sysctl in enumerate(context.get("sysctls", ())):
        own, name = f"{path}[{at}].name", sysctl.get("name", "")
        dotted = name.replace("/", ".")
        if not name:
            yield field.required(own)
        elif len(name) > _SYSCTL_MAX or not re.fullmatch(_SYSCTL[1:-1], name):
            why = f"must have at most {_SYSCTL_MAX} characters and match regex {_SYSCTL}"
            yield field.invalid(own, name, why)
        elif dotted in seen:
            yield field.duplicate(own, name)
        elif shared := _shared(dotted, spec):
            why = f"may not be specified when '{shared}' is true"
            yield field.invalid(own, name, why)
        seen.add(dotted)


def _shared(sysctl: str, spec: PodSpec) -> str:
    """Return the field by which a Pod shares the namespace of a sysctl with its node."""
    if spec.host_network and sysctl.startswith("net."):
        return "hostNetwork"
    ipc = ("kernel.shm", "kernel.msg", "fs.mqueue.")
    return "hostIPC" if spec.host_ipc and (sysctl.startswith(ipc) or sysctl == "kernel.sem") else ""
