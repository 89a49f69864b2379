"""The Pods behind a Service, each with its ports. Pure.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from control.api import kinds
from control.api.pod import Pod
from control.api.service import Service, ServicePort, SlicePort
from control.client.cache import Key
from control.controllers.pods import is_ready
from control.controllers.state import ClusterState

HEADLESS = "service.kubernetes.io/headless"
Ports = tuple[SlicePort, ...]


@dataclass(frozen=True, slots=True)
class Backend:
    """A Pod behind a Service."""

    pod: Pod
    ports: Ports
    serving: bool
    terminating: bool
    published: bool  # the Service publishes it even if it does not serve

    @property
    def ready(self) -> bool:
        """True if new connections should go to the Pod."""
        return self.published or (self.serving and not self.terminating)


def services_of(cluster: ClusterState, pod: Pod) -> Iterator[Key]:
    """Yield the keys of the Services that select a Pod."""
    labels = pod.metadata.labels.items()
    for service in cluster[kinds.SERVICE].within(pod.metadata.namespace):
        if service.spec.selector and service.spec.selector.items() <= labels:
            yield service.key


def matters(old: Pod | None, new: Pod | None) -> bool:
    """True if a Pod's change can change an endpoint: most of an agent's reports cannot."""
    return old is None or new is None or _facts(old) != _facts(new)


def _facts(pod: Pod) -> tuple[object, ...]:
    return (
        pod.metadata.uid,
        pod.metadata.labels,
        pod.metadata.deletion_timestamp is None,
        pod.spec.node_name,
        pod.spec.hostname,
        pod.status.phase,
        [ip.ip for ip in pod.status.pod_ips] or pod.status.pod_ip,
        is_ready(pod),
    )


def is_ours(service: Service | None) -> bool:
    """True if we write the Service's endpoints: without a selector they are the user's."""
    return (
        service is not None
        and bool(service.spec.selector)
        and service.spec.type != "ExternalName"
        and service.metadata.deletion_timestamp is None
    )


def backends(cluster: ClusterState, service: Service) -> list[Backend]:
    """Return the Pods behind a Service that have an address and have not ended, by name."""
    selector = service.spec.selector.items()
    pods = cluster[kinds.POD].within(service.metadata.namespace)
    chosen = [p for p in pods if selector <= p.metadata.labels.items() and _can_serve(p)]
    return [_backend(service, pod) for pod in sorted(chosen, key=lambda pod: pod.key)]


def _can_serve(pod: Pod) -> bool:
    return pod.status.phase not in ("Succeeded", "Failed") and any(addresses(pod))


def _backend(service: Service, pod: Pod) -> Backend:
    return Backend(
        pod=pod,
        ports=tuple(_ports(service, pod)),
        serving=is_ready(pod),
        terminating=pod.metadata.deletion_timestamp is not None,
        published=bool(service.spec.publish_not_ready_addresses),
    )


def addresses(pod: Pod) -> Iterator[str]:
    """Yield a Pod's addresses, the primary first."""
    if pod.status.pod_ips:
        yield from (item.ip for item in pod.status.pod_ips if item.ip)
    elif pod.status.pod_ip:
        yield pod.status.pod_ip


def address(pod: Pod, family: str) -> str | None:
    """Return a Pod's address of a family (``IPv4`` or ``IPv6``), if it has one."""
    return next((item for item in addresses(pod) if family_of(item) == family), None)


def family_of(text: str) -> str | None:
    """Return ``IPv4`` or ``IPv6``; None for an invalid address."""
    try:
        return f"IPv{ip_address(text).version}"
    except ValueError:
        return None


def families(service: Service) -> list[str]:
    """Return a Service's families, the primary first; old servers did not set them."""
    if service.spec.ip_families:
        return service.spec.ip_families
    cluster_ip = service.spec.cluster_ip or ""
    return ["IPv6"] if ":" in cluster_ip else ["IPv4"]


def _ports(service: Service, pod: Pod) -> Iterator[SlicePort]:
    for port in service.spec.ports:
        number = _target(port, pod)
        if number is not None:
            yield SlicePort(
                name=port.name or "",
                protocol=port.protocol,
                port=number,
                app_protocol=port.app_protocol,
            )


def _target(port: ServicePort, pod: Pod) -> int | None:
    """Return the Pod's port behind a Service port; a name may differ between Pods, or be absent."""
    target = port.target_port
    if target is None or target in (0, ""):
        return port.port
    if isinstance(target, int):
        return target
    sidecars = [c for c in pod.spec.init_containers if c.restart_policy == "Always"]
    for container in [*pod.spec.containers, *sidecars]:
        for candidate in container.ports:
            if candidate.name == target and candidate.protocol == port.protocol:
                return candidate.container_port
    return None


def hostname(service: Service, pod: Pod) -> str | None:
    """Return a Pod's host name under a Service that is its subdomain."""
    named = pod.spec.subdomain == service.metadata.name
    return pod.spec.hostname or None if named else None


def is_headless(service: Service) -> bool:
    """True if the Service has no address of its own."""
    return service.spec.cluster_ip == "None"
