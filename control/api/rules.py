"""What each kind asks of its objects: defaults, validation, and whether changes are counted.

A kind without a row has no rules but those of metadata. Everything here is pure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from control.api.defaults import cluster, pod, service, workload
from control.api.field import FieldError
from control.api.kinds import Kind

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
    generation: bool = False  # metadata.generation counts the changes of what is asked for


def _begin_pod(wire: Wire) -> Wire:
    return wire | {"status": {"phase": "Pending"}}


_RULES = {
    "Namespace": Rules(cluster.default_namespace, cluster.begin_namespace),
    "Node": Rules(cluster.default_node),
    "Secret": Rules(cluster.default_secret),
    "Endpoints": Rules(cluster.default_endpoints),
    "EndpointSlice": Rules(cluster.default_endpoint_slice, generation=True),
    "Service": Rules(service.default_service, service.begin_service),
    "Pod": Rules(pod.default_pod, _begin_pod, generation=True),
    "Deployment": Rules(workload.default_deployment, generation=True),
    "ReplicaSet": Rules(workload.default_replica_set, generation=True),
    "DaemonSet": Rules(workload.default_daemon_set, generation=True),
}
_NONE = Rules()


def rules_of(kind: Kind) -> Rules:
    """The rules of a kind."""
    return _RULES.get(kind.name, _NONE)
