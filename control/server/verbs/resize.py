"""The subresource pods/resize: it changes a Pod's CPU and memory, and nothing else.

Source: https://github.com/kubernetes/enhancements/issues/1287 (the Pod's containers) and
https://github.com/kubernetes/enhancements/issues/5419 (the Pod as a whole)
"""

from collections.abc import Iterator, Mapping
from typing import Any

from control.api.amounts import Amounts, add, parsed, pod_total
from control.api.kinds import NODE, POD
from control.api.meta import StatusCause
from control.api.quantity import ZERO, Quantity
from control.server.state.server import ServerState
from control.server.verbs import limits
from control.server.wire import errors
from control.server.wire.info import storage_key
from control.server.wire.item import Wire
from control.server.wire.request import ApiRequest

SUBRESOURCE = "resize"
_LISTS = ("containers", "initContainers")
_RESIZED = ("resources", "resizePolicy")
# Besides the resources, these count of what a client sends.
_PRECONDITIONS = ("name", "resourceVersion", "managedFields")
_OS = "kubernetes.io/os"
# What a node declares that can resize more than containers and sidecars (KEP-5328).
_INIT_FEATURE = "InPlacePodVerticalScalingInitContainers"
_WHOLE_FEATURE = "InPlacePodLevelResourcesVerticalScaling"


def narrowed(before: Mapping[str, Any], new: Wire) -> Wire:
    """Return the Pod as it is with the client's resources; validation refuses other containers."""
    old, wanted = before["spec"], new["spec"]
    if any(len(old.get(name, ())) != len(wanted.get(name, ())) for name in _LISTS):
        return new
    spec = {name: value for name, value in old.items() if name != "resources"}
    spec |= {name: _merged(old[name], wanted[name]) for name in _LISTS if name in old}
    if "resources" in wanted:
        spec["resources"] = wanted["resources"]
    given = {name: new["metadata"][name] for name in _PRECONDITIONS if name in new["metadata"]}
    return {**before, "metadata": {**before["metadata"], **given}, "spec": spec}


def _merged(before: list[Wire], wanted: list[Wire]) -> list[Wire]:
    """Return the containers with the client's resources; the client's own if others are named."""
    pairs = [*zip(before, wanted, strict=True)]
    if any(old.get("name") != new.get("name") for old, new in pairs):
        return wanted
    return [
        {name: value for name, value in old.items() if name not in _RESIZED}
        | {name: new[name] for name in _RESIZED if name in new}
        for old, new in pairs
    ]


def completed(state: ServerState, request: ApiRequest, wire: Wire) -> Wire:
    """LimitRanger: return the Pod with the default requests and limits of its namespace."""
    found = limits.ranges(state, request.info.namespace)
    return wire | {"spec": limits.completed(found, wire)["spec"]} if found else wire


def check(state: ServerState, request: ApiRequest, before: Mapping[str, Any], new: Wire) -> None:
    """Hold a valid resize to the namespace's limits and to the Pod's node; raises StatusError."""
    kind, name = request.info.kind, request.info.name
    if why := limits.refused(limits.ranges(state, request.info.namespace), POD, new):
        raise errors.forbidden(kind, name, why)
    node_name = new["spec"].get("nodeName")
    generations = [each["metadata"].get("generation") for each in (before, new)]
    if not node_name or generations[0] == generations[1]:
        return
    item = state.cache.of(NODE).get(storage_key(NODE, "", node_name))
    if item is None:
        raise errors.forbidden(kind, name, f'node "{node_name}" not found')
    why, *causes = _refused(before, new, item.wire) or ("",)
    if why:
        found = [StatusCause(reason=cause, message="") for cause in causes]
        raise errors.forbidden(kind, name, why, *found)


def _refused(before: Mapping[str, Any], new: Wire, node: Mapping[str, Any]) -> tuple[str, ...]:
    """Return why a node cannot resize a Pod, and the cause's reason; nothing if it can."""
    name = node["metadata"]["name"]
    system = node["metadata"].get("labels", {}).get(_OS, "linux")
    if lacking := [*_undeclared(before["spec"], new["spec"], node)]:
        needed = ", ".join(lacking)
        return (f'pod update requires features {needed} which are not available on node "{name}"',)
    if system != "linux":
        why = f'pod resize is only supported on linux nodes, node "{name}" is "{system}"'
        return why, "UnsupportedPlatform"
    allocatable = parsed((node.get("status") or {}).get("allocatable"))
    if beyond := [*_beyond(_requests(new["spec"]), allocatable)]:
        why = f"node didn't have enough allocatable resources: {'; '.join(beyond)}"
        return why, "NodeCapacity"
    return ()


def _undeclared(
    old: Mapping[str, Any], new: Mapping[str, Any], node: Mapping[str, Any]
) -> Iterator[str]:
    """NodeDeclaredFeatureValidator: yield what a resize needs and the node does not declare."""
    declared = (node.get("status") or {}).get("declaredFeatures") or ()
    if old.get("resources") != new.get("resources") and _WHOLE_FEATURE not in declared:
        yield _WHOLE_FEATURE
    pairs = zip(old.get("initContainers", ()), new.get("initContainers", ()), strict=True)
    changed = any(
        one.get("resources") != two.get("resources") and one.get("restartPolicy") != "Always"
        for one, two in pairs
    )
    if changed and _INIT_FEATURE not in declared:
        yield _INIT_FEATURE


def _requests(spec: Mapping[str, Any]) -> Amounts:
    requests = pod_total(spec, "requests")
    add(requests, parsed(spec.get("overhead")))
    return requests


def _beyond(requests: Amounts, allocatable: Amounts) -> Iterator[str]:
    """PodResizeValidator: yield what is requested beyond what a node has."""
    measures = {"cpu": Quantity.milli, "memory": Quantity.value}
    for name, measure in measures.items():
        wanted, most = requests.get(name, ZERO), allocatable.get(name, ZERO)
        if wanted > most:
            yield f"{name}, requested: {measure(wanted)}, allocatable: {measure(most)}"
