"""The table of all kinds; generic code starts from it."""

from dataclasses import dataclass
from typing import Generic

from typing_extensions import TypeVar

from control.api import cluster, node, pod, rbac, service, workload
from control.api.meta import Object

# ``Kind`` is any kind; ``Kind[Pod]`` is the kind whose objects are Pods.
M = TypeVar("M", bound=Object, covariant=True, default=Object)


@dataclass(frozen=True, slots=True)
class Kind(Generic[M]):
    """A resource type: its names on the wire, its scope, and its model."""

    group: str  # empty for core
    version: str
    name: str  # the kind, such as "ConfigMap"
    plural: str  # the resource, such as "configmaps"
    model: type[M]
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()  # those of "status" and "scale" that the kind has

    @property
    def api_version(self) -> str:
        """The apiVersion: ``v1`` or ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The singular name, which kubectl also accepts."""
        return self.name.lower()

    def path(self, namespace: str | None = None, name: str | None = None, sub: str = "") -> str:
        """Return the URL path of the collection, of one object, or of a subresource."""
        prefix = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return "/".join(part for part in (f"{prefix}{scope}/{self.plural}", name, sub) if part)


NAMESPACE = Kind(
    "", "v1", "Namespace", "namespaces", cluster.Namespace, False, ("ns",), (), ("status",)
)
NODE = Kind("", "v1", "Node", "nodes", node.Node, False, ("no",), (), ("status",))
POD = Kind("", "v1", "Pod", "pods", pod.Pod, True, ("po",), ("all",), ("status",))
SERVICE = Kind(
    "", "v1", "Service", "services", service.Service, True, ("svc",), ("all",), ("status",)
)
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints", service.Endpoints, True, ("ep",))
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", cluster.ConfigMap, True, ("cm",))
SECRET = Kind("", "v1", "Secret", "secrets", cluster.Secret)
SERVICE_ACCOUNT = Kind(
    "", "v1", "ServiceAccount", "serviceaccounts", cluster.ServiceAccount, True, ("sa",)
)
EVENT = Kind("", "v1", "Event", "events", cluster.Event, True, ("ev",))
ENDPOINT_SLICE = Kind(
    "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", service.EndpointSlice
)
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", cluster.Lease)
DEPLOYMENT = Kind(
    "apps",
    "v1",
    "Deployment",
    "deployments",
    workload.Deployment,
    True,
    ("deploy",),
    ("all",),
    ("status", "scale"),
)
REPLICA_SET = Kind(
    "apps",
    "v1",
    "ReplicaSet",
    "replicasets",
    workload.ReplicaSet,
    True,
    ("rs",),
    ("all",),
    ("status", "scale"),
)
DAEMON_SET = Kind(
    "apps",
    "v1",
    "DaemonSet",
    "daemonsets",
    workload.DaemonSet,
    True,
    ("ds",),
    ("all",),
    ("status",),
)
CONTROLLER_REVISION = Kind(
    "apps", "v1", "ControllerRevision", "controllerrevisions", workload.ControllerRevision
)

ROLE = Kind(rbac.GROUP, "v1", "Role", "roles", rbac.Role)
CLUSTER_ROLE = Kind(rbac.GROUP, "v1", "ClusterRole", "clusterroles", rbac.ClusterRole, False)
ROLE_BINDING = Kind(rbac.GROUP, "v1", "RoleBinding", "rolebindings", rbac.RoleBinding)
CLUSTER_ROLE_BINDING = Kind(
    rbac.GROUP, "v1", "ClusterRoleBinding", "clusterrolebindings", rbac.ClusterRoleBinding, False
)

KINDS: tuple[Kind, ...] = (
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    ENDPOINTS,
    CONFIG_MAP,
    SECRET,
    SERVICE_ACCOUNT,
    EVENT,
    ENDPOINT_SLICE,
    LEASE,
    DEPLOYMENT,
    REPLICA_SET,
    DAEMON_SET,
    CONTROLLER_REVISION,
    ROLE,
    CLUSTER_ROLE,
    ROLE_BINDING,
    CLUSTER_ROLE_BINDING,
)
