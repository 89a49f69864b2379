"""PUT: an object as the client wants it, or its status."""

from control.server.decode import check_type, parse, read_object
from control.server.item import Item
from control.server.modify import Edited, Written, modify
from control.server.strict import duplicate_complaints, unknown_complaints, verdict
from control.server.world import Call, World


async def update(world: World, call: Call) -> Written:
    """Replace an object; raises Refused (400, 404, 409, 415, 422)."""
    kind, mode = call.info.kind, call.field_validation
    wire = check_type(kind, read_object(call.body, call.content_type))
    unknown = unknown_complaints(mode, parse(kind, wire))
    edited = Edited(wire, verdict(kind, mode, duplicate_complaints(mode, call.body) + unknown))

    def edit(_: Item) -> Edited:
        return edited

    return await modify(world, call, edit)
