"""Set the fields that only the server writes, whatever the client sent. Pure.

Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#metadata
"""

import secrets
import uuid
from collections.abc import Mapping
from typing import Any

from control.api.defaults.workload import TEMPLATE_GENERATION
from control.api.kinds import DAEMON_SET, ENDPOINT_SLICE, PERSISTENT_VOLUME, SIGNING_REQUEST, Kind
from control.api.rules import rules_of
from control.api.types.conform import zero_of
from control.api.types.table import message_name
from control.server.wire.info import RequestInfo
from control.server.wire.item import Wire
from control.server.wire.request import User, whole_number

# Upstream's alphabet for generated names: no vowels, no letters that look alike.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX = 5
_GENERATED_MAX = 63 - _SUFFIX

_REQUESTER = ("username", "uid", "groups", "extra")
# Only the server writes these.
_SYSTEM = (
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
    "namespace",
    "managedFields",
)
# Of these, what no webhook changes in a new object.
_BORN = tuple(name for name in _SYSTEM if name not in ("generateName", "managedFields"))


def generated_name(base: str) -> str:
    """Return ``base`` with a random suffix."""
    return base[:_GENERATED_MAX] + "".join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX))


def for_create(kind: Kind, wire: Wire, info: RequestInfo, now: str) -> Wire:
    """Return a new object with the server's metadata, and for most kinds without status."""
    metadata = _given_metadata(wire)
    if base := wire["metadata"].get("generateName"):
        metadata["generateName"] = base
    metadata |= {"name": info.name, "uid": str(uuid.uuid4()), "creationTimestamp": now}
    if kind.namespaced:
        metadata["namespace"] = info.namespace
    if rules_of(kind).generation and rules_of(kind).born_numbered:
        metadata["generation"] = 1
    made = wire | {"metadata": metadata}
    return begun(kind, made)


def with_system(metadata: Wire, own: Mapping[str, Any]) -> Wire:
    """Return a new object's metadata, of which nobody but the server has written its part."""
    kept = {name: value for name, value in metadata.items() if name not in _BORN}
    return kept | {name: own[name] for name in _BORN if name in own}


def begun(kind: Kind, made: Wire) -> Wire:
    """Return a new object without the status that only its subresource sets."""
    if has_status(kind) and not rules_of(kind).born_with_status:
        _set_status(kind, made, None)
    return made


def _set_status(kind: Kind, made: Wire, status: Any) -> None:
    """Set the status of an object, or what it has without one: nothing in custom objects."""
    if status is None and kind.custom is not None:
        made.pop("status", None)
    else:
        made["status"] = status or _no_status(kind)


def _no_status(kind: Kind) -> Wire:
    """Return the status of an object that has none yet: the zeros that upstream writes."""
    status: Wire = zero_of(message_name(kind.group, kind.name, kind.version))["status"]
    return status


def has_status(kind: Kind) -> bool:
    """Return True if the status is only written through its subresource."""
    return "status" in kind.subresources


def for_create_by(kind: Kind, wire: Wire, user: User) -> Wire:
    """Return a new object that says who made it, if its kind says so: who asks for a certificate.

    A signer believes it (pkg/registry/certificates/certificates/strategy.go).
    """
    if not is_signing_request(kind):
        return wire
    given = {name: value for name, value in wire["spec"].items() if name not in _REQUESTER}
    return wire | {"spec": given | user.wire()}


