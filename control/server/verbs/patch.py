"""Patch objects of any kind: JSON patch, merge patch and strategic merge patch (PATCH)."""

from collections.abc import Callable
from typing import Any

from control.api.base import drop_nulls
from control.api.definitions.table import type_name
from control.api.kinds import Kind
from control.server.state.server import ServerState
from control.server.verbs.apply import apply, check_options
from control.server.verbs.modify import Edited, Written, modify
from control.server.verbs.patches import json_patch, merge, strategic
from control.server.verbs.patches.errors import (
    MalformedPatchError,
    PatchConflictError,
    PatchTooLargeError,
)
from control.server.verbs.patches.refused import refusing
from control.server.wire import errors, media
from control.server.wire.body import Body, check_size
from control.server.wire.decode import read
from control.server.wire.item import Item, Wire
from control.server.wire.malformed import no_object
from control.server.wire.request import ApiRequest
from control.server.wire.strict import (
    duplicate_complaints,
    unknown_complaints,
    unknown_fields,
    verdict,
)

_Method = Callable[[Wire, Any, str], Any]
METHODS: dict[str, _Method] = {
    media.JSON_PATCH: lambda old, given, _: json_patch.apply(old, given),
    media.MERGE_PATCH: lambda old, given, _: merge.apply(old, given),
    media.STRATEGIC_PATCH: strategic.apply,
}


_OBJECT = "map[string]interface {}"
# What each patch has to be, in Python and in Go, and what upstream says before a refusal.
_SHAPES: dict[str, tuple[type, str, str]] = {
    media.JSON_PATCH: (list, "[]handlers.jsonPatchOp", "error decoding patch: "),
    media.MERGE_PATCH: (dict, _OBJECT, "error decoding patch: "),
    media.STRATEGIC_PATCH: (dict, _OBJECT, ""),
}


async def patch(state: ServerState, request: ApiRequest) -> Written:
    """Apply a request's patch to its object; raises StatusError (400, 404, 409, 413, 415, 422)."""
    check_options(request)
    if request.body.media_type == media.APPLY_PATCH:
        return await apply(state, request)
    check_method(request.body, request.info.kind)
    return await modify(state, request, _edit)


def _edit(_: ServerState, request: ApiRequest, old: Item) -> Edited:
    apply_patch = read_patch(request)
    duplicates = duplicate_complaints(request.field_validation, request.body)
    kind = request.info.kind
    # Only a patch of the managers needs to see them.
    before = old.whole() if b"managedFields" in request.body.text else old.fresh()
    made = apply_patch(before, type_name(kind.group, kind.version, kind.name))
    if request.body.media_type == media.STRATEGIC_PATCH:
        made |= {"apiVersion": kind.api_version, "kind": kind.name}  # upstream merges typed objects
    metadata = made.get("metadata") or {}
    if isinstance(metadata, dict) and not metadata.get("name"):
        raise errors.undeterminable_name(request.info.name)
    with refusing(request.body.media_type, request.body.value, made):
        return _edited(request, old, made, duplicates)


def _edited(request: ApiRequest, old: Item, made: Wire, duplicates: list[str]) -> Edited:
    kind = request.info.kind
    wire, unknown = read(kind, made)
    if wire["metadata"].get("resourceVersion") == str(old.revision):
        # It came from the object itself: the patch requires no version.
        del wire["metadata"]["resourceVersion"]
    if kind.custom is not None:
        complaints = duplicates + ([] if _ignores(request) else unknown_fields(unknown))
        return Edited(wire, verdict(kind, request.field_validation, complaints))
    return Edited(wire, _warnings(request, old, wire if unknown else {}, duplicates))


def _ignores(request: ApiRequest) -> bool:
    return request.field_validation == "Ignore"


Patch = Callable[[Wire, str], Wire]


def read_patch(request: ApiRequest) -> Patch:
    """Return a function that applies the patch; raises StatusError (400, 413, 415, 422).

    It takes an object and the short name of its type, which is empty if lists are replaced.
    """
    method, given = check_method(request.body, request.info.kind), _shaped(request.body)

    def apply(before: Wire, name: str) -> Wire:
        try:
            made = method(before, given, name)
        except MalformedPatchError as err:
            raise errors.bad_request(str(err)) from err
        except PatchConflictError as err:
            raise errors.unprocessable(str(err)) from err
        except PatchTooLargeError as err:
            raise errors.too_large(str(err)) from err
        if not isinstance(made, dict):
            raise errors.bad_request("the patched value is not an object")
        check_size(made)
        return dict(drop_nulls(made))

    return apply


def _shaped(body: Body) -> Any:
    """Return a patch, a list or an object; raises StatusError (400). Null changes nothing."""
    sort, wanted, before = _SHAPES[body.media_type]
    if body.value is None:
        if body.media_type == media.MERGE_PATCH:
            raise errors.bad_request("Invalid JSON Patch")
        return sort()
    if not isinstance(body.value, sort):
        raise errors.bad_request(before + no_object(body.value, wanted))
    return body.value


def check_method(body: Body, kind: Kind) -> _Method:
    """Return the function for a body's kind of patch; raises StatusError (400, 415)."""
    if body.media_type in (known := methods_of(kind)):
        return METHODS[body.media_type]
    raise errors.unsupported_media_type([*known, media.APPLY_PATCH])


def methods_of(kind: Kind) -> tuple[str, ...]:
    """Return the media types of a kind's patches, besides apply: custom ones have no strategies."""
    known = (media.JSON_PATCH, media.MERGE_PATCH)
    return known if kind.custom is not None else (*known, media.STRATEGIC_PATCH)


def _warnings(request: ApiRequest, old: Item, wire: Wire, duplicates: list[str]) -> tuple[str, ...]:
    """Return warnings about the unknown fields that the patch itself adds."""
    kind, mode = request.info.kind, request.field_validation
    found = unknown_complaints(kind, mode, wire)
    known = set(unknown_complaints(kind, mode, dict(old.wire))) if found else set()
    return verdict(kind, mode, duplicates + [text for text in found if text not in known])
