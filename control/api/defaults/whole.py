"""Defaults of what a Pod requests as a whole (KEP-2837). Pure.

Source: defaultPodRequests and defaultHugePagePodLimits of k8s.io/kubernetes/pkg/apis/core/v1
"""

from collections.abc import Callable

from control.api.amounts import Amounts, own, pod_total, shown
from control.api.defaults.edit import Wire

_HUGE = "hugepages-"
_OVERCOMMITTED = ("cpu", "memory")


def with_whole_amounts(spec: Wire) -> Wire:
    """Return a Pod's spec whose resources as a whole, if it has some, say all that follows.

    A request is what the containers request together, or else the limit. Huge pages that
    containers have count as a limit.
    """
    given = spec.get("resources")
    if not given or not (given.get("limits") or given.get("requests")):
        return spec
    containers = {name: value for name, value in spec.items() if name != "resources"}
    requests, limits = own(spec, "requests"), own(spec, "limits")
    limits |= _missing(pod_total(containers, "limits"), _huge, {**requests, **limits})
    if limits:
        requests |= _missing(pod_total(containers, "requests"), _overcommitted, requests)
        requests |= _missing(limits, lambda name: _huge(name) or _overcommitted(name), requests)
    parts = {"limits": shown(limits), "requests": shown(requests)}
    kept = {name: value for name, value in given.items() if name not in parts}
    return spec | {"resources": kept | {name: part for name, part in parts.items() if part}}


def _missing(found: Amounts, fits: Callable[[str], bool], known: Amounts) -> Amounts:
    return {name: it for name, it in found.items() if name not in known and fits(name)}


def _huge(name: str) -> bool:
    return name.startswith(_HUGE)


def _overcommitted(name: str) -> bool:
    return name in _OVERCOMMITTED
