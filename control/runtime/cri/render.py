"""Renders sandboxes and containers as messages of CRI. Pure.

Sources: kubelet's kuberuntime_sandbox_linux.go, kuberuntime_container_linux.go, labels.go;
pkg/securitycontext/util.go for the paths
"""

import math
from collections.abc import Iterable

from control.runtime.base import (
    ContainerConfig,
    ContainerRuntimeError,
    Resources,
    Rights,
    SandboxConfig,
)
from control.runtime.cri.v1 import api_pb2 as pb

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
SPEC_HASH = "io.kubernetes.container.hash"
RESTART_COUNT = "io.kubernetes.container.restartCount"
_INGRESS, _EGRESS = "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"
_PERIOD = 100_000  # microseconds over which a CPU limit is counted
_LEAST_QUOTA, _LEAST_SHARES, _MOST_SHARES = 1000, 2, 262_144
# containerd masks nothing unless it is told what, so a container would see the node's.
MASKED = (
    *("/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
    *("/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug"),
    *("/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"),
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_PROPAGATIONS = {
    "HostToContainer": pb.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": pb.PROPAGATION_BIDIRECTIONAL,
}


def sandbox(config: SandboxConfig, cgroup_parent: str) -> pb.PodSandboxConfig:
    """Return the message that describes a sandbox."""
    pod = config.pod
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(
            name=pod.name, namespace=pod.namespace, uid=pod.uid, attempt=config.attempt
        ),
        hostname="" if config.host_network else config.hostname[:63],
        log_directory=config.log_directory,
        dns_config=dns(config.resolv_conf),
        port_mappings=_ports(config),
        labels=_labels(config),
        annotations=_bandwidth(config),
        linux=pb.LinuxPodSandboxConfig(
            cgroup_parent=cgroup_parent,
            sysctls=config.sysctls,
            security_context=pb.LinuxSandboxSecurityContext(
                namespace_options=_namespaces(config),
                privileged=config.privileged,
                seccomp=pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault),
            ),
            resources=None if config.resources is None else resources(config.resources),
        ),
    )


def _labels(config: SandboxConfig) -> dict[str, str]:
    pod = config.pod
    return {POD_NAME: pod.name, POD_NAMESPACE: pod.namespace, POD_UID: pod.uid}


def _bandwidth(config: SandboxConfig) -> dict[str, str]:
    rates = {_INGRESS: config.ingress_rate, _EGRESS: config.egress_rate}
    return {name: str(rate) for name, rate in rates.items() if rate}


def _ports(config: SandboxConfig) -> Iterable[pb.PortMapping]:
    return [
        pb.PortMapping(
            protocol=port.protocol,
            container_port=port.container_port,
            host_port=port.host_port,
            host_ip=port.host_ip,
        )
        for port in config.ports
    ]


def _namespaces(config: SandboxConfig) -> pb.NamespaceOption:
    own = pb.POD if config.share_processes else pb.CONTAINER
    return pb.NamespaceOption(
        network=pb.NODE if config.host_network else pb.POD,
        pid=pb.NODE if config.host_pid else own,
        ipc=pb.NODE if config.host_ipc else pb.POD,
    )


def dns(text: str) -> pb.DNSConfig:
    """Return a resolv.conf's servers, search list and options."""
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in text.splitlines():
        name, *words = line.split() or [""]
        if name == "search":
            found[name] = words
        elif name in found:
            found[name] += words
    return pb.DNSConfig(
        servers=found["nameserver"], searches=found["search"], options=found["options"]
    )


