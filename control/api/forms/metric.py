"""The metrics of an autoscaler in ``autoscaling/v1``, which are in annotations, and in v2.

A table says where each field of v1 is in v2; the order is that of upstream's structures.
"""

from collections.abc import Mapping
from typing import Any

from control.api.types.conform import conform_message

Wire = dict[str, Any]
_Places = Mapping[str, tuple[str, ...]]  # by the name in v1, the path in v2

_NAME, _OF_METRIC, _SELECTOR = ("name",), ("metric", "name"), ("metric", "selector")
_ABOUT, _IN = ("describedObject",), ("container",)
_WANTED = tuple(("target", name) for name in ("value", "averageValue", "averageUtilization"))
_CURRENT = tuple(("current", name) for name in ("value", "averageValue", "averageUtilization"))


def _of_resource(word: str, of: tuple[tuple[str, ...], ...]) -> _Places:
    used, value = f"{word}AverageUtilization", f"{word}AverageValue"
    return {"name": _NAME, used: of[2], value: of[1]}


def _places(word: str, of: tuple[tuple[str, ...], ...]) -> Mapping[str, _Places]:
    """Return the places of each sort of metric; ``word`` is ``target`` or ``current``."""
    return {
        "object": {
            "target": _ABOUT,
            "metricName": _OF_METRIC,
            f"{word}Value": of[0],
            "selector": _SELECTOR,
            "averageValue": of[1],
        },
        "pods": {"metricName": _OF_METRIC, f"{word}AverageValue": of[1], "selector": _SELECTOR},
        "resource": _of_resource(word, of),
        "containerResource": {**_of_resource(word, of), "container": _IN},
        "external": {
            "metricName": _OF_METRIC,
            "metricSelector": _SELECTOR,
            f"{word}Value": of[0],
            f"{word}AverageValue": of[1],
        },
    }


_SPEC, _STATUS = _places("target", _WANTED), _places("current", _CURRENT)


def show_metric(metric: Mapping[str, Any]) -> Wire:
    """Return a metric of a v2 spec in v1."""
    return conform_message("autoscaling.MetricSpec", _shown(metric, _SPEC))[0]


def show_status(metric: Mapping[str, Any]) -> Wire:
    """Return a metric of a v2 status in v1."""
    return conform_message("autoscaling.MetricStatus", _shown(metric, _STATUS))[0]


def keep_metric(metric: Mapping[str, Any]) -> Wire:
    """Return a metric of a v1 annotation as in a v2 spec."""
    made = _kept(metric, _SPEC)
    for sort, source in made.items():
        if sort in _SPEC:
            source["target"] = _target(sort, source.get("target") or {})
    return made


def keep_status(metric: Mapping[str, Any]) -> Wire:
    """Return a metric of a v1 annotation as in a v2 status."""
    return _kept(metric, _STATUS)


def _target(sort: str, target: Wire) -> Wire:
    """Return a target with its type, which v1 does not name."""
    made = dict(target)
    if sort == "object" and "averageValue" in made and made.get("value") == "0":
        del made["value"]  # v1 cannot leave it out
    if "averageUtilization" in made:
        return {"type": "Utilization"} | made
    by_value = "averageValue" not in made if sort == "object" else "value" in made
    return {"type": "Value" if by_value else "AverageValue"} | made


def _shown(metric: Mapping[str, Any], places: Mapping[str, _Places]) -> Wire:
    made: Wire = {"type": metric.get("type", "")}
    for sort, fields in places.items():
        if (source := metric.get(sort)) is not None:
            values = {name: _at(source, path) for name, path in fields.items()}
            made[sort] = {name: each for name, each in values.items() if each is not None}
    return made


def _at(value: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for name in path[:-1]:
        value = value.get(name) or {}
    return value.get(path[-1])


def _kept(metric: Mapping[str, Any], places: Mapping[str, _Places]) -> Wire:
    made: Wire = {"type": metric.get("type", "")}
    for sort, fields in places.items():
        if (source := metric.get(sort)) is not None:
            made[sort] = _rebuilt(source, fields)
    return made


def _rebuilt(source: Mapping[str, Any], fields: _Places) -> Wire:
    made: Wire = {}
    for name, path in fields.items():
        if (value := source.get(name)) is not None:
            below = made.setdefault(path[0], {}) if len(path) > 1 else made
            below[path[-1]] = value
    return made
