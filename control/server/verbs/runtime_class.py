"""RuntimeClass admission: a new Pod gets its class's overhead, and nodes that have its handler.

Source: k8s.io/kubernetes/plugin/pkg/admission/runtimeclass and pkg/util/tolerations; KEP-688
"""

from collections.abc import Mapping
from typing import Any

from control.api.kinds import RUNTIME_CLASS
from control.server.state.server import ServerState
from control.server.wire.info import storage_key
from control.server.wire.item import Wire

_NONE: Mapping[str, Any] = {}


def refused(state: ServerState, spec: Wire) -> str:
    """Return why a Pod may not have its class or its overhead, or nothing."""
    found = _class_of(state, spec)
    if found is None:
        return f'pod rejected: RuntimeClass "{spec["runtimeClassName"]}" not found'
    overhead, own = _overhead(found), spec.get("overhead")
    if own is not None and overhead is None:
        return "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
    if own and own != overhead:
        return "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
    wanted, given = _selector(found), spec.get("nodeSelector", {})
    for key, value in wanted.items():
        if given.get(key, value) != value:
            return (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {given[key]}"
            )
    return ""


def complete(state: ServerState, spec: Wire) -> Wire:
    """Return an admitted Pod's spec with what its class adds."""
    found = _class_of(state, spec) or _NONE
    made = dict(spec)
    if overhead := _overhead(found):
        made["overhead"] = overhead
    if selector := _selector(found):
        made["nodeSelector"] = spec.get("nodeSelector", {}) | selector
    if "scheduling" in found:
        more = found["scheduling"].get("tolerations", [])
        made["tolerations"] = merged([*spec.get("tolerations", []), *more])
    return made


def _class_of(state: ServerState, spec: Wire) -> Mapping[str, Any] | None:
    """Return the class of a Pod, one without fields if it names none; None if it is absent."""
    name = spec.get("runtimeClassName")
    if name is None:
        return _NONE
    item = state.cache.of(RUNTIME_CLASS).get(storage_key(RUNTIME_CLASS, "", name))
    return item.wire if item is not None else None


def _overhead(found: Mapping[str, Any]) -> Wire | None:
    return found["overhead"].get("podFixed", {}) if "overhead" in found else None


def _selector(found: Mapping[str, Any]) -> dict[str, str]:
    wanted: dict[str, str] = found.get("scheduling", {}).get("nodeSelector", {})
    return wanted


def merged(tolerations: list[Wire]) -> list[Wire]:
    """Return tolerations without those that another one includes."""
    kept: list[Wire] = []
    for at, one in enumerate(tolerations):
        later = (it for it in tolerations[at + 1 :] if it != one)
        if not any(_includes(it, one) for it in (*kept, *later)):
            kept.append(one)
    return kept


def _includes(whole: Wire, part: Wire) -> bool:
    """Return True if ``whole`` tolerates all that ``part`` does."""
    if whole == part:
        return True
    exists = whole.get("operator") == "Exists"
    any_key = exists and not whole.get("key")
    if not any_key and whole.get("key") != part.get("key"):
        return False
    if whole.get("effect") and whole["effect"] != part.get("effect"):
        return False
    if not _lasts(whole, part):
        return False
    same = part.get("operator") == "Equal" and part.get("value") == whole.get("value")
    return exists or same


def _lasts(whole: Wire, part: Wire) -> bool:
    most, seconds = whole.get("tolerationSeconds"), part.get("tolerationSeconds")
    if whole.get("effect") != "NoExecute" or most is None:
        return True
    return seconds is not None and seconds <= most
