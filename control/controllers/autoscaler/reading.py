"""What adapters say of metrics of Pods, of an object, or from outside. Pure.

Source: k8s.io/metrics/pkg/client and k8s.io/kubernetes/pkg/controller/podautoscaler/metrics
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from control.api.quantity import QuantityError, parse
from control.api.times import seconds_of
from control.controllers.autoscaler.replicas import MetricError, Metrics, PodMetric

CUSTOM, EXTERNAL = "custom.metrics.k8s.io", "external.metrics.k8s.io"
VERSIONS = ("v1beta2", "v1beta1")  # of the first, the preferred one first
_WINDOW = 60.0  # seconds, where a value has none
_LARGEST = 2**63 - 1
NO_CUSTOM = f"no custom metrics API ({CUSTOM}) registered"
Wire = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """The values of one metric in thousandths: by Pods, or of what it is about.

    ``error`` says why there are none, in upstream's words.
    """

    pods: Metrics = field(default_factory=dict)
    total: int = 0
    error: str = ""


def version_of(group: Wire) -> str:
    """Return the version of the custom metrics API to ask; raises MetricError."""
    served = [group.get("preferredVersion"), *(group.get("versions") or ())]
    names = [each.get("version") for each in served if isinstance(each, dict)]
    for name in names:
        if name in VERSIONS:
            return str(name)
    raise MetricError("no known available metric versions found")


def of_pods(wire: Wire) -> Reading:
    """Return what Pods' values are; raises MetricError."""
    found: Metrics = {}
    for item in _items(wire):
        about = item.get("describedObject")
        name = about.get("name") if isinstance(about, dict) else None
        # v1beta1 has another name for the window.
        window = item.get("windowSeconds", item.get("window"))
        span = float(window) if isinstance(window, int) else _WINDOW
        found[str(name or "")] = PodMetric(_value(item), _time(item), span)
    if not found:
        raise MetricError("no metrics returned from custom metrics API")
    return Reading(found)


def of_object(wire: Wire) -> Reading:
    """Return the value of an object; raises MetricError."""
    values = [_value(item) for item in _items(wire)]
    if len(values) != 1:
        raise MetricError(
            f"unable to fetch metrics from custom metrics API: the custom metrics API server"
            f" returned {len(values)} results when we asked for exactly one"
        )
    return Reading(total=values[0])


def of_external(wire: Wire) -> Reading:
    """Return the sum of all values from outside; raises MetricError."""
    values = [_value(item) for item in _items(wire)]
    if not values:
        raise MetricError("no metrics returned from external metrics API")
    return Reading(total=min(sum(values), _LARGEST))


def _items(wire: Wire) -> Iterator[Wire]:
    items = wire.get("items")
    return (
        (each for each in items if isinstance(each, dict)) if isinstance(items, list) else iter(())
    )


def _value(item: Wire) -> int:
    given = item.get("value")
    if not isinstance(given, str | int | float) or isinstance(given, bool):
        raise MetricError("a value of the metrics API is no quantity")
    try:
        return parse(given).milli()
    except QuantityError as err:
        raise MetricError(f"a value of the metrics API is no quantity: {err}") from err


def _time(item: Wire) -> float:
    given = item.get("timestamp")
    return (seconds_of(given) if isinstance(given, str) else None) or 0.0


def selector_text(selector: Wire | None) -> str:
    """Return a LabelSelector as Go prints it."""
    if selector is None:
        return "nil"
    labels = sorted((selector.get("matchLabels") or {}).items())
    pairs = "".join(f"{name}: {value}," for name, value in labels)
    rows = "".join(map(_requirement, selector.get("matchExpressions") or ()))
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{pairs}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{rows}}},}}"
    )


def _requirement(each: Wire) -> str:
    values = " ".join(each.get("values") or ())
    key, operator = each.get("key", ""), each.get("operator", "")
    return f"LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},"
