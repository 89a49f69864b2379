"""The table of each kind's columns."""

from control.api.columns import cluster, network, pod, rbac, workload
from control.api.columns.base import Columns
from control.api.kinds import Kind

_COLUMNS = {
    "Namespace": cluster.NAMESPACE,
    "Node": network.NODE,
    "Pod": pod.COLUMNS,
    "Service": network.SERVICE,
    "Endpoints": network.ENDPOINTS,
    "EndpointSlice": network.ENDPOINT_SLICE,
    "ConfigMap": cluster.CONFIG_MAP,
    "Secret": cluster.SECRET,
    "ServiceAccount": cluster.SERVICE_ACCOUNT,
    "Event": cluster.EVENT,
    "Lease": cluster.LEASE,
    "Deployment": workload.DEPLOYMENT,
    "ReplicaSet": workload.REPLICA_SET,
    "DaemonSet": workload.DAEMON_SET,
    "ControllerRevision": workload.CONTROLLER_REVISION,
    "Role": rbac.ROLE,
    "ClusterRole": rbac.ROLE,
    "RoleBinding": rbac.BINDING,
    "ClusterRoleBinding": rbac.BINDING,
}


def columns_of(kind: Kind) -> Columns:
    """Return the columns of a kind; name and age if it has no row."""
    return _COLUMNS.get(kind.name, cluster.PLAIN)
