"""The table of each kind's rules: defaults, validation and generation. Pure.

A kind without a row has only the rules of metadata.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from control.api.defaults import (
    batch,
    cluster,
    definition,
    pod,
    rbac,
    service,
    stored,
    workload,
)
from control.api.field import FieldError
from control.api.kind import Kind
from control.api.validation import autoscaling as check_autoscaling
from control.api.validation import batch as check_batch
from control.api.validation import certificates as check_certificates
from control.api.validation import cluster as check_cluster
from control.api.validation import definition as check_definition
from control.api.validation import endpoints as check_endpoints
from control.api.validation import events as check_events
from control.api.validation import persistent as check_persistent
from control.api.validation import policy as check_policy
from control.api.validation import quota as check_quota
from control.api.validation import rbac as check_rbac
from control.api.validation import service as check_service
from control.api.validation import text
from control.api.validation import workload as check_workload
from control.api.validation.limits import validate_limit_range
from control.api.validation.pods import pod as check_pod
from control.api.validation.stored import addresses as check_addresses
from control.api.validation.stored import api_service as check_api_service
from control.api.validation.stored import flows as check_flows
from control.api.validation.stored import ingress as check_ingress
from control.api.validation.stored import levels as check_levels
from control.api.validation.stored import network as check_network
from control.api.validation.stored import policies as check_policies
from control.api.validation.stored import templates as check_templates
from control.api.validation.stored import webhooks as check_webhooks
from control.api.validation.text import Check

Wire = dict[str, Any]


def _as_it_is(wire: Wire) -> Wire:
    return wire


def _nothing(*_: Any) -> list[FieldError]:
    return []


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one kind."""

    default: Callable[[Wire], Wire] = _as_it_is
    begin: Callable[[Wire], Wire] = (
        _as_it_is  # sets the initial status and finalizers of a new object
    )
    validate: Callable[[Any], list[FieldError]] = _nothing
    validate_new: Callable[[Any], list[FieldError]] = _nothing  # besides ``validate``
    validate_update: Callable[[Any, Any], list[FieldError]] = _nothing  # new, old
    validate_status: Callable[[Any], list[FieldError]] = _nothing
    validate_status_update: Callable[[Any, Any], list[FieldError]] = _nothing  # new, old
    complete_update: Callable[[Wire], Wire] = _as_it_is  # after the server's own fields are kept
    name: Check = text.dns_subdomain
    generation: bool = False  # metadata.generation counts the changes of the spec
    born_numbered: bool = True  # and is 1 from the start
    born_with_status: bool = False  # the creator may set the status, as kubelets do for Nodes


