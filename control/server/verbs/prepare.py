"""What the server itself fills in or keeps, whatever the client sent. Pure.

Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#metadata
"""

import secrets
import uuid
from collections.abc import Mapping
from typing import Any

from control.api.kinds import Kind
from control.api.rules import rules_of
from control.server.wire.info import RequestInfo
from control.server.wire.item import Wire

# Upstream's alphabet for generated names: no vowels, nothing that looks like another.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX = 5
_GENERATED_MAX = 63 - _SUFFIX

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
)


def generated_name(base: str) -> str:
    """A name that starts with ``base`` and is hardly taken."""
    return base[:_GENERATED_MAX] + "".join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX))


def for_create(kind: Kind, wire: Wire, info: RequestInfo, now: str) -> Wire:
    """A new object: its identity from the server, its status (mostly) empty."""
    metadata = _given_metadata(wire)
    if base := wire["metadata"].get("generateName"):
        metadata["generateName"] = base
    metadata |= {"name": info.name, "uid": str(uuid.uuid4()), "creationTimestamp": now}
    if kind.namespaced:
        metadata["namespace"] = info.namespace
    rules = rules_of(kind)
    if rules.generation:
        metadata["generation"] = 1
    made = wire | {"metadata": metadata}
    if has_status(kind) and not rules.born_with_status:
        made.pop("status", None)
    return made


def has_status(kind: Kind) -> bool:
    """Whether the status is written through its own subresource only."""
    return "status" in kind.subresources


def for_update(kind: Kind, old: Mapping[str, Any], new: Wire) -> Wire:
    """The next version of an object: the client's but for what it may not write."""
    made = new | {"metadata": _kept_metadata(old, new)}
    if has_status(kind):
        made.pop("status", None)
        if "status" in old:
            made["status"] = old["status"]
    if rules_of(kind).generation and _content(made) != _content(old):
        made["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    return made


def for_status_update(old: Mapping[str, Any], new: Wire) -> Wire:
    """The next version of an object of which only the status (and labels and such) may change."""
    metadata = _kept_metadata(old, new)
    metadata.pop("ownerReferences", None)
    if "ownerReferences" in old["metadata"]:
        metadata["ownerReferences"] = old["metadata"]["ownerReferences"]
    made = dict(old) | {"metadata": metadata}
    made.pop("status", None)
    return made | ({"status": new["status"]} if "status" in new else {})


def _kept_metadata(old: Mapping[str, Any], new: Wire) -> Wire:
    before = old["metadata"]
    kept = {key: before[key] for key in _SYSTEM if key in before}
    return _given_metadata(new) | kept


def _given_metadata(wire: Wire) -> Wire:
    """What a client may write. Empty labels and the like are absent, as Go's omitempty has it."""
    given = {key: value for key, value in wire["metadata"].items() if key not in _SYSTEM}
    return {key: value for key, value in given.items() if value not in ({}, [])}


def _content(wire: Mapping[str, Any]) -> dict[str, Any]:
    """What the generation counts changes of: everything but metadata and status."""
    return {key: wire[key] for key in wire if key not in ("metadata", "status")}


def same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a write would change nothing but the resourceVersion."""
    return _without_version(old) == _without_version(new)


def _without_version(wire: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in wire["metadata"].items() if k != "resourceVersion"}
    return dict(wire) | {"metadata": metadata}
