"""The table of all kinds; generic code starts from it.

The kinds of this module have models: podwire acts on them. Those of ``stored`` have none. ``KINDS``
are those whose objects are stored, ``FORMS`` show them in another version: see ``forms``.
"""

from control.api import (
    autoscaling,
    batch,
    certificates,
    cluster,
    limits,
    node,
    persistent,
    pod,
    policy,
    ranges,
    rbac,
    service,
    workload,
)
from control.api.forms import autoscaler as autoscaler_form
from control.api.forms import event as event_form
from control.api.kind import Form
from control.api.kind import Kind as Kind
from control.api.kind import M as M
from control.api.quota import model as quota
from control.api.stored import STORED

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
REPLICATION_CONTROLLER = Kind(
    "",
    "v1",
    "ReplicationController",
    "replicationcontrollers",
    workload.ReplicationController,
    True,
    ("rc",),
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
STATEFUL_SET = Kind(
    "apps",
    "v1",
    "StatefulSet",
    "statefulsets",
    workload.StatefulSet,
    True,
    ("sts",),
    ("all",),
    ("status", "scale"),
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

JOB = Kind("batch", "v1", "Job", "jobs", batch.Job, True, (), ("all",), ("status",))
CRON_JOB = Kind(
    "batch", "v1", "CronJob", "cronjobs", batch.CronJob, True, ("cj",), ("all",), ("status",)
)
HORIZONTAL_POD_AUTOSCALER = Kind(
    "autoscaling",
    "v2",
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    autoscaling.HorizontalPodAutoscaler,
    True,
    ("hpa",),
    ("all",),
    ("status",),
)
PRIORITY_CLASS = Kind(
    "scheduling.k8s.io",
    "v1",
    "PriorityClass",
    "priorityclasses",
    cluster.PriorityClass,
    False,
    ("pc",),
)
SIGNING_REQUEST = Kind(
    "certificates.k8s.io",
    "v1",
    "CertificateSigningRequest",
    "certificatesigningrequests",
    certificates.CertificateSigningRequest,
    False,
    ("csr",),
    (),
    ("approval", "status"),
)

DISRUPTION_BUDGET = Kind(
    "policy",
    "v1",
    "PodDisruptionBudget",
    "poddisruptionbudgets",
    policy.PodDisruptionBudget,
    True,
    ("pdb",),
    (),
    ("status",),
)

LIMIT_RANGE = Kind("", "v1", "LimitRange", "limitranges", limits.LimitRange, True, ("limits",))
RESOURCE_QUOTA = Kind(
    "",
    "v1",
    "ResourceQuota",
    "resourcequotas",
    quota.ResourceQuota,
    True,
    ("quota",),
    (),
    ("status",),
)
PERSISTENT_VOLUME = Kind(
    "",
    "v1",
    "PersistentVolume",
    "persistentvolumes",
    persistent.PersistentVolume,
    False,
    ("pv",),
    (),
    ("status",),
)
VOLUME_CLAIM = Kind(
    "",
    "v1",
    "PersistentVolumeClaim",
    "persistentvolumeclaims",
    persistent.PersistentVolumeClaim,
    True,
    ("pvc",),
    (),
    ("status",),
)
STORAGE_CLASS = Kind(
    "storage.k8s.io",
    "v1",
    "StorageClass",
    "storageclasses",
    persistent.StorageClass,
    False,
    ("sc",),
)
SERVICE_RANGE = Kind(
    "networking.k8s.io",
    "v1",
    "ServiceCIDR",
    "servicecidrs",
    ranges.ServiceCIDR,
    False,
    (),
    (),
    ("status",),
)
SERVICE_ADDRESS = Kind(
    "networking.k8s.io", "v1", "IPAddress", "ipaddresses", ranges.IPAddress, False, ("ip",)
)
DEFINITION = Kind(
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    cluster.CustomResourceDefinition,
    False,
    ("crd", "crds"),
    ("api-extensions",),
    ("status",),
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
    LIMIT_RANGE,
    RESOURCE_QUOTA,
    DEPLOYMENT,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    DAEMON_SET,
    STATEFUL_SET,
    CONTROLLER_REVISION,
    ROLE,
    CLUSTER_ROLE,
    ROLE_BINDING,
    CLUSTER_ROLE_BINDING,
    PRIORITY_CLASS,
    JOB,
    CRON_JOB,
    HORIZONTAL_POD_AUTOSCALER,
    SIGNING_REQUEST,
    DISRUPTION_BUDGET,
    PERSISTENT_VOLUME,
    VOLUME_CLAIM,
    STORAGE_CLASS,
    SERVICE_RANGE,
    SERVICE_ADDRESS,
    DEFINITION,
    *STORED,
)
API_SERVICE = next(kind for kind in STORED if kind.name == "APIService")
RUNTIME_CLASS = next(kind for kind in STORED if kind.name == "RuntimeClass")

EVENT_FORM = Kind(
    "events.k8s.io",
    "v1",
    "Event",
    "events",
    cluster.Event,
    True,
    ("ev",),
    form=Form(EVENT, event_form.show, event_form.keep),
)
AUTOSCALER_FORM = Kind(
    "autoscaling",
    "v1",
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    autoscaling.HorizontalPodAutoscaler,
    True,
    ("hpa",),
    ("all",),
    ("status",),
    form=Form(HORIZONTAL_POD_AUTOSCALER, autoscaler_form.show, autoscaler_form.keep),
)
FORMS: tuple[Kind, ...] = (EVENT_FORM, AUTOSCALER_FORM)
SERVED: tuple[Kind, ...] = (*KINDS, *FORMS)
