"""Replace an object or its status (PUT)."""

from control.server.state.server import ServerState
from control.server.verbs.modify import Edited, Written, modify
from control.server.wire.decode import check_type, parse
from control.server.wire.item import Item
from control.server.wire.request import ApiRequest
from control.server.wire.strict import duplicate_complaints, unknown_complaints, verdict


async def update(state: ServerState, request: ApiRequest) -> Written:
    """Replace an object; raises StatusError (400, 404, 409, 415, 422)."""
    kind, mode = request.info.kind, request.field_validation
    wire = check_type(kind, request.body.object())
    unknown = unknown_complaints(mode, parse(kind, wire))
    edited = Edited(wire, verdict(kind, mode, duplicate_complaints(mode, request.body) + unknown))

    def edit(_: Item) -> Edited:
        return edited

    return await modify(state, request, edit)
