"""PodSecurity admission: hold Pods to the level that their namespace's labels name. Pure.

``enforce`` refuses Pods; ``warn`` warns of Pods, and of workloads whose Pods would violate it.
Source: https://kubernetes.io/docs/concepts/security/pod-security-admission/
"""

from collections.abc import Mapping
from typing import Any

from control.api.kinds import NAMESPACE, Kind
from control.api.podsecurity import LEVELS, violations
from control.server.state.server import ServerState
from control.server.wire.info import storage_key
from control.server.wire.item import Wire
from control.server.wire.request import ApiRequest

_LABEL = "pod-security.kubernetes.io/"
_TEMPLATE = ("spec", "template", "spec")
# Other kinds may have unknown fields of these names, with any value.
_POD_SPECS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): ("spec",),
    ("", "PodTemplate"): ("template", "spec"),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", *_TEMPLATE),
}


def refused(state: ServerState, namespace: str, spec: Wire) -> str:
    """Return why the namespace takes no such Pod; empty if it does."""
    level, version = _level(state, namespace, "enforce")
    found = violations(spec, level)
    return f'violates PodSecurity "{level}:{version}": {found}' if found else ""


def warnings(state: ServerState, request: ApiRequest, wire: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a warning of a Pod, or of a workload's Pods, that violates the level ``warn``."""
    spec = _pod_spec(request.info.kind, wire)
    if spec is None:
        return ()
    level, version = _level(state, request.info.namespace, "warn")
    found = violations(spec, level)
    return (f'would violate PodSecurity "{level}:{version}": {found}',) if found else ()


def _pod_spec(kind: Kind, wire: Mapping[str, Any]) -> Wire | None:
    """Return the spec of a Pod, or of a workload's Pods; None for all other kinds."""
    path = _POD_SPECS.get((kind.group, kind.name))
    found: Any = wire if path else None
    for name in path or ():
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _level(state: ServerState, namespace: str, mode: str) -> tuple[str, str]:
    """Return the level and the version that a namespace's labels name for a mode."""
    item = state.cache.of(NAMESPACE).get(storage_key(NAMESPACE, "", namespace))
    labels = item.wire["metadata"].get("labels", {}) if item is not None else {}
    level = labels.get(f"{_LABEL}{mode}", "")
    known = level if level in LEVELS else "privileged"
    return known, labels.get(f"{_LABEL}{mode}-version") or "latest"
