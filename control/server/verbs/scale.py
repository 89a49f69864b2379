"""The scale subresource: how many, without knowing of what (autoscaling/v1 Scale)."""

from collections.abc import Mapping
from typing import Any

from control.api.kinds import Kind
from control.api.meta import LabelSelector
from control.api.selectors import format_labels
from control.server.state.server import ApiRequest, ServerState
from control.server.verbs.modify import Edited, Written, modify
from control.server.verbs.patch import read_patch
from control.server.wire import errors
from control.server.wire.decode import read_object
from control.server.wire.item import Item, Wire

_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(wire: Mapping[str, Any]) -> Wire:
    """The Scale of a workload."""
    metadata, spec, status = wire["metadata"], wire["spec"], wire.get("status", {})
    selector = LabelSelector.parse(spec.get("selector", {}))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in _KEPT if key in metadata},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {"replicas": status.get("replicas", 0), "selector": format_labels(selector)},
    }


async def update_scale(state: ServerState, request: ApiRequest) -> Written:
    """Replace a Scale; raises StatusError (400, 404, 409, 422)."""
    scale = read_object(request.body, request.content_type)

    def edit(item: Item) -> Edited:
        return Edited(_scaled(request.info.kind, item, scale))

    return await modify(state, request, edit)


async def patch_scale(state: ServerState, request: ApiRequest) -> Written:
    """Patch a Scale; raises StatusError (400, 404, 409, 415, 422)."""
    given = read_patch(request)

    def edit(item: Item) -> Edited:
        scale = given(scale_of(item.wire), None)
        return Edited(_scaled(request.info.kind, item, scale))

    return await modify(state, request, edit)


def _scaled(kind: Kind, item: Item, scale: Wire) -> Wire:
    spec, metadata = scale.get("spec", {}), scale.get("metadata", {})
    replicas = spec.get("replicas", 0) if isinstance(spec, dict) else None
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise errors.bad_request(f"spec.replicas of a Scale of {kind.plural} must be a number")
    wire = item.fresh()
    wire["spec"]["replicas"] = replicas
    wire["metadata"]["resourceVersion"] = str(metadata.get("resourceVersion", ""))
    return wire
