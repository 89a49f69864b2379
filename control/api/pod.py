"""core/v1 Pod: what runs."""

from typing import Any

from pydantic import Field

from control.api.base import Model
from control.api.meta import Condition, LabelSelector, Object


class ContainerPort(Model):
    """A port that a container listens on."""

    name: str | None = None
    container_port: int = 0
    protocol: str = "TCP"
    host_port: int | None = None
    host_ip: str | None = None


class KeySelector(Model):
    """A key of a ConfigMap or a Secret."""

    name: str = ""
    key: str = ""
    optional: bool | None = None


class FieldRef(Model):
    """A field of the Pod itself, such as ``status.podIP``."""

    field_path: str = ""
    api_version: str | None = None


class ResourceFieldRef(Model):
    """A resource of a container, such as ``limits.memory``."""

    resource: str = ""
    container_name: str | None = None
    divisor: str | int | None = None


class EnvVarSource(Model):
    """Where the value of a variable comes from."""

    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None


class EnvVar(Model):
    """An environment variable; ``$(NAME)`` in its value refers to earlier ones."""

    name: str = ""
    value: str | None = None
    value_from: EnvVarSource | None = None


class EnvSource(Model):
    """A ConfigMap or Secret whose keys all become variables."""

    name: str = ""
    optional: bool | None = None


class EnvFromSource(Model):
    """Variables in bulk."""

    prefix: str | None = None
    config_map_ref: EnvSource | None = None
    secret_ref: EnvSource | None = None


class ResourceRequirements(Model):
    """Quantities per resource: what is set aside, and what is the most."""

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class VolumeMount(Model):
    """Where a volume appears in a container."""

    name: str = ""
    mount_path: str = ""
    sub_path: str | None = None
    read_only: bool | None = None


class ExecAction(Model):
    """A command; exit code 0 is success."""

    command: list[str] = []


class TCPSocketAction(Model):
    """A connection; being accepted is success."""

    port: int | str = 0
    host: str | None = None


class HTTPHeader(Model):
    """A request header of a probe."""

    name: str = ""
    value: str = ""


class HTTPGetAction(Model):
    """A request; a status from 200 to 399 is success."""

    port: int | str = 0
    path: str | None = None
    host: str | None = None
    scheme: str | None = None
    http_headers: list[HTTPHeader] = []


class Handler(Model):
    """One of the things that a probe or a lifecycle hook can do."""

    exec: ExecAction | None = None
    tcp_socket: TCPSocketAction | None = None
    http_get: HTTPGetAction | None = None
    sleep: dict[str, int] | None = None


class Probe(Handler):
    """How the agent asks a container about its health; absent numbers have upstream's defaults."""

    initial_delay_seconds: int | None = None
    timeout_seconds: int | None = None
    period_seconds: int | None = None
    success_threshold: int | None = None
    failure_threshold: int | None = None
    termination_grace_period_seconds: int | None = None


class Lifecycle(Model):
    """What runs after a container started and before it is stopped."""

    post_start: Handler | None = None
    pre_stop: Handler | None = None


class Capabilities(Model):
    """Linux capabilities without their CAP_ prefix."""

    add: list[str] = []
    drop: list[str] = []


