"""Validate what a Pod's sandbox is set to: resolver, sysctls, user and group IDs. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (validatePodDNSConfig, validateSysctls)
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.pod import PodDNSConfig, PodSpec
from control.api.validation import text
from control.api.validation.meta import invalid_each

_MAX_NAMESERVERS, _MAX_SEARCHES, _MAX_SEARCH_CHARACTERS = 3, 32, 2048
_PART = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"^({_PART}[\./])*{_PART}$"
_SYSCTL_MAX = 253
_ID_MAX = 2**31 - 1


def validate_settings(path: str, spec: PodSpec) -> list[FieldError]:
    """Check the settings of a Pod's sandbox."""
    found = _dns(f"{path}.dnsConfig", spec.dns_config) if spec.dns_config else []
    if spec.runtime_class_name is not None:
        name = spec.runtime_class_name
        found += invalid_each(f"{path}.runtimeClassName", name, text.dns_subdomain(name))
    context = spec.security_context or {}
    found += list(_sysctls(f"{path}.securityContext.sysctls", context, spec))
    return found + validate_ids(f"{path}.securityContext", context)


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
