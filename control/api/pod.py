"""core/v1 Pod."""

from typing import Any

from pydantic import Field

from control.api.base import Model
from control.api.container import Container, EphemeralContainer, ResourceRequirements
from control.api.meta import Condition, Object
from control.api.placement import (
    Affinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Toleration,
    TopologySpreadConstraint,
)
from control.api.volume import Volume

# Other modules import these names from here.
__all__ = [
    "Affinity",
    "Container",
    "ContainerStatus",
    "NodeSelector",
    "NodeSelectorRequirement",
    "NodeSelectorTerm",
    "Pod",
    "PodSpec",
    "PodStatus",
    "Toleration",
    "TopologySpreadConstraint",
    "Volume",
]


class HostAlias(Model):
    """A line of a Pod's /etc/hosts."""

    ip: str = ""
    hostnames: list[str] = []


class PodDNSConfig(Model):
    """Additions to a Pod's resolv.conf."""

    nameservers: list[str] = []
    searches: list[str] = []
    options: list[dict[str, str]] = []


class PodSpec(Model):
    """The desired state of a Pod."""

    node_name: str | None = None
    containers: list[Container] = []
    init_containers: list[Container] = []
    ephemeral_containers: list[EphemeralContainer] = []
    volumes: list[Volume] = []
    restart_policy: str | None = None
    termination_grace_period_seconds: int | None = None
    active_deadline_seconds: int | None = None
    node_selector: dict[str, str] = {}
    affinity: Affinity | None = None
    tolerations: list[Toleration] = []
    topology_spread_constraints: list[TopologySpreadConstraint] = []
    scheduler_name: str | None = None
    priority: int | None = None
    priority_class_name: str | None = None
    preemption_policy: str | None = None
    runtime_class_name: str | None = None
    overhead: dict[str, str | int | float] = {}
    resources: ResourceRequirements | None = None
    os: dict[str, str] | None = None
    host_network: bool | None = None
    host_pid: bool | None = None
    host_ipc: bool | None = None
    host_users: bool | None = None
    hostname_override: str | None = None
    set_hostname_as_fqdn: bool | None = Field(default=None, alias="setHostnameAsFQDN")
    hostname: str | None = None
    subdomain: str | None = None
    host_aliases: list[HostAlias] = []
    dns_policy: str | None = None
    dns_config: PodDNSConfig | None = None
    service_account_name: str | None = None
    service_account: str | None = None
    automount_service_account_token: bool | None = None
    enable_service_links: bool | None = None
    share_process_namespace: bool | None = None
    security_context: dict[str, Any] | None = None
    image_pull_secrets: list[dict[str, str]] = []
    readiness_gates: list[dict[str, str]] = []
    scheduling_gates: list[dict[str, str]] = []
    scheduling_group: dict[str, Any] | None = None
    resource_claims: list[dict[str, str]] = []


class ContainerStateRunning(Model):
    """A container that has run since ``started_at``."""

    started_at: str | None = None


class ContainerStateWaiting(Model):
    """A container that does not run yet, or that waits for a restart."""

    reason: str | None = None
    message: str | None = None


class ContainerStateTerminated(Model):
    """A container that has ended."""

    exit_code: int = 0
    signal: int | None = None
    reason: str | None = None
    message: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str | None = None


class ContainerState(Model):
    """The state of a container; exactly one of the three is set."""

    running: ContainerStateRunning | None = None
    waiting: ContainerStateWaiting | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(Model):
    """The status of one container, as the agent reports it."""

    name: str = ""
    state: ContainerState = Field(default_factory=ContainerState)
    last_state: ContainerState = Field(default_factory=ContainerState)
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    image_id: str = ""
    container_id: str | None = None
    started: bool | None = None
    resources: ResourceRequirements | None = None
    allocated_resources: dict[str, str | int | float] = {}
    allocated_resources_status: list[dict[str, Any]] = []
    volume_mounts: list[dict[str, Any]] = []
    user: dict[str, Any] | None = None
    stop_signal: str | None = None


class IPAddress(Model):
    """One address of a Pod or a host."""

    ip: str = ""


class PodStatus(Model):
    """The status of a Pod: ``phase`` is Pending, Running, Succeeded, Failed or Unknown."""

    phase: str | None = None
    conditions: list[Condition] = []
    message: str | None = None
    reason: str | None = None
    host_ip: str | None = None
    host_ips: list[IPAddress] = []
    pod_ip: str | None = None
    pod_ips: list[IPAddress] = []
    start_time: str | None = None
    init_container_statuses: list[ContainerStatus] = []
    container_statuses: list[ContainerStatus] = []
    ephemeral_container_statuses: list[ContainerStatus] = []
    resize: str | None = None
    resources: ResourceRequirements | None = None
    allocated_resources: dict[str, str | int | float] = {}
    resource_claim_statuses: list[dict[str, Any]] = []
    extended_resource_claim_status: dict[str, Any] | None = None
    qos_class: str | None = None
    observed_generation: int | None = None
    nominated_node_name: str | None = None


class Pod(Object):
    """core/v1 Pod."""

    spec: PodSpec = Field(default_factory=PodSpec)
    status: PodStatus = Field(default_factory=PodStatus)
