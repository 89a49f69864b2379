"""LimitRanger admission: hold Pods and claims to the LimitRanges of their namespace. Pure.

Source: https://kubernetes.io/docs/concepts/policy/limit-range/ and
k8s.io/kubernetes/plugin/pkg/admission/limitranger
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from control.api.amounts import Amounts, parsed, pod_total
from control.api.defaults.pod import quality_of_service
from control.api.kinds import LIMIT_RANGE, POD, Kind
from control.api.limits import CLAIM, CONTAINER
from control.api.limits import POD as POD_TYPE
from control.api.quantity import Quantity
from control.server.state.server import ServerState
from control.server.wire.info import storage_prefix
from control.server.wire.item import Wire

# The kinds that are held to limits.
HELD = (POD.name, CLAIM)
_NOTE = "kubernetes.io/limit-ranger"
_LISTS = (("containers", "container"), ("initContainers", "init container"))
Limit = Mapping[str, Any]


def ranges(state: ServerState, namespace: str) -> list[Limit]:
    """Return the limits of a namespace's LimitRanges."""
    found = state.cache.of(LIMIT_RANGE).items(f"{storage_prefix(LIMIT_RANGE)}{namespace}/")
    return [limit for item in found for limit in item.wire["spec"].get("limits", ())]


def completed(limits: Iterable[Limit], pod: Wire) -> Wire:
    """Return the Pod with the default requests and limits of its containers.

    An annotation says which; the quality of service follows from them.
    """
    spec, notes = dict(pod["spec"]), list[str]()
    for limit in limits:
        if limit.get("type") != CONTAINER:
            continue
        for name, title in _LISTS:
            if name in spec:
                spec[name] = [_filled(each, limit, title, notes) for each in spec[name]]
    if not notes:
        return pod
    metadata, status = pod["metadata"], pod.get("status", {})
    note = {_NOTE: f"LimitRanger plugin set: {'; '.join(notes)}"}
    annotations = metadata.get("annotations", {}) | note
    return pod | {
        "metadata": metadata | {"annotations": annotations},
        "spec": spec,
        "status": status | {"qosClass": quality_of_service(spec)},
    }


def _filled(container: Wire, limit: Limit, title: str, notes: list[str]) -> Wire:
    resources = dict(container.get("resources", {}))
    for part, source, noun in (
        ("requests", "defaultRequest", "request"),
        ("limits", "default", "limit"),
    ):
        given = resources.get(part, {})
        missing = {k: v for k, v in limit.get(source, {}).items() if k not in given}
        if missing:
            resources[part] = given | missing
            names = ", ".join(sorted(missing))
            notes.append(f"{names} {noun} for {title} {container.get('name', '')}")
    return container | {"resources": resources}


def refused(limits: Iterable[Limit], kind: Kind, wire: Mapping[str, Any]) -> str:
    """Return why the limits allow no such Pod or claim; empty if they do."""
    check = _pod if kind is POD else _claim
    found = list(dict.fromkeys(why for limit in limits for why in check(limit, wire["spec"])))
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]" if found else ""


def _pod(limit: Limit, spec: Wire) -> Iterator[str]:
    if limit.get("type") == CONTAINER:
        for name, _ in _LISTS:
            for container in spec.get(name, ()):
                yield from _broken(limit, *_resources(container))
    elif limit.get("type") == POD_TYPE:
        yield from _broken(limit, pod_total(spec, "requests"), pod_total(spec, "limits"))


def _claim(limit: Limit, spec: Wire) -> Iterator[str]:
    """A claim has no limits: its requests are held to both ends."""
    if limit.get("type") != CLAIM:
        return
    requests, _ = _resources(spec)
    for name, least in _sorted(limit, "min"):
        yield from _below(limit, name, least, requests, {})
    for name, most in _sorted(limit, "max"):
        where = f"maximum {name} usage per {limit.get('type')} is {most}"
        if name not in requests:
            yield f"{where}.  No request is specified"
        elif requests[name] > most:
            yield f"{where}, but request is {requests[name]}"


def _resources(holder: Wire) -> tuple[Amounts, Amounts]:
    resources = holder.get("resources") or {}
    return parsed(resources.get("requests")), parsed(resources.get("limits"))


def _sorted(limit: Limit, name: str) -> list[tuple[str, Quantity]]:
    return sorted(parsed(limit.get(name)).items())


def _broken(limit: Limit, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, least in _sorted(limit, "min"):
        yield from _below(limit, name, least, requests, limits)
    for name, most in _sorted(limit, "max"):
        where = f"maximum {name} usage per {limit.get('type')} is {most}"
        if name not in limits:
            yield f"{where}.  No limit is specified"
        elif limits[name] > most:
            yield f"{where}, but limit is {limits[name]}"
        elif name in requests and requests[name] > most:
            yield f"{where}, but request is {requests[name]}"
    for name, ratio in _sorted(limit, "maxLimitRequestRatio"):
        yield from _stretched(limit, name, ratio, requests, limits)


def _below(
    limit: Limit, name: str, least: Quantity, requests: Amounts, limits: Amounts
) -> Iterator[str]:
    where = f"minimum {name} usage per {limit.get('type')} is {least}"
    if name not in requests:
        yield f"{where}.  No request is specified"
    elif requests[name] < least:
        yield f"{where}, but request is {requests[name]}"
    elif name in limits and limits[name] < least:
        yield f"{where}, but limit is {limits[name]}"


def _stretched(
    limit: Limit, name: str, ratio: Quantity, requests: Amounts, limits: Amounts
) -> Iterator[str]:
    where = f"{name} max limit to request ratio per {limit.get('type')} is {ratio}"
    request, most = requests.get(name), limits.get(name)
    if request is None or not request.nano:
        yield f"{where}, but no request is specified or request is 0"
    elif most is None or not most.nano:
        yield f"{where}, but no limit is specified or limit is 0"
    elif abs(most.nano) * 10**9 > abs(request.nano) * ratio.nano:
        yield f"{where}, but provided ratio is {abs(most.nano) / abs(request.nano):f}"
