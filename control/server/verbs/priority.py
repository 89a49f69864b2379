"""Priority admission: what a Pod's PriorityClass says is written into the Pod.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/ and
plugin/pkg/admission/priority of k8s.io/kubernetes. The Pods that are there keep what they have when
a class is changed or deleted.
"""

from collections.abc import Mapping
from typing import Any

from control.api.kinds import PRIORITY_CLASS
from control.server.state.server import ServerState
from control.server.wire import errors
from control.server.wire.info import storage_key
from control.server.wire.item import Wire
from control.server.wire.request import ApiRequest

_PREEMPTS = "PreemptLowerPriority"
_NO_CLASS: Mapping[str, Any] = {"value": 0, "preemptionPolicy": _PREEMPTS}


def refused(state: ServerState, spec: Wire) -> str:
    """Return why a Pod may not have its class or its priority, or nothing."""
    found = _class_of(state, spec)
    if found is None:
        return f"no PriorityClass with name {spec['priorityClassName']} was found"
    for noun, given, right in (
        ("integer value of priority", spec.get("priority"), found["value"]),
        ("string value of PreemptionPolicy", spec.get("preemptionPolicy"), _policy(found)),
    ):
        if given not in (None, right):
            return (
                f"the {noun} ({given}) must not be provided in pod spec; priority admission"
                f" controller computed {right} from the given PriorityClass name"
            )
    return ""


def complete(state: ServerState, spec: Wire) -> Wire:
    """Return the spec of an admitted Pod with its class, or the default one, and its priority."""
    found = _class_of(state, spec) or _NO_CLASS
    name = {"priorityClassName": found["metadata"]["name"]} if "metadata" in found else {}
    return {"priority": found["value"], "preemptionPolicy": _policy(found)} | spec | name


def check_default(state: ServerState, request: ApiRequest, wire: Wire) -> None:
    """Refuse a second default class; raises StatusError (403)."""
    if not wire.get("globalDefault"):
        return
    name = request.info.name
    others = (it for it in _defaults(state) if it["metadata"]["name"] != name)
    if other := next(others, None):
        why = (
            f"PriorityClass {other['metadata']['name']} is already marked as default. Only one"
            " default can exist"
        )
        raise errors.forbidden(PRIORITY_CLASS, name, why)


def _class_of(state: ServerState, spec: Wire) -> Mapping[str, Any] | None:
    """Return the class of a Pod: the one that it names, or the default; None if it is not there."""
    if name := spec.get("priorityClassName"):
        item = state.cache.of(PRIORITY_CLASS).get(storage_key(PRIORITY_CLASS, "", name))
        return item.wire if item is not None else None
    # There may be two for a moment, written by two servers: the lower one counts.
    return min(_defaults(state), key=lambda it: int(it["value"]), default=_NO_CLASS)


def _defaults(state: ServerState) -> list[Mapping[str, Any]]:
    items = state.cache.of(PRIORITY_CLASS).items()
    return [item.wire for item in items if item.wire.get("globalDefault")]


def _policy(found: Mapping[str, Any]) -> Any:
    return found.get("preemptionPolicy") or _PREEMPTS
