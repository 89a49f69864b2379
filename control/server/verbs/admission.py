"""Admit new objects: refuse or complete them according to the state of the cluster.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from collections.abc import Mapping
from typing import Any

from control.api.certificates import CLIENT_SIGNER
from control.api.kinds import (
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME,
    POD,
    PRIORITY_CLASS,
    SERVICE,
    SERVICE_ACCOUNT,
    SIGNING_REQUEST,
    VOLUME_CLAIM,
)
from control.api.meta import StatusCause
from control.api.signing import SigningError, read_request
from control.server.state.server import ServerState
from control.server.verbs import account, limits, podsecurity, priority, runtime_class, storage
from control.server.verbs.allocation.service import allocate
from control.server.wire import errors
from control.server.wire.info import storage_key
from control.server.wire.item import Wire
from control.server.wire.request import ApiRequest

_SERVICE_ACCOUNT = "default"
_MASTERS = "system:masters"
_TOLERATED_SECONDS = 300
# What Priority computes for a new Pod, and keeps when an update leaves it out.
_COMPUTED = ("priority", "preemptionPolicy")
# PodTopologyLabels: what a Pod knows of its place (KEP-4742).
_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")
_NEW_NODE = ("node.kubernetes.io/not-ready", "NoSchedule")
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def admit(state: ServerState, request: ApiRequest, wire: Wire) -> Wire:
    """Return the new object, completed by admission; raises StatusError (403, 404, 422)."""
    kind = request.info.kind
    if kind.namespaced:
        _namespace_lifecycle(state, request)
    if kind.name in limits.HELD and kind.custom is None:
        wire = _within_limits(state, request, wire)
    if kind is POD:
        return _admit_pod(state, request, wire)
    if kind is SERVICE:
        return allocate(state, wire, None)
    if kind is PRIORITY_CLASS:
        priority.check_default(state, request, wire)
    if kind is SIGNING_REQUEST:
        _subject(request, wire)
    if kind is VOLUME_CLAIM:
        return storage.admit_claim(state, wire)
    if kind is PERSISTENT_VOLUME:
        return storage.admit_volume(wire)
    return _tainted(wire) if kind is NODE else wire


def _within_limits(state: ServerState, request: ApiRequest, wire: Wire) -> Wire:
    found = limits.ranges(state, request.info.namespace)
    if not found:
        return wire
    made = limits.completed(found, wire) if request.info.kind is POD else wire
    if why := "" if request.unchecked else limits.refused(found, request.info.kind, made):
        raise errors.forbidden(request.info.kind, request.info.name, why)
    return made


def admit_claim_update(
    state: ServerState, request: ApiRequest, wire: Wire, before: Mapping[str, Any]
) -> Wire:
    """Hold a claim that asks for another size to its class and its namespace's limits.

    Raises StatusError.
    """
    storage.check_growth(state, request, wire, before)
    asked, held = (each["spec"].get("resources") for each in (wire, before))
    return wire if asked == held else _within_limits(state, request, wire)


def _subject(request: ApiRequest, wire: Wire) -> None:
    """CertificateSubjectRestriction: refuse a client certificate of the group system:masters."""
    spec = wire.get("spec") or {}
    if spec.get("signerName") != CLIENT_SIGNER:
        return
    try:
        groups = read_request(spec.get("request") or "").groups
    except SigningError:
        return  # validation says why
    if _MASTERS in groups:
        why = f"use of {CLIENT_SIGNER} signer with {_MASTERS} group is not allowed"
        raise errors.forbidden(request.info.kind, request.info.name, why)


def _tainted(node: Wire) -> Wire:
    """TaintNodesByCondition: a new node takes no Pods until its first report has been judged."""
    spec = node.get("spec") or {}
    taints = spec.get("taints") or []
    if any((it.get("key"), it.get("effect")) == _NEW_NODE for it in taints):
        return node
    key, effect = _NEW_NODE
    return node | {"spec": spec | {"taints": [*taints, {"key": key, "effect": effect}]}}


def _admit_pod(state: ServerState, request: ApiRequest, wire: Wire) -> Wire:
    spec, refused = wire["spec"], ""
    if account.is_mirror(wire):
        refused = account.refused_mirror(spec)
    else:
        spec = account.complete(state, request.info.namespace, _with_account(spec))
        refused = _account(state, request, spec)
    for refusal in (refused, priority.refused(state, spec), runtime_class.refused(state, spec)):
        if refusal:
            raise errors.forbidden(POD, request.info.name, refusal)
    spec = _with_tolerations(priority.complete(state, spec))
    made = wire | {"spec": runtime_class.complete(state, spec)}
    if request.unchecked:
        return _placed(state, made)
    if why := podsecurity.refused(state, request.info.namespace, made["spec"]):
        raise errors.forbidden(POD, request.info.name, why)
    return _placed(state, made)


def _placed(state: ServerState, pod: Wire) -> Wire:
    """PodTopologyLabels: give a new Pod that names its node the labels of the node's place."""
    node = pod["spec"].get("nodeName")
    if not node or not (labels := topology_labels(state, node)):
        return pod
    metadata = pod["metadata"]
    return pod | {"metadata": metadata | {"labels": metadata.get("labels", {}) | labels}}


def topology_labels(state: ServerState, node: str) -> dict[str, str]:
    """Return a node's labels that its Pods get as their own; none if it is not there."""
    item = state.cache.of(NODE).get(storage_key(NODE, "", node))
    labels = item.wire["metadata"].get("labels", {}) if item else {}
    return {key: labels[key] for key in _TOPOLOGY if key in labels}


def _account(state: ServerState, request: ApiRequest, spec: Wire) -> str:
    """ServiceAccount: return why a Pod may not have its account.

    The account ``default`` need not be there yet: no token comes with it, and a Pod can be made
    before, or without, the controller that makes the account.
    """
    name, namespace = spec["serviceAccountName"], request.info.namespace
    key = storage_key(SERVICE_ACCOUNT, namespace, name)
    if name == _SERVICE_ACCOUNT or state.cache.of(SERVICE_ACCOUNT).get(key) is not None:
        return ""
    why = f'serviceaccount "{name}" not found'
    return f"error looking up service account {namespace}/{name}: {why}"


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
