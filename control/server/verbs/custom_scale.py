"""The scale of custom objects, whose fields their definition names. Pure.

Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/etcd.go.
"""

from collections.abc import Mapping
from typing import Any

from control.api.kinds import Kind
from control.server.wire import errors
from control.server.wire.item import Wire

# The metadata that a Scale shares with its workload.
SCALE_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(kind: Kind, wire: Mapping[str, Any]) -> Wire:
    """Return the autoscaling/v1 Scale of a custom object; raises StatusError (500)."""
    paths, metadata = _paths(kind), wire["metadata"]
    replicas = _at(wire, paths.spec)
    if type(replicas) is not int:
        why = f"the spec replicas field {paths.spec!r} does not exist"
        raise errors.internal(why)
    status: Wire = {"replicas": _at(wire, paths.status) or 0}
    if selector := _at(wire, paths.selector) if paths.selector else None:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in SCALE_METADATA if key in metadata},
        "spec": {"replicas": replicas},
        "status": status,
    }


def set_replicas(kind: Kind, wire: Wire, replicas: int) -> None:
    """Set the wanted number of replicas in a decoded custom object."""
    *above, last = _paths(kind).spec.removeprefix(".").split(".")
    at = wire
    for name in above:
        below = at.get(name)
        at[name] = at = dict(below) if isinstance(below, dict) else {}
    at[last] = replicas


def _paths(kind: Kind) -> Any:
    return kind.custom.scale if kind.custom else None


def _at(wire: Mapping[str, Any], path: str) -> Any:
    value: Any = wire
    for name in path.removeprefix(".").split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
