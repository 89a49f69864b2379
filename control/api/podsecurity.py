"""Pod Security Standards: the levels baseline and restricted, as checks of a Pod's spec. Pure.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ and
k8s.io/pod-security-admission/policy, whose texts these are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Spec = Mapping[str, Any]
LEVELS = ("privileged", "baseline", "restricted")
_DEFAULT_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    )
)
_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    )
)
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_VOLUMES = frozenset(
    (
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    )
)
_PARTS = ("initContainers", "containers", "ephemeralContainers")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROFILES = ("RuntimeDefault", "Localhost")


def violations(spec: Spec, level: str) -> str:
    """Return what in a Pod's spec is not allowed at a level; empty if all is."""
    found = ((reason, check(spec)) for reason, check in _checks(level))
    return ", ".join(f"{reason} ({detail})" for reason, detail in found if detail)


def _checks(level: str) -> tuple["_Check", ...]:
    if level == "restricted":  # some of its checks replace those of baseline
        return tuple(each for each in _BASELINE if each[1] not in _REPLACED) + _RESTRICTED
    return _BASELINE if level == "baseline" else ()


def _containers(spec: Spec) -> Iterator[tuple[str, Spec, Spec]]:
    """Yield each container with its name and its security context."""
    for part in _PARTS:
        for container in spec.get(part) or ():
            yield container.get("name", ""), container, container.get("securityContext") or {}


