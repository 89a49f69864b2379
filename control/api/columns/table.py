"""The table of each kind's columns."""

from control.api.columns import (
    admission,
    batch,
    cluster,
    measured,
    network,
    pod,
    rbac,
    storage,
    workload,
)
from control.api.columns.base import Columns
from control.api.columns.fields import CREATED
from control.api.forms.convert import kept
from control.api.kind import Kind

_COLUMNS = {
    "Namespace": cluster.NAMESPACE,
    "Node": network.NODE,
    "Pod": pod.COLUMNS,
    "Service": network.SERVICE,
    "Endpoints": network.ENDPOINTS,
    "EndpointSlice": network.ENDPOINT_SLICE,
    "ComponentStatus": cluster.COMPONENT_STATUS,
    "ConfigMap": cluster.CONFIG_MAP,
    "Secret": cluster.SECRET,
    "ServiceAccount": cluster.SERVICE_ACCOUNT,
    "Event": cluster.EVENT,
    "Lease": cluster.LEASE,
    "Deployment": workload.DEPLOYMENT,
    "ReplicaSet": workload.REPLICA_SET,
    "DaemonSet": workload.DAEMON_SET,
    "ControllerRevision": workload.CONTROLLER_REVISION,
    "Role": CREATED,
    "ClusterRole": CREATED,
    "RoleBinding": rbac.BINDING,
    "ClusterRoleBinding": rbac.BINDING,
    "PodTemplate": batch.POD_TEMPLATE,
    "ReplicationController": batch.REPLICATION_CONTROLLER,
    "StatefulSet": batch.STATEFUL_SET,
    "Job": batch.JOB,
    "CronJob": batch.CRON_JOB,
    "PodDisruptionBudget": batch.POD_DISRUPTION_BUDGET,
    "ResourceQuota": batch.RESOURCE_QUOTA,
    "HorizontalPodAutoscaler": batch.HORIZONTAL_POD_AUTOSCALER,
    "PriorityClass": batch.PRIORITY_CLASS,
    "RuntimeClass": batch.RUNTIME_CLASS,
    "PersistentVolume": storage.PERSISTENT_VOLUME,
    "PersistentVolumeClaim": storage.PERSISTENT_VOLUME_CLAIM,
    "StorageClass": storage.STORAGE_CLASS,
    "VolumeAttributesClass": storage.VOLUME_ATTRIBUTES_CLASS,
    "VolumeAttachment": storage.VOLUME_ATTACHMENT,
    "CSINode": storage.CSI_NODE,
    "CSIDriver": storage.CSI_DRIVER,
    "DeviceClass": cluster.PLAIN,
    "ResourceClaim": storage.RESOURCE_CLAIM,
    "ResourceClaimTemplate": cluster.PLAIN,
    "ResourceSlice": storage.RESOURCE_SLICE,
    "MutatingWebhookConfiguration": admission.WEBHOOKS,
    "ValidatingWebhookConfiguration": admission.WEBHOOKS,
    "MutatingAdmissionPolicy": admission.MUTATING_POLICY,
    "ValidatingAdmissionPolicy": admission.VALIDATING_POLICY,
    "MutatingAdmissionPolicyBinding": admission.POLICY_BINDING,
    "ValidatingAdmissionPolicyBinding": admission.POLICY_BINDING,
    "APIService": admission.API_SERVICE,
    "FlowSchema": admission.FLOW_SCHEMA,
    "PriorityLevelConfiguration": admission.PRIORITY_LEVEL,
    "CertificateSigningRequest": admission.SIGNING_REQUEST,
    "Ingress": admission.INGRESS,
    "IngressClass": admission.INGRESS_CLASS,
    "NetworkPolicy": admission.NETWORK_POLICY,
    "ServiceCIDR": admission.SERVICE_CIDR,
    "IPAddress": admission.IP_ADDRESS,
    "NodeMetrics": measured.NODE_METRICS,
    "PodMetrics": measured.POD_METRICS,
}


def columns_of(kind: Kind) -> Columns:
    """Return the columns of a kind; name and time of creation if it has no row, as upstream."""
    if kind.form is not None:
        return _of_form(kind)
    return kind.custom.columns if kind.custom else _COLUMNS.get(kind.name, CREATED)


def _of_form(kind: Kind) -> Columns:
    """Return the columns of the stored kind, which read the object as it is stored."""
    own = columns_of(kind.stored)
    return Columns(own.columns, lambda wire, now: own.cells(kept(kind, wire), now))
