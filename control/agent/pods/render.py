"""Renders a Pod for the runtime: sandbox and container configurations. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from control.agent.pods.environment import Sources, expand, variables
from control.agent.pods.fields import Host
from control.agent.pods.resolver import ClusterDns, resolv_conf
from control.agent.pods.resources import container_resources, pod_resources
from control.api import container as api
from control.api.pod import Pod, PodSpec
from control.api.quantity import QuantityError, parse
from control.runtime.base import (
    ContainerConfig,
    Mount,
    PodRef,
    PortMapping,
    Rights,
    SandboxConfig,
)

TERMINATION_LOG = "/dev/termination-log"


def reference(pod: Pod) -> PodRef:
    """Return the Pod's reference for the runtime."""
    return PodRef(pod.metadata.namespace or "", pod.metadata.name, pod.metadata.uid)


def sandbox(pod: Pod, attempt: int, dns: ClusterDns, node: str, handler: str = "") -> SandboxConfig:
    """Return the configuration of what the Pod's containers share; ``handler`` is its class's."""
    spec, context = pod.spec, pod.spec.security_context or {}
    hostname = node if spec.host_network else (spec.hostname or pod.metadata.name)[:63].rstrip(".-")
    aliases = ["\t".join((alias.ip, *alias.hostnames)) + "\n" for alias in spec.host_aliases]
    return SandboxConfig(
        pod=reference(pod),
        attempt=attempt,
        hostname=hostname,
        log_directory=log_directory(reference(pod)),
        hosts="".join(aliases),
        resolv_conf=resolv_conf(pod, dns).text,
        domain=_domain(pod, hostname, dns),
        host_network=bool(spec.host_network),
        host_pid=bool(spec.host_pid),
        host_ipc=bool(spec.host_ipc),
        share_processes=bool(spec.share_process_namespace),
        sysctls={item["name"]: str(item["value"]) for item in context.get("sysctls") or ()},
        ports=_port_mappings(spec),
        ingress_rate=_bandwidth(pod, "kubernetes.io/ingress-bandwidth"),
        egress_rate=_bandwidth(pod, "kubernetes.io/egress-bandwidth"),
        addresses=() if spec.host_network else tuple(ip.ip for ip in pod.status.pod_ips),
        resources=pod_resources(pod),
        handler=handler,
        privileged=any(_is_privileged(it) for it in (*spec.init_containers, *spec.containers)),
    )


def _is_privileged(spec: api.Container) -> bool:
    return bool(spec.security_context and spec.security_context.privileged)


def log_directory(pod: PodRef) -> str:
    """Return the folder of a Pod's logs, the same as kubelet's."""
    return f"/var/log/pods/{pod.namespace}_{pod.name}_{pod.uid}"


def described(pod: Pod) -> str:
    """Return a Pod's name as kubelet's messages have it."""
    meta = pod.metadata
    return f"{meta.name}_{meta.namespace}({meta.uid})"


def _domain(pod: Pod, hostname: str, dns: ClusterDns) -> str:
    if not pod.spec.subdomain:
        return ""
    return f"{hostname}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{dns.domain}"


def _port_mappings(spec: PodSpec) -> tuple[PortMapping, ...]:
    if spec.host_network:
        return ()
    return tuple(
        PortMapping(port.host_port, port.container_port, port.protocol, port.host_ip or "")
        for container in spec.containers
        for port in container.ports
        if port.host_port
    )


def _bandwidth(pod: Pod, annotation: str) -> int:
    text = pod.metadata.annotations.get(annotation)
    try:
        return parse(text).value() if text else 0
    except QuantityError:
        return 0


def container(
    pod: Pod,
    spec: api.Container,
    attempt: int,
    *,
    sources: Sources,
    host: Host,
    addresses: tuple[str, ...],
    mounts: tuple[Mount, ...],
) -> ContainerConfig:
    """Return the configuration of one container; raises PodReferenceError."""
    values = variables(pod, spec, sources, host, addresses)
    hostname = host.name if pod.spec.host_network else pod.spec.hostname or pod.metadata.name
    return ContainerConfig(
        name=spec.name,
        attempt=attempt,
        image=spec.image or "",
        command=tuple(expand(word, values) for word in spec.command),
        arguments=tuple(expand(word, values) for word in spec.args),
        directory=spec.working_dir or "",
        environment=tuple({"HOSTNAME": hostname, **values}.items()),
        mounts=mounts,
        resources=container_resources(pod, spec, host.memory.value()),
        rights=_rights(pod, spec, host.seccomp_default),
        terminal=bool(spec.tty),
        stdin=bool(spec.stdin),
        stdin_once=bool(spec.stdin_once),
        log_path=f"{spec.name}/{attempt}.log",
        spec_hash=spec_hash(spec),
        target=(spec.target_container_name or "")
        if isinstance(spec, api.EphemeralContainer)
        else "",
    )


def spec_hash(spec: api.Container) -> str:
    """Hash the part of a container whose change needs a restart: its image.

    No other field of a running Pod's container can be edited.
    """
    wire = {"name": spec.name, "image": spec.image}
    return hashlib.sha256(orjson.dumps(wire, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _rights(pod: Pod, spec: api.Container, default: bool) -> Rights:
    """Merge the container's security context over the Pod's."""
    shared: Mapping[str, Any] = pod.spec.security_context or {}
    own = spec.security_context or api.SecurityContext()
    capabilities = own.capabilities or api.Capabilities()

    def chosen(mine: Any, key: str) -> Any:
        return shared.get(key) if mine is None else mine

    groups = {*(shared.get("supplementalGroups") or ())}
    groups |= {shared["fsGroup"]} if shared.get("fsGroup") is not None else set()
    return Rights(
        user=chosen(own.run_as_user, "runAsUser"),
        group=chosen(own.run_as_group, "runAsGroup"),
        groups=tuple(sorted(groups)),
        non_root=bool(chosen(own.run_as_non_root, "runAsNonRoot")),
        privileged=bool(own.privileged),
        read_only_root=bool(own.read_only_root_filesystem),
        no_new_privileges=own.allow_privilege_escalation is False,
        add_capabilities=tuple(capabilities.add),
        drop_capabilities=tuple(capabilities.drop),
        seccomp=_seccomp(own.seccomp_profile or shared.get("seccompProfile"), default),
    )


def _seccomp(profile: Mapping[str, Any] | None, default: bool) -> str:
    """Return the runtime's name of a profile; without one, ``default`` is RuntimeDefault."""
    kind = (profile or {}).get("type", "RuntimeDefault" if default else "Unconfined")
    if kind == "Localhost":
        return f"localhost/{(profile or {}).get('localhostProfile', '')}"
    return "runtime/default" if kind == "RuntimeDefault" else ""
