"""Validate what a Pod asks of Windows, and what each system of nodes cannot do. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (validateWindowsSecurityContextOptions,
validateWindowsHostProcessPod, validateOS, validateLinux, validateWindows)
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from control.api import field
from control.api.container import Container
from control.api.field import FieldError
from control.api.pod import PodSpec
from control.api.validation import text
from control.api.validation.meta import invalid_each

_SYSTEMS = ("linux", "windows")
_SPEC_KIB = 64
_DOMAIN_MAX, _USER_MAX = 256, 104
_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DNS = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_USER_WRONG = re.compile(r'["/\\:;|=,+*?<>@\[\]]')
_NOT_LINUX = "windows options cannot be set for a linux pod"
_NOT_WINDOWS = "cannot be set for a windows pod"
# What a Pod and what a container of Windows cannot have in their security contexts.
_LINUX_ONLY_OF_PODS = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
)
_LINUX_ONLY = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
)


def validate_windows_options(path: str, options: Mapping[str, Any]) -> list[FieldError]:
    """Check the options for Windows of a security context."""
    found: list[FieldError] = []
    if (name := options.get("gmsaCredentialSpecName")) is not None:
        found += invalid_each(f"{path}.gmsaCredentialSpecName", name, text.dns_subdomain(name))
    if (spec := options.get("gmsaCredentialSpec")) is not None:
        own = f"{path}.gmsaCredentialSpec"
        if not spec:
            found.append(field.invalid(own, spec, "gmsaCredentialSpec cannot be an empty string"))
        elif len(spec.encode()) > _SPEC_KIB * 1024:
            why = f"gmsaCredentialSpec size must be under {_SPEC_KIB} KiB"
            found.append(field.invalid(own, spec, why))
    if (user := options.get("runAsUserName")) is not None:
        messages = (f"runAsUserName{message}" for message in _user_wrong(user))
        found += invalid_each(f"{path}.runAsUserName", user, messages)
    return found


def _user_wrong(name: str) -> Iterator[str]:
    """Yield what is wrong with the name of a user, ``DOMAIN\\USER`` or ``USER``."""
    domain, backslash, user = name.rpartition("\\")
    if not name:
        yield " cannot be an empty string"
    elif re.search(r"[\x00-\x1f\x7f]", name):
        yield " cannot contain control characters"
    elif "\\" in domain:
        yield " cannot contain more than one backslash"
    else:
        if len(domain) >= _DOMAIN_MAX:
            yield f"'s Domain length must be under {_DOMAIN_MAX} characters"
        if backslash and not (_NETBIOS.fullmatch(domain) or _DNS.fullmatch(domain)):
            yield "'s Domain doesn't match the NetBios nor the DNS format"
        yield from _account_wrong(user)


def _account_wrong(user: str) -> Iterator[str]:
    if not user:
        yield "'s User cannot be empty"
    elif len(user) > _USER_MAX:
        yield f"'s User length must not be longer than {_USER_MAX} characters"
    if user and not user.strip(". "):
        yield "'s User cannot contain only periods or spaces"
    if _USER_WRONG.search(user):
        yield "'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"


def validate_system(path: str, spec: PodSpec) -> list[FieldError]:
    """Check the system that a Pod is for, and the fields that the other one has."""
    if spec.os is None:
        return []
    name = spec.os.get("name", "")
    if not name:
        return [field.required(f"{path}.os.name")]
    if name not in _SYSTEMS:
        return [field.not_supported(f"{path}.os", name, _SYSTEMS)]
    return _linux(path, spec) if name == "linux" else _windows(path, spec)


def _containers(path: str, spec: PodSpec) -> Iterator[tuple[str, Container]]:
    for name, containers in (
        ("initContainers", spec.init_containers),
        ("containers", spec.containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    ):
        for at, container in enumerate(containers):
            yield f"{path}.{name}[{at}]", container


def _linux(path: str, spec: PodSpec) -> list[FieldError]:
    found = []
    if (spec.security_context or {}).get("windowsOptions") is not None:
        found.append(field.forbidden(f"{path}.securityContext.windowsOptions", _NOT_LINUX))
    for own, container in _containers(path, spec):
        context = container.security_context
        if context is not None and context.windows_options is not None:
            found.append(field.forbidden(f"{own}.securityContext.windowsOptions", _NOT_LINUX))
    return found


def _windows(path: str, spec: PodSpec) -> list[FieldError]:
    context = spec.security_context or {}
    given = [f"securityContext.{name}" for name in _LINUX_ONLY_OF_PODS if name in context]
    of_spec = {
        "hostUsers": spec.host_users is not None,
        "hostPID": spec.host_pid,
        "hostIPC": spec.host_ipc,
        "shareProcessNamespace": spec.share_process_namespace is not None,
    }
    given += [name for name, value in of_spec.items() if value]
    found = [field.forbidden(f"{path}.{name}", _NOT_WINDOWS) for name in given]
    if spec.resources is not None:
        found.append(field.forbidden(f"{path}.resources", "may not be set for a windows pod"))
    for own, container in _containers(path, spec):
        wire = container.security_context.wire() if container.security_context else {}
        for name in _LINUX_ONLY:
            if name in wire:
                found.append(field.forbidden(f"{own}.securityContext.{name}", _NOT_WINDOWS))
    return found


def validate_host_processes(path: str, spec: PodSpec) -> list[FieldError]:
    """Check that all containers of a Pod are processes of the host, or none is."""
    if not _asks_windows(spec):
        return []
    of_pod = ((spec.security_context or {}).get("windowsOptions") or {}).get("hostProcess")
    found, count, every = [], 0, 0
    for own, container in _containers(path, spec):
        context = container.security_context
        options = (context.windows_options if context else None) or {}
        value = options.get("hostProcess")
        if of_pod is not None and value is not None and value != of_pod:
            shown = str(of_pod).lower()
            why = f"pod hostProcess value must be identical if both are specified, was {shown}"
            own = f"{own}.securityContext.windowsOptions.hostProcess"
            found.append(field.invalid(own, value, why))
        every += 1
        count += bool(of_pod if value is None else value)
    if count and count != every:
        why = (
            "If pod contains any hostProcess containers then all containers must be HostProcess"
            " containers"
        )
        found.append(field.invalid(path, "", why))
    if count and not spec.host_network:
        why = "hostNetwork must be true if pod contains any hostProcess containers"
        found.append(field.invalid(f"{path}.hostNetwork", False, why))
    return found


def _asks_windows(spec: PodSpec) -> bool:
    if spec.security_context and "windowsOptions" in spec.security_context:
        return True
    contexts = (container.security_context for _, container in _containers("", spec))
    return any(context and context.windows_options for context in contexts)