_RULES = {
    "Namespace": Rules(
        cluster.default_namespace,
        cluster.begin_namespace,
        validate_new=check_cluster.validate_new_namespace,
        validate_update=check_cluster.validate_namespace_update,
        name=text.dns_label,
    ),
    "Node": Rules(
        cluster.default_node,
        validate=check_cluster.validate_node,
        validate_update=check_cluster.validate_node_update,
        validate_status=check_cluster.validate_node_status,
        born_with_status=True,
    ),
    "ConfigMap": Rules(
        validate=check_cluster.validate_config_map,
        validate_update=check_cluster.validate_config_map_update,
    ),
    "Secret": Rules(
        cluster.default_secret,
        validate=check_cluster.validate_secret,
        validate_update=check_cluster.validate_secret_update,
    ),
    "Event": Rules(validate=check_events.validate_event, name=text.path_segment),
    "Lease": Rules(validate=check_cluster.validate_lease),
    "Endpoints": Rules(cluster.default_endpoints, validate=check_endpoints.validate_endpoints),
    "EndpointSlice": Rules(
        cluster.default_endpoint_slice,
        validate=check_endpoints.validate_endpoint_slice,
        validate_update=check_endpoints.validate_endpoint_slice_update,
        generation=True,
    ),
    "Service": Rules(
        service.default_service,
        service.begin_service,
        check_service.validate_service,
        validate_update=check_service.validate_service_update,
        validate_status=check_service.validate_service_status,
        name=text.dns_label,  # since 1.36 it may begin with a digit
    ),
    "Pod": Rules(
        pod.default_pod,
        pod.begin_pod,
        check_pod.validate_pod,
        check_pod.validate_new_pod,
        check_pod.validate_pod_update,
        check_pod.validate_pod_status,
        generation=True,
    ),
    "Deployment": Rules(
        workload.default_deployment,
        validate=check_workload.validate_deployment,
        validate_update=check_workload.validate_deployment_update,
        generation=True,
    ),
    "ReplicaSet": Rules(
        workload.default_replica_set,
        validate=check_workload.validate_replica_set,
        validate_update=check_workload.validate_replica_set_update,
        generation=True,
    ),
    "DaemonSet": Rules(
        workload.default_daemon_set,
        validate=check_workload.validate_daemon_set,
        validate_update=check_workload.validate_daemon_set_update,
        generation=True,
    ),
    "ControllerRevision": Rules(
        validate=check_workload.validate_revision,
        validate_update=check_workload.validate_revision_update,
    ),
    "StatefulSet": Rules(
        batch.default_stateful_set,
        validate=check_workload.validate_stateful_set,
        validate_update=check_workload.validate_stateful_set_update,
        name=text.dns_label,  # since 1.36: its Pods' host names begin with it
        generation=True,
    ),
    "Role": Rules(validate=check_rbac.validate_role, name=text.path_segment),
    "ClusterRole": Rules(validate=check_rbac.validate_cluster_role, name=text.path_segment),
    "RoleBinding": Rules(
        rbac.default_binding,
        validate=check_rbac.validate_role_binding,
        validate_update=check_rbac.validate_binding_update,
        name=text.path_segment,
    ),
    "ClusterRoleBinding": Rules(
        rbac.default_binding,
        validate=check_rbac.validate_cluster_role_binding,
        validate_update=check_rbac.validate_binding_update,
        name=text.path_segment,
    ),
    "PriorityClass": Rules(
        cluster.default_priority_class,
        validate=check_cluster.validate_priority_class,
        validate_update=check_cluster.validate_priority_class_update,
        generation=True,
    ),
    "Job": Rules(
        batch.default_job,
        batch.begin_job,
        check_batch.validate_job,
        validate_update=check_batch.validate_job_update,
        generation=True,
    ),
    "CronJob": Rules(
        batch.default_cron_job,
        validate=check_batch.validate_cron_job,
        generation=True,
    ),
    "CertificateSigningRequest": Rules(
        validate_new=check_certificates.validate_new_request, name=text.path_segment
    ),
    "PodDisruptionBudget": Rules(
        validate=check_policy.validate_budget,
        validate_status=check_policy.validate_budget_status,
        generation=True,
        name=text.path_segment,
    ),
    "ResourceQuota": Rules(
        validate=check_quota.validate_quota,
        validate_update=check_quota.validate_quota_update,
        validate_status=check_quota.validate_quota_status,
    ),
    "CustomResourceDefinition": Rules(
        definition.default_definition,
        definition.begin_definition,
        check_definition.validate_definition,
        validate_update=check_definition.validate_definition_update,
        complete_update=definition.with_stored_version,
        generation=True,
    ),
    "PersistentVolume": Rules(
        batch.default_volume,
        batch.begin_pending,
        check_persistent.validate_volume,
        validate_update=check_persistent.validate_volume_update,
    ),
    "PersistentVolumeClaim": Rules(
        batch.default_claim,
        batch.begin_pending,
        check_persistent.validate_claim,
        validate_update=check_persistent.validate_claim_update,
    ),
    "StorageClass": Rules(
        stored.default_storage_class,
        validate=check_persistent.validate_class,
        validate_update=check_persistent.validate_class_update,
    ),
    "PodTemplate": Rules(
        batch.default_pod_template, validate=check_templates.validate_pod_template, generation=True
    ),
    "ReplicationController": Rules(
        batch.default_replication_controller,
        validate=check_templates.validate_replication_controller,
        validate_status=check_templates.validate_replication_status,
        generation=True,
    ),
    "RuntimeClass": Rules(
        validate=check_templates.validate_runtime_class,
        validate_update=check_templates.validate_runtime_class_update,
    ),
    "HorizontalPodAutoscaler": Rules(
        batch.default_autoscaler,
        validate=check_autoscaling.validate_autoscaler,
        validate_new=check_autoscaling.validate_new_autoscaler,
        validate_update=check_autoscaling.validate_autoscaler_update,
        validate_status=check_autoscaling.validate_autoscaler_status,
    ),
    "CSIDriver": Rules(stored.default_csi_driver, generation=True, born_numbered=False),
    "Ingress": Rules(
        validate=check_ingress.validate_ingress,
        validate_new=check_ingress.validate_new_ingress,
        validate_status=check_ingress.validate_ingress_status,
        generation=True,
    ),
    "IngressClass": Rules(
        stored.default_ingress_class,
        validate=check_ingress.validate_ingress_class,
        validate_update=check_ingress.validate_ingress_class_update,
        generation=True,
    ),
    "NetworkPolicy": Rules(
        stored.default_network_policy, validate=check_network.validate_policy, generation=True
    ),
    "ServiceCIDR": Rules(
        validate=check_addresses.validate_ranges,
        validate_update=check_addresses.validate_ranges_update,
    ),
    "IPAddress": Rules(
        validate=check_addresses.validate_address,
        validate_update=check_addresses.validate_address_update,
        name=text.canonical_ip,
    ),
    "ValidatingWebhookConfiguration": Rules(
        stored.default_validating_webhooks,
        validate=check_webhooks.validate_webhooks,
        generation=True,
    ),
    "MutatingWebhookConfiguration": Rules(
        stored.default_mutating_webhooks,
        validate=check_webhooks.validate_webhooks,
        generation=True,
    ),
    "ValidatingAdmissionPolicy": Rules(
        stored.default_policy, validate=check_policies.validate_policy, generation=True
    ),
    "MutatingAdmissionPolicy": Rules(
        stored.default_policy, validate=check_policies.validate_mutating_policy, generation=True
    ),
    "ValidatingAdmissionPolicyBinding": Rules(
        stored.default_policy_binding, validate=check_policies.validate_binding, generation=True
    ),
    "MutatingAdmissionPolicyBinding": Rules(
        stored.default_policy_binding,
        validate=check_policies.validate_mutating_binding,
        generation=True,
    ),
    "APIService": Rules(
        stored.default_api_service,
        stored.begin_api_service,
        validate=check_api_service.validate_api_service,
        validate_status=check_api_service.validate_api_service_status,
        name=text.path_segment,
    ),
    "FlowSchema": Rules(
        stored.default_flow_schema,
        validate=check_flows.validate_flow_schema,
        validate_status=check_flows.validate_status,
        generation=True,
    ),
    "PriorityLevelConfiguration": Rules(
        stored.default_priority_level,
        validate=check_levels.validate_priority_level,
        validate_status=check_flows.validate_status,
        generation=True,
    ),
    "LimitRange": Rules(stored.default_limit_range, validate=validate_limit_range),
    "DeviceClass": Rules(generation=True),
    "ResourceClaim": Rules(stored.default_claim_of_devices),
    "ResourceClaimTemplate": Rules(stored.default_claim_template),
    "ResourceSlice": Rules(generation=True),
}
_NONE = Rules()
# Of forms: ``default`` takes what their clients send, all others the object as it is stored.
_FORM_RULES = {
    ("events.k8s.io", "v1", "Event"): Rules(
        validate_new=check_events.validate_new_reported,
        validate_update=check_events.validate_reported_update,
    ),
    ("autoscaling", "v1", "HorizontalPodAutoscaler"): Rules(
        batch.default_autoscaler_form,
        validate=check_autoscaling.validate_autoscaler,
        validate_new=check_autoscaling.validate_new_autoscaler,
        validate_update=check_autoscaling.validate_autoscaler_update,
        validate_status=check_autoscaling.validate_autoscaler_status,
    ),
}


def rules_of(kind: Kind) -> Rules:
    """Return the rules of a kind."""
    if kind.form is not None:
        return _FORM_RULES.get((kind.group, kind.version, kind.name), _NONE)
    return kind.custom.rules if kind.custom else _RULES.get(kind.name, _NONE)
