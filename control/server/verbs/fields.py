"""Keep the managers of an object's fields through creates and updates. Pure.

Source: k8s.io/apiserver/pkg/endpoints/handlers and the GetResetFields of pkg/registry.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from control.api.apply import track
from control.api.apply.fieldset import FieldSet, FieldSetError, of_paths
from control.api.apply.managers import (
    APPLY,
    UPDATE,
    Managed,
    Manager,
    decode,
    encode,
    is_reset,
    manager,
    of_stored,
)
from control.api.apply.shape import MapShape, shape_of
from control.api.forms.convert import kept, shown
from control.api.kinds import DEPLOYMENT, FORMS, POD, Kind
from control.api.types.conform import zero_of
from control.api.types.table import message_name
from control.server.verbs.prepare import has_status
from control.server.wire.item import Item, Wire
from control.server.wire.request import ApiRequest

_SPEC: FieldSet = of_paths(("f:spec",))
_STATUS: FieldSet = of_paths(("f:status",))
_METADATA = ("f:metadata", "f:deletionTimestamp"), ("f:metadata", "f:ownerReferences")
# The fields that a write of the status does not set.
_NO_STATUS = {
    DEPLOYMENT.name: of_paths(("f:spec",), ("f:metadata", "f:labels")),
    POD.name: of_paths(("f:spec",), *_METADATA),
}
# The versions of a stored kind that has forms.
_VERSIONS = {
    stored: (stored, *(form for form in FORMS if form.stored is stored))
    for stored in {form.stored for form in FORMS}
}
_NO_CUSTOM_STATUS = of_paths(("f:metadata",), ("f:spec",))


def write_of(request: ApiRequest, now: str, *, applies: bool = False) -> track.Write:
    """Return who writes what; raises StatusError (422) for an invalid fieldManager."""
    kind, subresource = request.info.kind, request.info.subresource
    shape, empty = _type_of(kind)
    operation = APPLY if applies else UPDATE
    who = manager(request.manager, operation, kind.api_version, subresource)
    ignored = _ignored(kind, subresource)
    return track.Write(shape, kind.api_version, who, now, ignored, empty, _others(request))


def _others(request: ApiRequest) -> Mapping[str, track.Version]:
    """Return the other versions of a kind that is shown in several, by their apiVersion."""
    kind = request.info.kind
    every = _VERSIONS.get(kind.stored, ())
    return {each.api_version: _version(request, each) for each in every if each is not kind}


def _version(request: ApiRequest, other: Kind) -> track.Version:
    own, ignored = request.info.kind, _ignored(other, request.info.subresource)
    shape, _ = _type_of(other)
    return track.Version(shape, ignored, partial(_as, own, other), partial(_as, other, own))


def _as(kind: Kind, other: Kind, wire: Wire) -> Wire:
    """Return an object of one version in another."""
    return shown(other, kept(kind, wire))


def _type_of(kind: Kind) -> tuple[MapShape, Mapping[str, Any]]:
    """Return how the objects of a kind merge, and an object without any value."""
    if kind.custom is not None:
        return kind.custom.shape, {}
    message = message_name(kind.group, kind.name, kind.version)
    shape = shape_of(message)
    if not isinstance(shape, MapShape):
        raise TypeError(f"{message} is no structure")
    return shape, zero_of(message)


def shape_for(kind: Kind) -> MapShape:
    """Return how the objects of a kind merge."""
    return _type_of(kind)[0]


def _ignored(kind: Kind, subresource: str) -> FieldSet:
    if subresource == "status" and kind.custom is not None:
        return _NO_CUSTOM_STATUS
    if subresource in ("status", "approval"):
        return _NO_STATUS.get(kind.name, _SPEC)
    return _STATUS if has_status(kind) and not subresource else {}


def after_create(request: ApiRequest, new: Wire, given: Any, now: str) -> bytes:
    """Return the managers of a new object: its creator, unless the client gives a list."""
    write = write_of(request, now)
    held = _given(given)
    return encode(track.update(write, dict(write.empty), new, held) or track.create(write, new))


def after_update(request: ApiRequest, old: Item, new: Wire, now: str) -> bytes:
    """Return the managers of a changed object; the client may give another list of them."""
    given = None if request.info.subresource else new["metadata"].get("managedFields")
    if is_reset(given):
        return b""
    entries = orjson.loads(old.managed or b"[]")
    # Most clients send back what they have read.
    held = (_given(given) if given != entries else {}) or of_stored(entries)
    if not held:
        return b""
    write = write_of(request, now)
    return encode(track.update(write, dict(old.wire), new, held))


def _given(entries: Any) -> dict[Manager, Managed]:
    """Return the managers in a client's object; none if they are malformed."""
    if not entries:
        return {}
    try:
        return decode(entries)
    except FieldSetError:
        return {}
