"""Mark an object that cannot be removed at once as being deleted. Pure.

Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/ and
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from control.api.kinds import DEFINITION, NAMESPACE, POD, Kind
from control.api.times import rfc3339
from control.server.wire.item import Wire

# Keeps a definition until its objects are gone; see ``control/server/definitions.py``.
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
PENDING = {
    "type": "Terminating",
    "status": "True",
    "reason": "InstanceDeletionPending",
    "message": (
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    ),
}
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_DEFAULT_GRACE = 30
_FINALIZERS = {"Foreground": FOREGROUND, "Background": "", "Orphan": ORPHAN}
PROPAGATIONS = tuple(_FINALIZERS)


class DeletionOptions(Struct, frozen=True):
    """Parsed DeleteOptions; with ``grace`` None and ``propagation`` empty the object decides."""

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    version: str = ""
    dry_run: bool = False
    cascades: bool = False  # it says ``orphanDependents: false``


def mark(kind: Kind, wire: Mapping[str, Any], options: DeletionOptions, now: datetime) -> Wire:
    """Return the object with its finalizers, grace period and deletion timestamp set."""
    metadata = dict(wire["metadata"])
    metadata["finalizers"] = _finalizers(metadata.get("finalizers", []), options.propagation)
    if not metadata["finalizers"]:
        del metadata["finalizers"]
    grace = _grace(kind, wire, options)
    if kind is DEFINITION and "deletionTimestamp" not in metadata:
        metadata["finalizers"] = [*wire["metadata"].get("finalizers", []), CLEANUP]
    if _is_sooner(metadata, grace):
        end = now + timedelta(seconds=grace)
        metadata["deletionTimestamp"] = rfc3339(end.timestamp())
        metadata["deletionGracePeriodSeconds"] = grace
        if "generation" in metadata and "deletionTimestamp" not in wire["metadata"]:
            metadata["generation"] += 1
    made = dict(wire) | {"metadata": metadata}
    if kind is DEFINITION and "deletionTimestamp" not in wire["metadata"]:
        made["status"] = with_condition(wire["status"], PENDING, rfc3339(now.timestamp()))
    if kind is NAMESPACE:
        made["status"] = wire.get("status", {}) | {"phase": "Terminating"}
    return made


def _finalizers(present: list[str], propagation: str) -> list[str]:
    """Return the finalizers; the new propagation policy replaces an earlier one."""
    if not propagation:
        return present
    kept = [name for name in present if name not in (FOREGROUND, ORPHAN)]
    return kept + [name for name in [_FINALIZERS[propagation]] if name]


def _grace(kind: Kind, wire: Mapping[str, Any], options: DeletionOptions) -> int:
    """Return the grace period in seconds: 0 except for a Pod that runs on a node."""
    if kind is not POD or not (spec := wire.get("spec", {})).get("nodeName"):
        return 0
    if wire.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    default = spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE)
    grace = default if options.grace is None else options.grace
    return grace if grace >= 0 else 1


def _is_sooner(metadata: Mapping[str, Any], grace: int) -> bool:
    """Return True for a first deletion and for a shorter grace period: it only shrinks."""
    return "deletionTimestamp" not in metadata or grace < metadata.get(
        "deletionGracePeriodSeconds", 0
    )


def finished(wire: Mapping[str, Any]) -> bool:
    """Return True if an object is being deleted and nothing delays its removal any more."""
    metadata = wire["metadata"]
    return (
        "deletionTimestamp" in metadata
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        # Only a namespace has these. In other kinds ``spec`` may be unknown, and so be anything.
        and not (_is_namespace(wire) and wire.get("spec", {}).get("finalizers"))
    )


def _is_namespace(wire: Mapping[str, Any]) -> bool:
    return (wire.get("apiVersion"), wire.get("kind")) == (NAMESPACE.api_version, NAMESPACE.name)


def with_condition(status: Mapping[str, Any], condition: Wire, now: str) -> Wire:
    """Return a definition's status with a condition; its time is that of its last change."""
    old = list(status.get("conditions") or ())
    made = condition | {"lastTransitionTime": now}
    for at, each in enumerate(old):
        if each["type"] == condition["type"]:
            same = each["status"] == condition["status"] and "lastTransitionTime" in each
            old[at] = (
                each | made | ({"lastTransitionTime": each["lastTransitionTime"]} if same else {})
            )
            break
    else:
        old.append(made)
    return dict(status) | {"conditions": old}
