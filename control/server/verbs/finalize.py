"""The finalize subresource of namespaces: its controllers say that they are done."""

from control.api.kinds import NAMESPACE
from control.server.state.server import ApiRequest, ServerState
from control.server.verbs.modify import rewrite
from control.server.wire.decode import check_type, parse, read_object
from control.server.wire.item import Item, Wire


async def finalize(state: ServerState, request: ApiRequest) -> Item:
    """Set spec.finalizers; a namespace on its way goes with the last. Raises StatusError."""
    sent = check_type(NAMESPACE, read_object(request.body, request.content_type))
    parse(NAMESPACE, sent)
    finalizers = sent.get("spec", {}).get("finalizers", [])

    def change(item: Item) -> Wire:
        wire = item.fresh()
        return wire | {"spec": wire.get("spec", {}) | {"finalizers": finalizers}}

    return await rewrite(state, request, change)