def for_update(kind: Kind, old: Mapping[str, Any], new: Wire) -> Wire:
    """Return the next version: the client's object with the server's own fields kept."""
    made = new | {"metadata": _kept_metadata(old, new)}
    if has_status(kind):
        _set_status(kind, made, old.get("status"))
    if is_signing_request(kind):
        made["spec"] = old["spec"]
    if rules_of(kind).generation and _content(kind, made) != _content(kind, old):
        made["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    if kind is DAEMON_SET:
        _count_template(made, old)
    return made


def _count_template(made: Wire, old: Mapping[str, Any]) -> None:
    """Keep the generation of a DaemonSet's template, or count it up with a new one."""
    given = (old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "1")
    count = max(whole_number(given) or 1, 1)
    count += made["spec"].get("template") != old["spec"].get("template")
    annotations = made["metadata"].get("annotations", {}) | {TEMPLATE_GENERATION: str(count)}
    made["metadata"]["annotations"] = annotations


def for_status_update(kind: Kind, old: Mapping[str, Any], new: Wire) -> Wire:
    """Return the next version for a status update: only status and metadata may change.

    Of a custom object, the status alone changes.
    """
    if kind.custom is not None:
        made = {name: value for name, value in old.items() if name != "status"}
        return made | ({"status": new["status"]} if "status" in new else {})
    metadata = _kept_metadata(old, new)
    metadata.pop("ownerReferences", None)
    if "ownerReferences" in old["metadata"]:
        metadata["ownerReferences"] = old["metadata"]["ownerReferences"]
    return dict(old) | {"metadata": metadata, "status": new["status"]}


def with_phase_since(kind: Kind, old: Mapping[str, Any] | None, made: Wire, now: str) -> Wire:
    """Return a PersistentVolume that says since when it is in its phase (KEP-3762)."""
    if kind is not PERSISTENT_VOLUME:
        return made
    before = (old or {}).get("status") or {}
    status, name = made["status"], "lastPhaseTransitionTime"
    if name in status and status[name] != before.get(name):
        return made  # its writer says when
    if old is None or status.get("phase") != before.get("phase"):
        return made | {"status": status | {name: now}}
    return made | {"status": status | ({name: before[name]} if name in before else {})}


def is_signing_request(kind: Kind) -> bool:
    """Return True for the kind whose status has a verdict, given through ``approval``."""
    return kind is SIGNING_REQUEST


def for_approval(old: Mapping[str, Any], new: Wire) -> Wire:
    """Return the next version for an approval: only conditions and metadata may change."""
    before, conditions = old.get("status") or {}, (new.get("status") or {}).get("conditions")
    status = {name: value for name, value in before.items() if name != "conditions"}
    if conditions:
        status["conditions"] = conditions
    return dict(old) | {"metadata": _kept_metadata(old, new), "status": status}


def stamped(old: Mapping[str, Any], new: Wire, now: str) -> Wire:
    """Return a signing request whose conditions say when they were set, and when they changed."""
    status = new.get("status") or {}
    given = (old.get("status") or {}).get("conditions") or ()
    since = {(it.get("type"), it.get("status")): it.get("lastTransitionTime") for it in given}
    conditions = [
        item
        | {
            "lastUpdateTime": item.get("lastUpdateTime") or now,
            "lastTransitionTime": item.get("lastTransitionTime")
            or since.get((item.get("type"), item.get("status")))
            or now,
        }
        for item in status.get("conditions") or ()
    ]
    return new | {"status": status | {"conditions": conditions}} if conditions else new


def _kept_metadata(old: Mapping[str, Any], new: Wire) -> Wire:
    before = old["metadata"]
    kept = {key: before[key] for key in _SYSTEM if key in before}
    return _given_metadata(new) | kept


def _given_metadata(wire: Wire) -> Wire:
    """Return the metadata that a client may write."""
    return {key: value for key, value in wire["metadata"].items() if key not in _SYSTEM}


def _content(kind: Kind, wire: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part whose changes the generation counts: all but metadata and status.

    The status of a custom object counts if its kind has no such subresource.
    """
    apart = ("metadata", "status") if kind.custom is None or has_status(kind) else ("metadata",)
    content = {key: wire[key] for key in wire if key not in apart}
    if kind is ENDPOINT_SLICE:
        content["labels"] = wire["metadata"].get("labels") or {}
    return content


def same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return True if a write would only change the resourceVersion."""
    return _without_version(old) == _without_version(new)


def _without_version(wire: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in wire["metadata"].items() if k != "resourceVersion"}
    return dict(wire) | {"metadata": metadata}
