"""PATCH: JSON patch, merge patch and strategic merge patch, on any kind."""

from collections.abc import Callable
from typing import Any

from control.api.base import Model, drop_nulls
from control.server.state.world import Call, World
from control.server.verbs.modify import Edited, Written, modify
from control.server.verbs.patches import json_patch, merge, strategic
from control.server.verbs.patches.errors import BadPatch, CannotApply
from control.server.wire import errors
from control.server.wire.decode import check_depth, check_type, load_json, parse
from control.server.wire.item import Item, Wire
from control.server.wire.strict import duplicate_complaints, unknown_complaints, verdict

_APPLY = "application/apply-patch+yaml"
_Method = Callable[[Wire, Any, type[Model] | None], Any]
METHODS: dict[str, _Method] = {
    "application/json-patch+json": lambda old, given, _: json_patch.apply(old, given),
    "application/merge-patch+json": lambda old, given, _: merge.apply(old, given),
    "application/strategic-merge-patch+json": strategic.apply,
}


async def patch(world: World, call: Call) -> Written:
    """Change an object by a patch; raises Refused (400, 404, 409, 415, 422)."""
    given = read_patch(call)
    duplicates = duplicate_complaints(call.field_validation, call.body)

    def edit(old: Item) -> Edited:
        wire = check_type(call.info.kind, given(old.fresh(), call.info.kind.model))
        if wire["metadata"].get("resourceVersion") == str(old.revision):
            # It came from the object: a patch that does not speak of it insists on nothing.
            del wire["metadata"]["resourceVersion"]
        return Edited(wire, _warnings(call, old, wire, duplicates))

    return await modify(world, call, edit)


Patch = Callable[[Wire, type[Model] | None], Wire]


def read_patch(call: Call) -> Patch:
    """What a request's patch makes of an object of a model; raises Refused (400, 415, 422)."""
    method, given = _method(call), load_json(call.body)

    def apply(before: Wire, model: type[Model] | None) -> Wire:
        try:
            made = method(before, given, model)
        except BadPatch as err:
            raise errors.bad_request(str(err)) from err
        except CannotApply as err:
            raise errors.unprocessable(str(err)) from err
        if not isinstance(made, dict):
            raise errors.bad_request("the patch leaves no object")
        check_depth(made)
        return dict(drop_nulls(made))

    return apply


def _method(call: Call) -> _Method:
    media = call.content_type.partition(";")[0].strip().lower()
    if media in METHODS:
        return METHODS[media]
    if media == _APPLY:
        raise errors.unsupported_media_type(
            list(METHODS), "server-side apply is not supported yet: use kubectl apply without it"
        )
    raise errors.unsupported_media_type(list(METHODS))


def _warnings(call: Call, old: Item, wire: Wire, duplicates: list[str]) -> tuple[str, ...]:
    """What the patch itself brought that nobody knows."""
    kind, mode = call.info.kind, call.field_validation
    found = unknown_complaints(mode, parse(kind, wire))
    known = set(unknown_complaints(mode, parse(kind, old.wire))) if found else set()
    return verdict(kind, mode, duplicates + [text for text in found if text not in known])
