"""The Scale of a workload, as the subresource ``scale`` shows and sets it."""

from collections.abc import Mapping
from typing import Any

from control.api.kinds import Kind
from control.api.meta import LabelSelector
from control.api.selectors import format_labels
from control.server.verbs import custom_scale
from control.server.verbs.custom_scale import SCALE_METADATA
from control.server.wire.item import Wire


def scale_of(kind: Kind, wire: Mapping[str, Any]) -> Wire:
    """Return the autoscaling/v1 Scale of a workload; raises StatusError (500)."""
    if kind.custom is not None:
        return custom_scale.scale_of(kind, wire)
    metadata, spec, status = wire["metadata"], wire["spec"], wire.get("status", {})
    selector = spec.get("selector", {})
    if wire["kind"] == "ReplicationController":  # its selector is a map of labels
        selector = {"matchLabels": selector}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in SCALE_METADATA if key in metadata},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {"replicas": status.get("replicas", 0), "selector": _shown(selector)},
    }


def _shown(selector: Wire) -> str:
    return format_labels(LabelSelector.parse(selector))


def set_replicas(kind: Kind, wire: Wire, replicas: int) -> None:
    """Set the replicas that a workload should have."""
    if kind.custom is not None:
        custom_scale.set_replicas(kind, wire, replicas)
    else:
        wire["spec"]["replicas"] = replicas