class SecurityContext(Model):
    """With which rights a container runs."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    privileged: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities | None = None


class Container(Model):
    """One process tree of a Pod, with its image."""

    name: str = ""
    image: str | None = None
    image_pull_policy: str | None = None
    command: list[str] = []
    args: list[str] = []
    working_dir: str | None = None
    env: list[EnvVar] = []
    env_from: list[EnvFromSource] = []
    ports: list[ContainerPort] = []
    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    volume_mounts: list[VolumeMount] = []
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    restart_policy: str | None = None
    security_context: SecurityContext | None = None
    stdin: bool | None = None
    stdin_once: bool | None = None
    tty: bool | None = None
    termination_message_path: str | None = None
    termination_message_policy: str | None = None


class KeyToPath(Model):
    """One key as one file."""

    key: str = ""
    path: str = ""
    mode: int | None = None


class ConfigMapVolume(Model):
    """The keys of a ConfigMap as files."""

    name: str = ""
    items: list[KeyToPath] = []
    default_mode: int | None = None
    optional: bool | None = None


class SecretVolume(Model):
    """The keys of a Secret as files."""

    secret_name: str = ""
    items: list[KeyToPath] = []
    default_mode: int | None = None
    optional: bool | None = None


class EmptyDirVolume(Model):
    """A folder that lives as long as its Pod; ``medium`` Memory makes it a tmpfs."""

    medium: str | None = None
    size_limit: str | int | None = None


class HostPathVolume(Model):
    """A path of the node."""

    path: str = ""
    type: str | None = None


class DownwardFile(Model):
    """A field of the Pod as a file."""

    path: str = ""
    field_ref: FieldRef | None = None
    mode: int | None = None


class DownwardVolume(Model):
    """Fields of the Pod as files."""

    items: list[DownwardFile] = []
    default_mode: int | None = None


class Volume(Model):
    """A folder that containers of a Pod can mount; exactly one source is set."""

    name: str = ""
    empty_dir: EmptyDirVolume | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    host_path: HostPathVolume | None = None
    downward_api: DownwardVolume | None = Field(default=None, alias="downwardAPI")
    projected: dict[str, Any] | None = None


class Toleration(Model):
    """Lets a Pod onto (or stay on) a tainted node; ``operator`` is Exists or Equal."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None
    toleration_seconds: int | None = None


class NodeSelectorRequirement(Model):
    """One expression over a node's labels: In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str = ""
    operator: str = ""
    values: list[str] = []


class NodeSelectorTerm(Model):
    """All of its expressions hold; ``match_fields`` knows metadata.name only."""

    match_expressions: list[NodeSelectorRequirement] = []
    match_fields: list[NodeSelectorRequirement] = []


class NodeSelector(Model):
    """Any of its terms holds."""

    node_selector_terms: list[NodeSelectorTerm] = []


class PreferredSchedulingTerm(Model):
    """A wish, with its weight."""

    weight: int = 0
    preference: NodeSelectorTerm = Field(default_factory=NodeSelectorTerm)


class NodeAffinity(Model):
    """Which nodes a Pod must, and would rather, run on."""

    required: NodeSelector | None = Field(
        default=None, alias="requiredDuringSchedulingIgnoredDuringExecution"
    )
    preferred: list[PreferredSchedulingTerm] = Field(
        default=[], alias="preferredDuringSchedulingIgnoredDuringExecution"
    )


class Affinity(Model):
    """Where a Pod wants to be. Pod (anti-)affinity is kept, not yet understood."""

    node_affinity: NodeAffinity | None = None


class TopologySpreadConstraint(Model):
    """How evenly Pods lie over the values of a node label."""

    max_skew: int = 1
    topology_key: str = ""
    when_unsatisfiable: str = ""
    label_selector: LabelSelector | None = None


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
    """What a Pod should be."""

    node_name: str | None = None
    containers: list[Container] = []
    init_containers: list[Container] = []
    ephemeral_containers: list[dict[str, Any]] = []
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
    host_network: bool | None = None
    host_pid: bool | None = None
    host_ipc: bool | None = None
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


class ContainerStateRunning(Model):
    """Runs since then."""

    started_at: str | None = None


class ContainerStateWaiting(Model):
    """Does not run yet, or not now."""

    reason: str | None = None
    message: str | None = None


class ContainerStateTerminated(Model):
    """Ran, and ended."""

    exit_code: int = 0
    signal: int | None = None
    reason: str | None = None
    message: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str | None = None


class ContainerState(Model):
    """Exactly one of the three."""

    running: ContainerStateRunning | None = None
    waiting: ContainerStateWaiting | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(Model):
    """What the agent says about one container."""

    name: str = ""
    state: ContainerState = Field(default_factory=ContainerState)
    last_state: ContainerState = Field(default_factory=ContainerState)
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    image_id: str = ""
    container_id: str | None = None
    started: bool | None = None


class IPAddress(Model):
    """One address of a Pod or a host."""

    ip: str = ""


class PodStatus(Model):
    """``phase`` is Pending, Running, Succeeded, Failed or Unknown."""

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
    qos_class: str | None = None
    observed_generation: int | None = None
    nominated_node_name: str | None = None


class Pod(Object):
    """core/v1 Pod."""

    spec: PodSpec = Field(default_factory=PodSpec)
    status: PodStatus = Field(default_factory=PodStatus)
