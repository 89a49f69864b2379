"""PATCH: JSON patch, merge patch and strategic merge patch, on any kind."""

from collections.abc import Callable
from typing import Any

from control.api.base import Model, drop_nulls
from control.server import errors
from control.server.decode import check_type, load_json, parse
from control.server.item import Item, Wire
from control.server.modify import Edited, Written, modify
from control.server.patches import json_patch, merge, strategic
from control.server.patches.errors import BadPatch, CannotApply
from control.server.strict import duplicate_complaints, unknown_complaints, verdict
from control.server.world import Call, World

_APPLY = "application/apply-patch+yaml"
_Method = Callable[[Wire, Any, type[Model]], Any]
_METHODS: dict[str, _Method] = {
    "application/json-patch+json": lambda old, given, _: json_patch.apply(old, given),
    "application/merge-patch+json": lambda old, given, _: merge.apply(old, given),
    "application/strategic-merge-patch+json": strategic.apply,
}


async def patch(world: World, call: Call) -> Written:
    """Change an object by a patch; raises Refused (400, 404, 409, 415, 422)."""
    method = _method(call)
    given = load_json(call.body)
    duplicates = duplicate_complaints(call.field_validation, call.body)

    def edit(old: Item) -> Edited:
        wire = _apply(call, method, old.fresh(), given)
        return Edited(wire, _warnings(call, old, wire, duplicates))

    return await modify(world, call, edit)


def _method(call: Call) -> _Method:
    media = call.content_type.partition(";")[0].strip().lower()
    if media in _METHODS:
        return _METHODS[media]
    if media == _APPLY:
        raise errors.unsupported_media_type(
            list(_METHODS), "server-side apply is not supported yet: use kubectl apply without it"
        )
    raise errors.unsupported_media_type(list(_METHODS))


def _apply(call: Call, method: _Method, old: Wire, given: Any) -> Wire:
    kind = call.info.kind
    try:
        made = method(old, given, kind.model)
    except BadPatch as err:
        raise errors.bad_request(str(err)) from err
    except CannotApply as err:
        raise errors.unprocessable(str(err)) from err
    if not isinstance(made, dict):
        raise errors.bad_request(f"the patch leaves no {kind.name}")
    wire: Wire = drop_nulls(made)
    if wire.get("metadata", {}).get("resourceVersion") == old["metadata"]["resourceVersion"]:
        # It came from the object, not from the patch: whatever version is there may be patched.
        wire["metadata"] = {k: v for k, v in wire["metadata"].items() if k != "resourceVersion"}
    return check_type(kind, wire)


def _warnings(call: Call, old: Item, wire: Wire, duplicates: list[str]) -> tuple[str, ...]:
    """What the patch itself brought that nobody knows."""
    kind, mode = call.info.kind, call.field_validation
    found = unknown_complaints(mode, parse(kind, wire))
    known = set(unknown_complaints(mode, parse(kind, old.wire))) if found else set()
    return verdict(kind, mode, duplicates + [text for text in found if text not in known])
