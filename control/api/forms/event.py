"""``events.k8s.io/v1``: the Events of ``v1`` with other names of their fields.

Source: k8s.io/kubernetes/pkg/apis/events/v1/conversion.go
"""

from collections.abc import Mapping
from typing import Any

_KEPT_AS = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_SHOWN_AS = {kept: shown for shown, kept in _KEPT_AS.items()}


def show(wire: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored Event as ``events.k8s.io/v1`` names its fields."""
    return {_SHOWN_AS.get(name, name): each for name, each in wire.items()} | {
        "apiVersion": "events.k8s.io/v1"
    }


def keep(wire: Mapping[str, Any]) -> dict[str, Any]:
    """Return an Event of ``events.k8s.io/v1`` as ``v1`` names its fields."""
    return {_KEPT_AS.get(name, name): each for name, each in wire.items()} | {"apiVersion": "v1"}
