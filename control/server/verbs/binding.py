"""The binding subresource: a scheduler's word on which node a Pod runs."""

from typing import Any

from control.api import field
from control.api.kinds import POD
from control.server.state.server import ApiRequest, ServerState
from control.server.verbs.modify import rewrite
from control.server.wire import errors
from control.server.wire.decode import read_object
from control.server.wire.item import Item, Wire


async def bind(state: ServerState, request: ApiRequest) -> Item:
    """Assign a Pod to a node, once; raises StatusError (400, 404, 409, 422)."""
    binding = read_object(request.body, request.content_type)
    node = _node(request, binding)
    metadata = binding.get("metadata", {})
    if not request.info.name:
        request = request.named(str(metadata.get("name", "")))

    def change(item: Item) -> Wire:
        _check(request, item, metadata)
        return _bound(item, node, metadata.get("annotations", {}), state.timestamp())

    return await rewrite(state, request, change)


def _node(request: ApiRequest, binding: Wire) -> str:
    target = binding.get("target", {})
    if not isinstance(target, dict) or not isinstance(binding.get("metadata", {}), dict):
        raise errors.bad_request("a Binding needs metadata and a target that are objects")
    found = []
    if target.get("kind", "Node") not in ("", "Node"):
        found.append(field.not_supported("target.kind", target["kind"], ["Node", "<empty>"]))
    if not target.get("name"):
        found.append(field.required("target.name"))
    if found:
        raise errors.invalid(POD, request.info.name, found)
    return str(target["name"])


def _check(request: ApiRequest, item: Item, asked: Wire) -> None:
    """Whether the Pod can still be assigned; raises StatusError (409)."""
    pod = item.wire
    metadata, name = pod["metadata"], request.info.name
    if asked.get("uid") not in (None, "", metadata["uid"]):
        why = (
            f"Precondition failed: UID in precondition: {asked['uid']},"
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


def _bound(item: Item, node: str, annotations: Wire, now: str) -> Wire:
    pod = item.fresh()
    pod["spec"]["nodeName"] = node
    if annotations:
        pod["metadata"].setdefault("annotations", {}).update(annotations)
    status: dict[str, Any] = pod.setdefault("status", {})
    others = [c for c in status.get("conditions", []) if c["type"] != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
    status["conditions"] = [*others, scheduled]
    return pod
