"""NodeRestriction: a node writes only its own Node, its own Pods, and tokens of those.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
and k8s.io/kubernetes/plugin/pkg/admission/noderestriction
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from control.api.kinds import LEASE, NODE, POD, SERVICE_ACCOUNT, Kind
from control.api.validation.node_labels import may_set
from control.server.access.node import LEASES, named_in, pod_key
from control.server.state.watch_cache import WatchCache
from control.server.wire import errors
from control.server.wire.item import Item
from control.server.wire.request import ApiRequest

_MIRROR = "kubernetes.io/config.mirror"
Wire = Mapping[str, Any]
_Rule = Callable[[WatchCache, str, ApiRequest, Wire, Wire], str]


def check_node(
    cache: WatchCache, node: str, request: ApiRequest, old: Item | None, new: bytes | None
) -> None:
    """Refuse a write that a node may not make; raises StatusError (403)."""
    rule = _RULES.get(request.info.kind)
    if rule is None:
        return
    before = old.wire if old is not None else {}
    after: Wire = orjson.loads(new) if new is not None else {}
    if why := rule(cache, node, request, before, after):
        raise errors.forbidden(request.info.kind, request.info.name, why)


def _pod(cache: WatchCache, node: str, request: ApiRequest, old: Wire, new: Wire) -> str:
    """Return why a node may not create, change, delete or evict a Pod."""
    del cache
    sub = request.info.subresource
    if not old:
        return _mirror(node, new)
    if old["spec"].get("nodeName") != node:
        what = {"status": "update pod status for", "eviction": "evict"}.get(sub, "delete")
        return f'node "{node}" can only {what} pods with spec.nodeName set to itself'
    if not new:
        return ""
    if sub != "status":
        return f'node "{node}" can only update the status of pods'
    if old["metadata"].get("labels") != new["metadata"].get("labels"):
        return f'node "{node}" cannot update labels through pod status'
    return ""


def _mirror(node: str, new: Wire) -> str:
    if _MIRROR not in new["metadata"].get("annotations", {}):
        return (
            f'pod does not have "{_MIRROR}" annotation, node "{node}" can only create mirror pods'
        )
    spec = new["spec"]
    if spec.get("nodeName") != node:
        return f'node "{node}" can only create pods with spec.nodeName set to itself'
    owners = new["metadata"].get("ownerReferences", [])
    if any((owner.get("kind"), owner.get("name")) != ("Node", node) for owner in owners):
        return f'node "{node}" can only create pods with an owner reference set to itself'
    if named := next(named_in(spec), None):
        return f'node "{node}" can not create pods that reference {named[0]}'
    return ""


def _node(cache: WatchCache, node: str, request: ApiRequest, old: Wire, new: Wire) -> str:
    """Return why a node may not write a Node."""
    del cache
    name = request.info.name
    if name != node:
        return f'node "{node}" is not allowed to modify node "{name}"'
    if not new:
        return f'node "{node}" is not allowed to delete itself'
    if old and old.get("spec", {}).get("taints") != new.get("spec", {}).get("taints"):
        return f'node "{node}" is not allowed to modify taints'
    owners = [each["metadata"].get("ownerReferences") for each in (old, new) if each]
    if old and owners[0] != owners[1]:
        return f'node "{node}" is not allowed to modify ownerReferences'
    have, want = (each.get("metadata", {}).get("labels", {}) for each in (old, new))
    changed = {key for key in have.keys() | want if have.get(key) != want.get(key)}
    if refused := sorted(key for key in changed if not may_set(key)):
        return f"is not allowed to modify labels: {', '.join(refused)}"
    return ""


def _token(cache: WatchCache, node: str, request: ApiRequest, old: Wire, new: Wire) -> str:
    """Return why a node may not have a token: it must be bound to one of its Pods."""
    del old
    if request.info.subresource != "token":
        return ""
    reference = (new.get("spec") or {}).get("boundObjectRef") or {}
    pod = cache.of(POD).get(pod_key(request.info.namespace, reference.get("name", "")))
    return _unbound(reference) or (_elsewhere(node, reference, pod) if pod else "")


def _unbound(reference: Wire) -> str:
    named = (reference.get("apiVersion"), reference.get("kind")) == ("v1", "Pod")
    if not named or not reference.get("name"):
        return "node requested token not bound to a pod"
    if not reference.get("uid"):
        return "node requested token with a pod binding without a uid"
    return ""


def _elsewhere(node: str, reference: Wire, pod: Item) -> str:
    uid = pod.wire["metadata"]["uid"]
    if uid != reference["uid"]:
        return f"the UID in the bound object reference ({reference['uid']}) is not {uid}"
    if pod.wire["spec"].get("nodeName") != node:
        return "node requested token bound to a pod scheduled on a different node"
    return ""


def _lease(cache: WatchCache, node: str, request: ApiRequest, old: Wire, new: Wire) -> str:
    """Return why a node may not write a Lease."""
    del cache, old, new
    if request.info.namespace != LEASES:
        return f'can only access leases in the "{LEASES}" system namespace'
    if request.info.name != node:
        return "can only access node lease with the same name as the requesting node"
    return ""


_RULES: Mapping[Kind, _Rule] = {
    POD: _pod,
    NODE: _node,
    SERVICE_ACCOUNT: _token,
    LEASE: _lease,
}
