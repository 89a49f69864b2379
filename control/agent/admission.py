"""Kubelet's admission: may this node run a Pod that is bound to it? Pure.

The scheduler has checked the same. But two schedulers, or Pods with nodeName set by hand, can bind
more to a node than it has room for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from control.agent.pods.quality import pod_amount
from control.api.node import Node
from control.api.pod import Pod
from control.api.quantity import ZERO, Quantity, parse, total

# The sysctls whose effect stays inside a namespace (kubernetes.io, "Using sysctls", safe set).
SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)

_APP_ARMOR = Path("/sys/module/apparmor/parameters/enabled")
_APP_ARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class Rejection:
    """The reason why a Pod cannot run here, in kubelet's words."""

    reason: str
    message: str


def admit(pod: Pod, others: Iterable[Pod], node: Node) -> Rejection | None:
    """Return None if the Pod may run beside the others, else the reason."""
    refused = _sysctls(pod) or _app_armor(pod)
    return refused or _selector(pod, node) or _room(pod, tuple(others), node)


def _sysctls(pod: Pod) -> Rejection | None:
    context = pod.spec.security_context or {}
    names = [str(item.get("name", "")).replace("/", ".") for item in context.get("sysctls") or ()]
    bad = [name for name in names if name not in SAFE_SYSCTLS]
    if bad:
        return Rejection("SysctlForbidden", f'forbidden sysctl: "{bad[0]}" not allowlisted')
    return None


def _app_armor(pod: Pod) -> Rejection | None:
    """Refuse a profile: a container must not run without the one that it asks for.

    Source: kubelet's appArmorAdmitHandler; the annotation was the field's forerunner.
    """
    shared = (pod.spec.security_context or {}).get("appArmorProfile")
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    profiles = [
        (item.security_context and item.security_context.app_armor_profile) or shared
        for item in containers
    ]
    kinds = [profile.get("type") for profile in profiles if profile]
    kinds += [
        value
        for key, value in pod.metadata.annotations.items()
        if key.startswith(_APP_ARMOR_ANNOTATION)
    ]
    if all(str(kind).lower() == "unconfined" for kind in kinds):
        return None
    why = "AppArmor is not enabled on the host"
    if _APP_ARMOR.exists():
        why = "the agent passes no AppArmor profile on"
    return Rejection("AppArmor", f"Cannot enforce AppArmor: {why}; use type Unconfined, or none")


def _selector(pod: Pod, node: Node) -> Rejection | None:
    if pod.spec.node_selector.items() <= node.metadata.labels.items():
        return None
    return Rejection(
        "NodeAffinity",
        "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
    )


def _room(pod: Pod, others: tuple[Pod, ...], node: Node) -> Rejection | None:
    allocatable = node.status.allocatable
    if "pods" in allocatable and len(others) + 1 > parse(allocatable["pods"]).value():
        return _full("pods", Quantity(10**9), Quantity(len(others) * 10**9), allocatable["pods"])
    for resource in ("cpu", "memory"):
        wanted = requested(pod, resource)
        used = total(requested(other, resource) for other in others)
        if resource in allocatable and wanted.nano and wanted + used > parse(allocatable[resource]):
            return _full(resource, wanted, used, allocatable[resource])
    return None


def requested(pod: Pod, resource: str) -> Quantity:
    """A Pod's request."""
    return pod_amount(pod, "requests", resource) or ZERO


def _full(resource: str, wanted: Quantity, used: Quantity, capacity: str) -> Rejection:
    def shown(value: Quantity) -> int:
        return value.milli() if resource == "cpu" else value.value()

    return Rejection(
        f"OutOf{resource}",
        f"Node didn't have enough resource: {resource}, requested: {shown(wanted)}, "
        f"used: {shown(used)}, capacity: {shown(parse(capacity))}",
    )
