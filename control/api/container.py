"""The containers of a Pod: commands, environment, resources and probes."""

from typing import Any

from pydantic import Field

from control.api.base import Model


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
    divisor: str | int | float | None = None


class FileKeySelector(Model):
    """A variable in a file that an init container wrote."""

    volume_name: str = ""
    path: str = ""
    key: str = ""
    optional: bool | None = None


class EnvVarSource(Model):
    """The source of a variable's value."""

    file_key_ref: FileKeySelector | None = None

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
    """A ConfigMap or Secret; all its keys become variables."""

    name: str = ""
    optional: bool | None = None


class EnvFromSource(Model):
    """Variables from all keys of a ConfigMap or Secret."""

    prefix: str | None = None
    config_map_ref: EnvSource | None = None
    secret_ref: EnvSource | None = None


class ResourceRequirements(Model):
    """Quantities per resource: the reserved amount (requests) and the maximum (limits)."""

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}
    claims: list[dict[str, str]] = []


class VolumeMount(Model):
    """The path of a volume in a container."""

    name: str = ""
    mount_path: str = ""
    sub_path: str | None = None
    sub_path_expr: str | None = None
    read_only: bool | None = None
    recursive_read_only: str | None = None
    mount_propagation: str | None = None
    bind_mount_options: list[str] = []


class VolumeDevice(Model):
    """The path of a block device in a container."""

    name: str = ""
    device_path: str = ""


class ExecAction(Model):
    """A command; exit code 0 is success."""

    command: list[str] = []


class TCPSocketAction(Model):
    """A TCP connection; an accepted one is success."""

    port: int | str = 0
    host: str | None = None


class HTTPHeader(Model):
    """A request header of a probe."""

    name: str = ""
    value: str = ""


class HTTPGetAction(Model):
    """An HTTP request; a status from 200 to 399 is success."""

    port: int | str = 0
    path: str | None = None
    host: str | None = None
    scheme: str | None = None
    protocol: str | None = None
    http_headers: list[HTTPHeader] = []


class GRPCAction(Model):
    """A gRPC health check; SERVING is success."""

    port: int = 0
    service: str | None = None


class Handler(Model):
    """The action of a probe or a lifecycle hook; exactly one is set."""

    exec: ExecAction | None = None
    tcp_socket: TCPSocketAction | None = None
    http_get: HTTPGetAction | None = None
    sleep: dict[str, int] | None = None


class Probe(Handler):
    """A health check of a container; absent numbers have upstream's defaults."""

    grpc: GRPCAction | None = None
    initial_delay_seconds: int | None = None
    timeout_seconds: int | None = None
    period_seconds: int | None = None
    success_threshold: int | None = None
    failure_threshold: int | None = None
    termination_grace_period_seconds: int | None = None


class Lifecycle(Model):
    """Hooks that run after a container starts and before it is stopped."""

    post_start: Handler | None = None
    pre_stop: Handler | None = None
    stop_signal: str | None = None


class Capabilities(Model):
    """Linux capabilities without their CAP_ prefix."""

    add: list[str] = []
    drop: list[str] = []


class SecurityContext(Model):
    """The rights with which a container runs."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    privileged: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities | None = None
    proc_mount: str | None = None
    se_linux_options: dict[str, str] | None = None
    windows_options: dict[str, Any] | None = None
    seccomp_profile: dict[str, str] | None = None
    app_armor_profile: dict[str, str] | None = None


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
    resize_policy: list[dict[str, str]] = []
    volume_mounts: list[VolumeMount] = []
    volume_devices: list[VolumeDevice] = []
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    restart_policy: str | None = None
    restart_policy_rules: list[dict[str, Any]] = []
    security_context: SecurityContext | None = None
    stdin: bool | None = None
    stdin_once: bool | None = None
    tty: bool | None = None
    termination_message_path: str | None = None
    termination_message_policy: str | None = None

    @property
    def is_sidecar(self) -> bool:
        """True for an init container that keeps running (KEP-753)."""
        return self.restart_policy == "Always"


class EphemeralContainer(Container):
    """A container that is added to a running Pod, to look into it (KEP-277)."""

    target_container_name: str | None = None
