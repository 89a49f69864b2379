"""Admit new objects: refuse or complete them according to the state of the cluster.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from collections.abc import Mapping
from typing import Any

from control.api.kinds import NAMESPACE, POD, SERVICE
from control.api.meta import StatusCause
from control.server.state.server import ServerState
from control.server.verbs.allocation.service import allocate
from control.server.wire import errors
from control.server.wire.info import storage_key
from control.server.wire.item import Wire
from control.server.wire.request import ApiRequest

_SERVICE_ACCOUNT = "default"
_TOLERATED_SECONDS = 300
_PRIORITIES = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}
# What Priority computes for a new Pod, and keeps when an update leaves it out.
_COMPUTED = ("priority", "preemptionPolicy")
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def admit(state: ServerState, request: ApiRequest, wire: Wire) -> Wire:
    """Return the new object, completed by admission; raises StatusError (403, 404, 422)."""
    kind = request.info.kind
    if kind.namespaced:
        _namespace_lifecycle(state, request)
    if kind is POD:
        return wire | {"spec": _with_tolerations(_with_priority(_with_account(wire["spec"])))}
    if kind is SERVICE:
        return allocate(state, wire, None)
    return wire


def admit_update(wire: Wire, before: Mapping[str, Any]) -> Wire:
    """Return a Pod's next version, completed by admission as a new one."""
    old, spec = before["spec"], wire["spec"]
    kept = {name: old[name] for name in _COMPUTED if name in old and name not in spec}
    return wire | {"spec": _with_tolerations(spec | kept)}


def _namespace_lifecycle(state: ServerState, request: ApiRequest) -> None:
    """NamespaceLifecycle: refuse objects in a namespace that is absent or being deleted."""
    namespace = request.info.namespace
    item = state.cache.of(NAMESPACE).get(storage_key(NAMESPACE, "", namespace))
    if item is None:
        raise errors.not_found(NAMESPACE, namespace)
    if "deletionTimestamp" in item.wire["metadata"]:
        cause = StatusCause(
            reason="NamespaceTerminating",
            message=f"namespace {namespace} is being terminated",
            field="metadata.namespace",
        )
        why = (
            f"unable to create new content in namespace {namespace} because it is being terminated"
        )
        raise errors.forbidden(request.info.kind, request.info.name, why, cause)


def _with_account(spec: Wire) -> Wire:
    """ServiceAccount: set both fields that name a Pod's ServiceAccount."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or _SERVICE_ACCOUNT
    return spec | {"serviceAccountName": name, "serviceAccount": name}


def _with_priority(spec: Wire) -> Wire:
    """Priority: set 0, or the value of the two classes that every cluster has."""
    priority = _PRIORITIES.get(spec.get("priorityClassName", ""), 0)
    return {"priority": priority, "preemptionPolicy": "PreemptLowerPriority"} | spec


def _with_tolerations(spec: Wire) -> Wire:
    """DefaultTolerationSeconds: let a Pod stay for five minutes on an unreachable node."""
    present = spec.get("tolerations", [])
    added = [
        {
            "key": key,
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": _TOLERATED_SECONDS,
        }
        for key in _TOLERATED
        if not any(_covers(toleration, key) for toleration in present)
    ]
    return spec | {"tolerations": [*present, *added]}


def _covers(toleration: Wire, key: str) -> bool:
    """Return True if a toleration already covers a NoExecute taint with this key."""
    return toleration.get("key") in (None, "", key) and toleration.get("effect") in (
        None,
        "",
        "NoExecute",
    )
