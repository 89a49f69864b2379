"""Admit volumes and claims: their finalizers, the default class, and the growth of claims.

Source: plugin/pkg/admission/storage of k8s.io/kubernetes (setdefault, storageobjectinuseprotection,
persistentvolume/resize).
"""

from collections.abc import Mapping
from typing import Any

from control.api.kinds import STORAGE_CLASS, VOLUME_CLAIM
from control.api.persistent import (
    CLAIM_PROTECTION,
    DEFAULT_CLASSES,
    OLD_CLASS,
    VOLUME_PROTECTION,
    PersistentVolumeClaim,
)
from control.server.state.server import ServerState
from control.server.wire import errors
from control.server.wire.info import storage_key
from control.server.wire.item import Wire
from control.server.wire.request import ApiRequest


def admit_volume(wire: Wire) -> Wire:
    """Return a new volume that stays while a claim is bound to it."""
    return _protected(wire, VOLUME_PROTECTION)


def admit_claim(state: ServerState, wire: Wire) -> Wire:
    """Return a new claim that stays while Pods use it, with the default class if it names none."""
    spec, annotations = wire["spec"], wire["metadata"].get("annotations") or {}
    silent = "storageClassName" not in spec and OLD_CLASS not in annotations
    if silent and (name := default_class(state)):
        wire = wire | {"spec": spec | {"storageClassName": name}}
    return _protected(wire, CLAIM_PROTECTION)


def _protected(wire: Wire, finalizer: str) -> Wire:
    metadata = wire["metadata"]
    held = metadata.get("finalizers") or []
    if finalizer in held:
        return wire
    return wire | {"metadata": metadata | {"finalizers": [*held, finalizer]}}


def default_class(state: ServerState) -> str:
    """Return the name of the newest default class; empty if there is none."""
    found = []
    for item in state.cache.of(STORAGE_CLASS).items():
        metadata = item.wire["metadata"]
        given = metadata.get("annotations") or {}
        if any(given.get(mark) == "true" for mark in DEFAULT_CLASSES):
            found.append((metadata["creationTimestamp"], metadata["name"]))
    newest = max((at for at, _ in found), default="")
    return min((name for at, name in found if at == newest), default="")


def check_growth(
    state: ServerState, request: ApiRequest, wire: Wire, before: Mapping[str, Any]
) -> None:
    """Refuse that a claim grows if its class does not allow it; raises StatusError (403)."""
    new, old = (_claim(each) for each in (wire, before))
    if new.size <= old.size:
        return
    why = ""
    if old.status.phase != "Bound":
        why = "Only bound persistent volume claims can be expanded"
    elif not _allows_growth(state, new.storage_class):
        why = (
            "only dynamically provisioned pvc can be resized and the storageclass that provisions"
            " the pvc must support resize"
        )
    if why:
        raise errors.forbidden(VOLUME_CLAIM, request.info.name, why)


def _claim(wire: Mapping[str, Any]) -> PersistentVolumeClaim:
    return PersistentVolumeClaim.parse(dict(wire))


def _allows_growth(state: ServerState, name: str) -> bool:
    item = state.cache.of(STORAGE_CLASS).get(storage_key(STORAGE_CLASS, "", name)) if name else None
    return item is not None and bool(item.wire.get("allowVolumeExpansion"))
