"""What each kind asks of its objects: defaults, validation, and whether changes are counted.

Everything here is pure. A kind without a row has no rules but those of metadata.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from control.api.defaults import cluster, pod, service, workload
from control.api.field import FieldError
from control.api.kinds import Kind
from control.api.meta import Object
from control.api.validation import cluster as check_cluster
from control.api.validation import endpoints as check_endpoints
from control.api.validation import pod as check_pod
from control.api.validation import service as check_service
from control.api.validation import text
from control.api.validation import workload as check_workload
from control.api.validation.meta import validate_meta, validate_meta_update
from control.api.validation.text import Check

Wire = dict[str, Any]


def _as_it_is(wire: Wire) -> Wire:
    return wire


def _nothing(*_: Any) -> list[FieldError]:
    return []


@dataclass(frozen=True, slots=True)
class Rules:
    """The behaviour of one kind."""

    default: Callable[[Wire], Wire] = _as_it_is
    begin: Callable[[Wire], Wire] = _as_it_is  # what a new object starts with, whatever was sent
    validate: Callable[[Any], list[FieldError]] = _nothing
    validate_update: Callable[[Any, Any], list[FieldError]] = _nothing  # new, old
    name: Check = text.dns_subdomain
    generation: bool = False  # metadata.generation counts the changes of what is asked for
    born_with_status: bool = False  # who creates an object may say how it is, as kubelets do


_RULES = {
    "Namespace": Rules(cluster.default_namespace, cluster.begin_namespace, name=text.dns_label),
    "Node": Rules(
        cluster.default_node,
        validate=check_cluster.validate_node,
        validate_update=check_cluster.validate_node_update,
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
    "Event": Rules(validate=check_cluster.validate_event),
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
        check_service.validate_service_update,
        name=text.dns_1035_label,
    ),
    "Pod": Rules(
        pod.default_pod,
        pod.begin_pod,
        check_pod.validate_pod,
        check_pod.validate_pod_update,
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
}
_NONE = Rules()


def rules_of(kind: Kind) -> Rules:
    """The rules of a kind."""
    return _RULES.get(kind.name, _NONE)


def errors_in(kind: Kind, new: Object) -> list[FieldError]:
    """What is wrong with an object that is to be stored."""
    rules = rules_of(kind)
    found = validate_meta(new.metadata, rules.name, namespaced=kind.namespaced)
    return found + rules.validate(new)


def errors_in_update(kind: Kind, new: Object, old: Object) -> list[FieldError]:
    """What is wrong with the next version of an object."""
    found = validate_meta_update(new.metadata, old.metadata)
    return found + errors_in(kind, new) + rules_of(kind).validate_update(new, old)


def errors_in_status(kind: Kind, new: Object, old: Object) -> list[FieldError]:
    """What is wrong with a version of which only the status was written."""
    found = validate_meta_update(new.metadata, old.metadata)
    return found + validate_meta(new.metadata, rules_of(kind).name, namespaced=kind.namespaced)