def _quoted(values: Iterable[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)


def _those(noun: str, names: list[str]) -> str:
    """Return ``container "a"`` or ``containers "a", "b"``."""
    return f"{noun}{'' if len(names) == 1 else 's'} {_quoted(names)}"


def _must(names: list[str], what: str) -> str:
    return f"{_those('container', names)} must {what}" if names else ""


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _privileged(spec: Spec) -> str:
    names = [name for name, _, context in _containers(spec) if context.get("privileged")]
    return _must(names, "not set securityContext.privileged=true")


def _namespaces(spec: Spec) -> str:
    names = ("hostNetwork", "hostPID", "hostIPC")
    return ", ".join(f"{name}=true" for name in names if spec.get(name))


def _host_paths(spec: Spec) -> str:
    names = [each["name"] for each in spec.get("volumes") or () if each.get("hostPath")]
    return _those("volume", names) if names else ""


def _host_ports(spec: Spec) -> str:
    used = {
        name: [
            str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")
        ]
        for name, container, _ in _containers(spec)
    }
    names = [name for name, ports in used.items() if ports]
    ports = sorted({port for each in used.values() for port in each})
    if not names:
        return ""
    verb = "uses" if len(names) == 1 else "use"
    noun = "hostPort" if len(ports) == 1 else "hostPorts"
    return f"{_those('container', names)} {verb} {noun} {', '.join(ports)}"


def _used_ports(container: Spec) -> list[str]:
    ports = (port.get("hostPort") for port in container.get("ports") or ())
    return [str(port) for port in ports if port]


def _capabilities(spec: Spec, allowed: frozenset[str]) -> str:
    bad = {
        name: [c for c in (context.get("capabilities") or {}).get("add") or () if c not in allowed]
        for name, _, context in _containers(spec)
    }
    names = [name for name, found in bad.items() if found]
    which = sorted({each for found in bad.values() for each in found})
    return _must(names, f"not include {_quoted(which)} in securityContext.capabilities.add")


def _default_capabilities(spec: Spec) -> str:
    return _capabilities(spec, _DEFAULT_CAPABILITIES)


def _dropped(spec: Spec) -> str:
    keeping = [
        name
        for name, _, context in _containers(spec)
        if "ALL" not in ((context.get("capabilities") or {}).get("drop") or ())
    ]
    return _joined(
        _must(keeping, 'set securityContext.capabilities.drop=["ALL"]'),
        _capabilities(spec, frozenset(("NET_BIND_SERVICE",))),
    )


def _proc_mount(spec: Spec) -> str:
    found = {
        name: context["procMount"]
        for name, _, context in _containers(spec)
        if context.get("procMount") not in (None, "", "Default")
    }
    kinds = _quoted(sorted(set(found.values())))
    return _must([*found], f"not set securityContext.procMount to {kinds}")


def _contexts(spec: Spec) -> Iterator[tuple[str, Spec]]:
    """Yield the Pod's security context, with an empty name, and those of its containers."""
    yield "", spec.get("securityContext") or {}
    yield from ((name, context) for name, _, context in _containers(spec))


def _who(names: Iterable[str]) -> str:
    """Return ``pod``, ``container "a"``, or both."""
    every = list(names)
    containers = [name for name in every if name]
    parts = ("pod" if "" in every else "", _those("container", containers) if containers else "")
    return " and ".join(filter(None, parts))


def _selinux(spec: Spec) -> str:
    given = {name: context.get("seLinuxOptions") or {} for name, context in _contexts(spec)}
    bad = {name: options for name, options in given.items() if _is_forbidden(options)}
    if not bad:
        return ""
    types = sorted({o.get("type", "") for o in bad.values()} - set(_SELINUX_TYPES))
    parts = [f"type{'' if len(types) == 1 else 's'} {_quoted(types)}"] if types else []
    for part in ("user", "role"):
        if any(options.get(part) for options in bad.values()):
            parts.append(f"{part} may not be set")
    return f"{_who(bad)} set forbidden securityContext.seLinuxOptions: {'; '.join(parts)}"


def _is_forbidden(options: Spec) -> bool:
    known = options.get("type", "") in _SELINUX_TYPES
    return not known or bool(options.get("user") or options.get("role"))


def _profiles(spec: Spec) -> dict[str, str]:
    """Return the type of each seccomp profile that is set; the Pod's has an empty name."""
    found = {name: context.get("seccompProfile") or {} for name, context in _contexts(spec)}
    return {name: profile.get("type", "") for name, profile in found.items() if profile}


def _unconfined(spec: Spec) -> str:
    bad = {name: kind for name, kind in _profiles(spec).items() if kind not in _PROFILES}
    what = (
        f"must not set securityContext.seccompProfile.type to {_quoted(sorted(set(bad.values())))}"
    )
    return f"{_who(bad)} {what}" if bad else ""


def _seccomp(spec: Spec) -> str:
    given = _profiles(spec)
    silent = [name for name, _, _ in _containers(spec) if name not in given]
    if (refused := _unconfined(spec)) or not silent or "" in given:
        return refused
    what = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return f"pod or {_those('container', silent)} {what}"


def _apparmor(spec: Spec) -> str:
    names = [
        name
        for name, context in _contexts(spec)
        if (context.get("appArmorProfile") or {}).get("type") == "Unconfined"
    ]
    return f'{_who(names)} must not set AppArmor profile type to "Unconfined"' if names else ""


def _sysctls(spec: Spec) -> str:
    given = (spec.get("securityContext") or {}).get("sysctls") or ()
    return ", ".join(each["name"] for each in given if each["name"] not in _SYSCTLS)


def _probe_hosts(spec: Spec) -> str:
    used = {name: sorted(filter(None, _hosts(each))) for name, each, _ in _containers(spec)}
    names = sorted(name for name, hosts in used.items() if hosts)
    hosts = sorted({host for each in used.values() for host in each})
    if not names:
        return ""
    verb = "uses" if len(names) == 1 else "use"
    noun = "probe or lifecycle host" + ("" if len(hosts) == 1 else "s")
    return f"{_those('container', names)} {verb} {noun} {_quoted(hosts)}"


def _hosts(container: Spec) -> Iterator[str]:
    hooks = (container.get("lifecycle") or {}).values()
    for handler in (*(container.get(probe) or {} for probe in _PROBES), *hooks):
        for action in ("httpGet", "tcpSocket"):
            yield (handler.get(action) or {}).get("host", "")


def _escalation(spec: Spec) -> str:
    names = [
        name
        for name, _, context in _containers(spec)
        if context.get("allowPrivilegeEscalation") is not False
    ]
    return _must(names, "set securityContext.allowPrivilegeEscalation=false")


def _volume_types(spec: Spec) -> str:
    bad = {
        each["name"]: next(iter(sorted(each.keys() - {"name"} - _VOLUMES)))
        for each in spec.get("volumes") or ()
        if each.keys() - {"name"} - _VOLUMES
    }
    if not bad:
        return ""
    types = sorted(set(bad.values()))
    one = len(bad) == 1
    noun = "type" if len(types) == 1 else "types"
    verb = "uses" if one else "use"
    return f"{_those('volume', [*bad])} {verb} restricted volume {noun} {_quoted(types)}"


def _non_root(spec: Spec) -> str:
    said = {name: context.get("runAsNonRoot") for name, context in _contexts(spec)}
    if refused := [name for name, value in said.items() if value is False]:
        return f"{_who(refused)} must not set securityContext.runAsNonRoot=false"
    silent = [name for name, value in said.items() if name and not value]
    if not silent or said[""]:
        return ""
    return f"pod or {_those('container', silent)} must set securityContext.runAsNonRoot=true"


def _root(spec: Spec) -> str:
    names = [name for name, context in _contexts(spec) if context.get("runAsUser") == 0]
    return f"{_who(names)} must not set runAsUser=0" if names else ""


_Check = tuple[str, Callable[[Spec], str]]
_BASELINE: tuple[_Check, ...] = (
    ("forbidden AppArmor profile", _apparmor),
    ("non-default capabilities", _default_capabilities),
    ("host namespaces", _namespaces),
    ("hostPath volumes", _host_paths),
    ("hostPort", _host_ports),
    ("probe or lifecycle host", _probe_hosts),
    ("privileged", _privileged),
    ("procMount", _proc_mount),
    ("seLinuxOptions", _selinux),
    ("seccompProfile", _unconfined),
    ("forbidden sysctls", _sysctls),
)
_REPLACED = (_default_capabilities, _host_paths, _unconfined)
_RESTRICTED: tuple[_Check, ...] = (
    ("allowPrivilegeEscalation != false", _escalation),
    ("unrestricted capabilities", _dropped),
    ("restricted volume types", _volume_types),
    ("runAsNonRoot != true", _non_root),
    ("runAsUser=0", _root),
    ("seccompProfile", _seccomp),
)
