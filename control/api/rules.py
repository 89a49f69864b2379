"""What each kind asks of its objects: defaults, validation, and whether changes are counted.

A kind without a row has no rules but those of metadata. Everything here is pure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from control.api.field import FieldError
from control.api.kinds import Kind

Wire = dict[str, Any]


def _as_it_is(wire: Wire) -> Wire:
    return wire


def _nothing(*_: Any) -> list[FieldError]:
    return []


@dataclass(frozen=True, slots=True)
class Rules:
    """The behaviour of one kind."""

    default: Callable[[Wire], Wire] = _as_it_is
    validate: Callable[[Any], list[FieldError]] = _nothing
    validate_update: Callable[[Any, Any], list[FieldError]] = _nothing  # new, old
    begin: Callable[[Wire], Wire] = _as_it_is  # what a new object starts with, whatever was sent
    generation: bool = False


def _begin_namespace(wire: Wire) -> Wire:
    """A namespace goes only after its controller has emptied it."""
    finalizers = wire.get("spec", {}).get("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers = [*finalizers, "kubernetes"]
    metadata = wire["metadata"]
    # Selectable by name: https://kubernetes.io/docs/reference/labels-annotations-taints/
    labels = metadata.get("labels", {}) | {"kubernetes.io/metadata.name": metadata["name"]}
    return wire | {
        "metadata": metadata | {"labels": labels},
        "spec": wire.get("spec", {}) | {"finalizers": finalizers},
        "status": {"phase": "Active"},
    }


def _begin_pod(wire: Wire) -> Wire:
    return wire | {"status": {"phase": "Pending"}}


_RULES = {
    "Namespace": Rules(begin=_begin_namespace),
    "Pod": Rules(begin=_begin_pod, generation=True),
    "Deployment": Rules(generation=True),
    "ReplicaSet": Rules(generation=True),
    "DaemonSet": Rules(generation=True),
}
_NONE = Rules()


def rules_of(kind: Kind) -> Rules:
    """The rules of a kind."""
    return _RULES.get(kind.name, _NONE)
