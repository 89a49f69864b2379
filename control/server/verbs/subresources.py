"""The subresources that act on their object: binding, finalize and scale."""

from typing import Any

from control.api import field
from control.api.kinds import NAMESPACE, POD, Kind
from control.server.state.server import ServerState
from control.server.verbs.admission import topology_labels
from control.server.verbs.apply import apply, check_options
from control.server.verbs.modify import Edited, Written, modify, rewrite
from control.server.verbs.patch import check_method, read_patch
from control.server.verbs.patches.refused import refusing
from control.server.verbs.scale import scale_of, set_replicas
from control.server.wire import errors, media
from control.server.wire.decode import read, read_message
from control.server.wire.item import Item, Wire
from control.server.wire.request import ApiRequest


async def bind(state: ServerState, request: ApiRequest) -> Item:
    """Assign a Pod to a node, once; raises StatusError (400, 404, 409, 422).

    The Pod gets the Binding's labels and annotations, and the labels of the node's place.
    """
    binding = read_message("core.Binding", request.body.object())
    node = _node(request, binding)
    metadata = binding["metadata"]
    name = metadata.get("name", "")
    if not request.info.name:
        request = request.named(name)
    elif name not in ("", request.info.name):
        raise errors.bad_request("name in URL does not match name in Binding object")

    def change(item: Item) -> Wire:
        _check_assignable(request, item, metadata)
        # Only a target that says its kind: as PodTopologyLabels.
        place = topology_labels(state, node) if binding["target"].get("kind") == "Node" else {}
        labels = metadata.get("labels", {}) | place
        return _bound(item, node, metadata | {"labels": labels}, state.timestamp())

    return await rewrite(state, request, change)


def _node(request: ApiRequest, binding: Wire) -> str:
    """Return the node that a Binding names; raises StatusError (422)."""
    target = binding["target"]
    found = []
    if target.get("kind", "Node") not in ("", "Node"):
        found.append(field.not_supported("target.kind", target["kind"], ["Node", "<empty>"]))
    if not target.get("name"):
        found.append(field.required("target.name"))
    if found:
        raise errors.invalid(POD, request.info.name, found)
    return str(target["name"])


def _check_assignable(request: ApiRequest, item: Item, wanted: Wire) -> None:
    """Refuse a Binding of a Pod that cannot be assigned any more; raises StatusError (409)."""
    pod = item.wire
    metadata, name = pod["metadata"], request.info.name
    if wanted.get("uid") not in (None, "", metadata["uid"]):
        why = (
            f"Precondition failed: UID in precondition: {wanted['uid']},"
            f" UID in object meta: {metadata['uid']}"
        )
        raise errors.conflict(POD, name, why)
    if "deletionTimestamp" in metadata:
        why = f"pod {name} is being deleted, cannot be assigned to a host"
        raise errors.conflict(POD, name, why)
    if node := pod["spec"].get("nodeName"):
        raise errors.conflict(POD, name, f'pod {name} is already assigned to node "{node}"')
    if pod["spec"].get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
        raise errors.conflict(POD, name, why)


def _bound(item: Item, node: str, given: Wire, now: str) -> Wire:
    pod = item.fresh()
    pod["spec"]["nodeName"] = node
    for name in ("annotations", "labels"):
        if given.get(name):
            pod["metadata"].setdefault(name, {}).update(given[name])
    status: dict[str, Any] = pod.setdefault("status", {})
    status.pop("nominatedNodeName", None)  # it has a node
    others = [c for c in status.get("conditions", []) if c["type"] != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
    status["conditions"] = [*others, scheduled]
    return pod


async def finalize(state: ServerState, request: ApiRequest) -> Item:
    """Set a namespace's spec.finalizers; raises StatusError (400, 404, 409).

    The removal of the last finalizer also removes a namespace that is being deleted.
    """
    sent, _ = read(NAMESPACE, request.body.object())
    finalizers = sent["spec"].get("finalizers", [])

    def change(item: Item) -> Wire:
        wire = item.fresh()
        return wire | {"spec": wire.get("spec", {}) | {"finalizers": finalizers}}

    return await rewrite(state, request, change, manages=True)


async def update_scale(state: ServerState, request: ApiRequest) -> Written:
    """Replace a workload's Scale; raises StatusError (400, 404, 409, 422)."""
    return await modify(state, request, _replace_scale)


def _replace_scale(_: ServerState, request: ApiRequest, item: Item) -> Edited:
    metadata = request.body.object().get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if name and name != request.info.name:
        raise errors.name_mismatch(str(name), request.info.name)
    return Edited(_scaled(request.info.kind, item, request.body.object()))


async def patch_scale(state: ServerState, request: ApiRequest) -> Written:
    """Patch a workload's Scale; raises StatusError (400, 404, 409, 415, 422)."""
    check_options(request)
    if request.body.media_type == media.APPLY_PATCH:
        return await apply(state, request)
    check_method(request.body, request.info.kind)
    return await modify(state, request, _patch_scale)


def _patch_scale(_: ServerState, request: ApiRequest, item: Item) -> Edited:
    present = scale_of(request.info.kind, item.wire)
    scale = read_patch(request)(present, "")
    if request.body.media_type == media.STRATEGIC_PATCH:
        # Upstream makes it a Scale whatever its kind says; ansible sends the workload's kind.
        scale |= {"kind": present["kind"], "apiVersion": present["apiVersion"]}
    with refusing(request.body.media_type, request.body.value, scale):
        return Edited(_scaled(request.info.kind, item, scale))


def _scaled(kind: Kind, item: Item, scale: Wire) -> Wire:
    """Return the workload with the replicas and the resourceVersion of a Scale."""
    scale = read_message("autoscaling.Scale", scale)
    wire = item.fresh()
    set_replicas(kind, wire, scale["spec"].get("replicas", 0))
    wire["metadata"]["resourceVersion"] = scale["metadata"].get("resourceVersion", "")
    return wire
