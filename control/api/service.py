"""core/v1 Service and Endpoints, discovery/v1 EndpointSlice."""

from typing import Any

from pydantic import Field

from control.api.base import Model
from control.api.meta import Condition, Object


class ServicePort(Model):
    """A port of a Service; ``target_port`` is a number or the name of a container port."""

    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    port: int = 0
    target_port: int | str | None = None
    node_port: int | None = None


class ClientIPConfig(Model):
    """The time in which a client's connections go to the same endpoint."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(Model):
    """The settings of session affinity."""

    client_ip: ClientIPConfig | None = None


class ServiceSpec(Model):
    """The desired state of a Service."""

    type: str | None = None
    selector: dict[str, str] = {}
    ports: list[ServicePort] = []
    cluster_ip: str | None = None
    cluster_ips: list[str] = []
    ip_families: list[str] = []
    ip_family_policy: str | None = None
    external_ips: list[str] = []
    external_name: str | None = None
    external_traffic_policy: str | None = None
    internal_traffic_policy: str | None = None
    health_check_node_port: int | None = None
    load_balancer_ip: str | None = None
    load_balancer_class: str | None = None
    load_balancer_source_ranges: list[str] = []
    allocate_load_balancer_node_ports: bool | None = None
    publish_not_ready_addresses: bool | None = None
    session_affinity: str | None = None
    session_affinity_config: SessionAffinityConfig | None = None
    traffic_distribution: str | None = None


class LoadBalancerIngress(Model):
    """One address of a load balancer; ``ip_mode`` is VIP or Proxy."""

    ip: str | None = None
    ip_mode: str | None = None
    hostname: str | None = None
    ports: list[dict[str, Any]] = []


class LoadBalancerStatus(Model):
    """The addresses of a load balancer."""

    ingress: list[LoadBalancerIngress] = []


class ServiceStatus(Model):
    """The status of a Service: the addresses of its load balancer."""

    load_balancer: LoadBalancerStatus | None = None
    conditions: list[Condition] = []


class Service(Object):
    """core/v1 Service."""

    spec: ServiceSpec = Field(default_factory=ServiceSpec)
    status: ServiceStatus = Field(default_factory=ServiceStatus)


class ObjectReference(Model):
    """A reference to an object."""

    api_version: str | None = None
    kind: str | None = None
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    field_path: str | None = None


class EndpointConditions(Model):
    """Conditions of an endpoint: absent ``ready`` means true, absent ``serving`` as ``ready``."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Model):
    """A zone (or node) that should use an endpoint."""

    name: str


class EndpointHints(Model):
    """The zones and nodes that should prefer an endpoint (KEP-2433, KEP-4444)."""

    for_zones: list[ForZone] = []
    for_nodes: list[ForZone] = []


class SliceEndpoint(Model):
    """One backend of a Service; its addresses are equivalent, the first is used."""

    addresses: list[str] = []
    conditions: EndpointConditions = Field(default_factory=EndpointConditions)
    hostname: str | None = None
    target_ref: ObjectReference | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None
    deprecated_topology: dict[str, str] = {}


class SlicePort(Model):
    """A port of every endpoint in the slice, with the name of the Service port."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = None


class EndpointSlice(Object):
    """discovery.k8s.io/v1 EndpointSlice; label kubernetes.io/service-name names the Service."""

    address_type: str = ""
    endpoints: list[SliceEndpoint] = []
    ports: list[SlicePort] = []


class EndpointAddress(Model):
    """One address of an Endpoints subset."""

    ip: str
    hostname: str | None = None
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointPort(Model):
    """One port of an Endpoints subset."""

    name: str | None = None
    port: int = 0
    protocol: str | None = None
    app_protocol: str | None = None


class EndpointSubset(Model):
    """A set of endpoints: every address with every port."""

    addresses: list[EndpointAddress] = []
    not_ready_addresses: list[EndpointAddress] = []
    ports: list[EndpointPort] = []


class Endpoints(Object):
    """core/v1 Endpoints, the predecessor of EndpointSlice."""

    subsets: list[EndpointSubset] = []
