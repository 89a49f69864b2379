"""Join a new Pod's own labels to the selectors of its rules about other Pods. Pure.

``matchLabelKeys: [pod-template-hash]`` means: only Pods whose label is the same as mine. Upstream's
server writes that into the selector when the Pod is created (pkg/registry/core/pod/strategy.go).
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from control.api.defaults.edit import Wire, within, within_each

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def with_own_labels(pod: Wire) -> Wire:
    """Return a Pod whose affinity and spread constraints select by its own labels."""
    labels = pod.get("metadata", {}).get("labels") or {}
    term = partial(_joined, labels=labels)

    def affinity(wire: Wire) -> Wire:
        wire = within_each(wire, _REQUIRED, term)
        return within_each(wire, _PREFERRED, lambda it: within(it, "podAffinityTerm", term))

    def both(wire: Wire) -> Wire:
        return within(within(wire, "podAffinity", affinity), "podAntiAffinity", affinity)

    spec = within(pod.get("spec", {}), "affinity", both)
    return pod | {"spec": within_each(spec, "topologySpreadConstraints", term)}


def _joined(rule: Wire, *, labels: Wire) -> Wire:
    """Return a rule with its label keys in its selector; without a selector it selects no Pod."""
    selector = rule.get("labelSelector")
    own = [
        *_expressions("In", rule.get("matchLabelKeys"), labels),
        *_expressions("NotIn", rule.get("mismatchLabelKeys"), labels),
    ]
    if not isinstance(selector, dict) or not own:
        return rule
    given = selector.get("matchExpressions") or []
    return rule | {"labelSelector": selector | {"matchExpressions": [*given, *own]}}


def _expressions(operator: str, keys: Iterable[str] | None, labels: Wire) -> list[Any]:
    found = [key for key in keys or () if key in labels]
    return [{"key": key, "operator": operator, "values": [labels[key]]} for key in found]