def resources(limits: Resources) -> pb.LinuxContainerResources:
    """Return limits in the kernel's units; 0 is none.

    Shares follow the request, and are the least of all without one, as kubelet's.
    """
    quota = max(_LEAST_QUOTA, limits.cpu_limit * _PERIOD // 1000) if limits.cpu_limit else 0
    shares = limits.cpu_request * 1024 // 1000
    return pb.LinuxContainerResources(
        cpu_period=_PERIOD if quota else 0,
        cpu_quota=quota,
        cpu_shares=min(_MOST_SHARES, max(_LEAST_SHARES, shares)),
        memory_limit_in_bytes=limits.memory_limit,
        oom_score_adj=limits.oom_score_adj,
    )


def container(
    config: ContainerConfig,
    shared: pb.PodSandboxConfig,
    image: pb.Image,
    *,
    mounts: Iterable[pb.Mount],
    target: str,
    seccomp_root: str,
) -> pb.ContainerConfig:
    """Return the message that describes a container; raises ContainerRuntimeError.

    ``target`` is the ID of the container whose processes it sees, if any; ``seccomp_root`` the
    folder of profiles on the node.
    """
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=config.name, attempt=config.attempt),
        image=pb.ImageSpec(image=image.id, user_specified_image=config.image),
        command=config.command,
        args=config.arguments,
        working_dir=config.directory,
        envs=[pb.KeyValue(key=name, value=value.encode()) for name, value in config.environment],
        mounts=mounts,
        labels={**shared.labels, CONTAINER_NAME: config.name},
        annotations={SPEC_HASH: config.spec_hash, RESTART_COUNT: str(config.attempt)},
        log_path=config.log_path,
        stdin=config.stdin,
        stdin_once=config.stdin_once,
        tty=config.terminal,
        linux=pb.LinuxContainerConfig(
            resources=resources(config.resources),
            security_context=_security(config.rights, shared, image, target, seccomp_root),
        ),
    )


def mount(source: str, target: str, *, read_only: bool = False, propagation: str = "") -> pb.Mount:
    """Return the message of one mount."""
    return pb.Mount(
        host_path=source,
        container_path=target,
        readonly=read_only,
        propagation=_PROPAGATIONS.get(propagation, pb.PROPAGATION_PRIVATE),
    )


def _security(
    rights: Rights, shared: pb.PodSandboxConfig, image: pb.Image, target: str, seccomp_root: str
) -> pb.LinuxContainerSecurityContext:
    names = pb.NamespaceOption()
    names.CopyFrom(shared.linux.security_context.namespace_options)
    if target and names.pid == pb.CONTAINER:
        names.pid, names.target_id = pb.TARGET, target
    made = pb.LinuxContainerSecurityContext(
        privileged=rights.privileged,
        readonly_rootfs=rights.read_only_root,
        no_new_privs=rights.no_new_privileges,
        supplemental_groups=rights.groups,
        capabilities=pb.Capability(
            add_capabilities=rights.add_capabilities, drop_capabilities=rights.drop_capabilities
        ),
        namespace_options=names,
        seccomp=_seccomp(rights, seccomp_root),
        masked_paths=() if rights.privileged else MASKED,
        readonly_paths=() if rights.privileged else READ_ONLY,
    )
    _set_user(made, rights, image)
    return made


def _set_user(made: pb.LinuxContainerSecurityContext, rights: Rights, image: pb.Image) -> None:
    """Set the user, the image's by default: a group alone is not allowed in CRI.

    ``runAsNonRoot`` must be provable, as for kubelet.
    """
    if rights.user is not None:
        made.run_as_user.value = rights.user
    elif image.HasField("uid"):
        made.run_as_user.value = image.uid.value
    else:
        made.run_as_username = image.username
    if rights.non_root:
        _check_not_root(made, by_image=rights.user is None)
    if rights.group is not None:
        if not made.HasField("run_as_user") and not made.run_as_username:
            made.run_as_user.value = 0  # what an image without a user means
        made.run_as_group.value = rights.group


def _check_not_root(made: pb.LinuxContainerSecurityContext, *, by_image: bool) -> None:
    reason = "CreateContainerConfigError"
    if made.HasField("run_as_user"):
        if made.run_as_user.value == 0:
            raise ContainerRuntimeError(
                "container has runAsNonRoot and image will run as root"
                if by_image
                else "container's runAsUser breaks non-root policy",
                reason,
            )
    elif not made.run_as_username:
        raise ContainerRuntimeError("container has runAsNonRoot and image will run as root", reason)
    else:
        raise ContainerRuntimeError(
            f"container has runAsNonRoot and image has non-numeric user ({made.run_as_username}), "
            "cannot verify user is non-root",
            reason,
        )


def _seccomp(rights: Rights, root: str) -> pb.SecurityProfile:
    kind, _, name = rights.seccomp.partition("/")
    if rights.privileged or not kind:
        return pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined)
    if kind == "runtime":
        return pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault)
    return pb.SecurityProfile(
        profile_type=pb.SecurityProfile.Localhost, localhost_ref=f"{root}/{name}"
    )


def whole_seconds(seconds: float) -> int:
    """Return a time as CRI counts it: in whole seconds, rounded up."""
    return max(0, math.ceil(seconds))
