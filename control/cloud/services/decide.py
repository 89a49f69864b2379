"""What a Service wants of the cloud, which of its changes count, and which nodes do. Pure.

Source: k8s.io/cloud-provider/controllers/service/controller.go.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from control.api.node import Node
from control.api.service import LoadBalancerIngress, LoadBalancerStatus, Service

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
_TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"

# What is compared, and the Event of a change: its reason, and how a value is shown.
_COMPARED: tuple[tuple[Callable[[Service], Any], str, Callable[[Any], str]], ...] = (
    (lambda s: s.spec.load_balancer_source_ranges, "LoadBalancerSourceRanges", lambda v: _list(v)),
    (lambda s: [port.wire() for port in s.spec.ports], "", str),
    (lambda s: (s.spec.session_affinity, s.spec.session_affinity_config), "", str),
    (lambda s: s.spec.load_balancer_ip or "", "LoadbalancerIP", str),
    (lambda s: s.spec.external_ips, "ExternalIP", lambda v: _list(v)),
    (lambda s: s.metadata.annotations, "", str),
    (lambda s: s.metadata.uid, "UID", str),
    (lambda s: s.spec.external_traffic_policy or "", "ExternalTrafficPolicy", str),
    (lambda s: s.spec.health_check_node_port or 0, "HealthCheckNodePort", str),
    (lambda s: s.spec.ip_family_policy or "", "IPFamilyPolicy", str),
    (lambda s: s.spec.ip_families, "IPFamilies", lambda v: _list(v)),
)


def _list(values: Iterable[str]) -> str:
    return f"[{' '.join(values)}]"


def wants(service: Service) -> bool:
    """True if a Service wants a load balancer of this cloud: one of a class has another maker."""
    return service.spec.type == "LoadBalancer" and service.spec.load_balancer_class is None


def has_finalizer(service: Service) -> bool:
    """True if the service controller has marked the Service as having a load balancer."""
    return FINALIZER in service.metadata.finalizers


def needs_cleanup(service: Service) -> bool:
    """True if a Service has a load balancer that it must lose: it ends, or has another type."""
    if not has_finalizer(service):
        return False
    return service.metadata.deletion_timestamp is not None or service.spec.type != "LoadBalancer"


def counts(old: Service | None, new: Service) -> tuple[bool, tuple[str, str] | None]:
    """Return True if a change must be carried out, and the reason and text of its Event, if any."""
    if old is None:
        return wants(new) or needs_cleanup(new), None
    if not wants(old) and not wants(new):
        return needs_cleanup(new), None
    if wants(old) != wants(new):
        return True, ("Type", f"{old.spec.type} -> {new.spec.type}")
    for field, reason, show in _COMPARED:
        before, after = field(old), field(new)
        if before != after:
            return True, (reason, f"{show(before)} -> {show(after)}") if reason else None
    return needs_cleanup(new), None


def usable(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yield the nodes that may get a load balancer's traffic: ready ones that nobody excludes."""
    for node in nodes:
        ready = [c.status for c in node.status.conditions if c.type == "Ready"]
        leaving = any(taint.key == _TO_BE_DELETED for taint in node.spec.taints)
        reports = bool(node.status.conditions) and ready in (["True"], [])
        if reports and not leaving and EXCLUDED not in node.metadata.labels:
            yield node


def same_status(one: LoadBalancerStatus | None, other: LoadBalancerStatus | None) -> bool:
    """True if two statuses show the same addresses, in any order."""

    def shown(status: LoadBalancerStatus | None) -> list[str]:
        return sorted(str(_identity(item)) for item in (status.ingress if status else []))

    return shown(one) == shown(other)


def _identity(item: LoadBalancerIngress) -> tuple[Any, ...]:
    return item.ip, item.hostname, item.ip_mode, str(item.ports)
