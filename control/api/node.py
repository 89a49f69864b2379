"""core/v1 Node."""

from typing import Any

from pydantic import Field

from control.api.base import Model
from control.api.meta import Condition, Object


class Taint(Model):
    """A mark that keeps Pods off a node; ``effect`` is (Prefer)NoSchedule or NoExecute."""

    key: str
    effect: str
    value: str | None = None
    time_added: str | None = None


class NodeSpec(Model):
    """The desired state of a node."""

    pod_cidr: str | None = None
    pod_cidrs: list[str] = []
    provider_id: str | None = None
    unschedulable: bool | None = None
    taints: list[Taint] = []
    external_id: str | None = None
    config_source: dict[str, Any] | None = None


class NodeAddress(Model):
    """An address: ``type`` is InternalIP, ExternalIP, Hostname, InternalDNS or ExternalDNS."""

    type: str
    address: str


class NodeSystemInfo(Model):
    """The software and IDs of a node, as kubectl describe shows them."""

    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    kernel_version: str = ""
    os_image: str = ""
    container_runtime_version: str = ""
    kubelet_version: str = ""
    kube_proxy_version: str = ""
    operating_system: str = ""
    architecture: str = ""
    swap: dict[str, int] | None = None


class DaemonEndpoint(Model):
    """A port of an agent."""

    port: int = Field(alias="Port")


class NodeDaemonEndpoints(Model):
    """The ports of a node's agents."""

    kubelet_endpoint: DaemonEndpoint | None = None


class ContainerImage(Model):
    """An image that a node holds."""

    names: list[str] = []
    size_bytes: int | None = None


class NodeStatus(Model):
    """The status that a node's agent reports; quantities are text such as ``500m`` and ``2Gi``."""

    capacity: dict[str, str] = {}
    allocatable: dict[str, str] = {}
    phase: str | None = None
    conditions: list[Condition] = []
    addresses: list[NodeAddress] = []
    node_info: NodeSystemInfo | None = None
    daemon_endpoints: NodeDaemonEndpoints | None = None
    images: list[ContainerImage] = []
    volumes_in_use: list[str] = []
    volumes_attached: list[dict[str, str]] = []
    config: dict[str, Any] | None = None
    runtime_handlers: list[dict[str, Any]] = []
    features: dict[str, Any] | None = None
    declared_features: list[str] = []


class Node(Object):
    """core/v1 Node."""

    spec: NodeSpec = Field(default_factory=NodeSpec)
    status: NodeStatus = Field(default_factory=NodeStatus)
