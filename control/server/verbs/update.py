"""Replace an object or its status (PUT)."""

from control.server.state.server import ServerState
from control.server.verbs.modify import Edited, Written, modify
from control.server.wire.decode import read
from control.server.wire.item import Item
from control.server.wire.request import ApiRequest
from control.server.wire.strict import complaints, verdict


async def update(state: ServerState, request: ApiRequest) -> Written:
    """Replace an object; raises StatusError (400, 404, 409, 415, 422)."""
    return await modify(state, request, _edit)


def _edit(_: ServerState, request: ApiRequest, _old: Item) -> Edited:
    kind, mode = request.info.kind, request.field_validation
    wire, unknown = read(kind, request.body.object())
    return Edited(wire, verdict(kind, mode, complaints(kind, mode, request.body, unknown)))
