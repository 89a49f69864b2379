"""The finalize subresource of namespaces: its controllers say that they are done."""

from control.api.kinds import NAMESPACE
from control.server.state.world import Call, World
from control.server.verbs.modify import rewrite
from control.server.wire.decode import check_type, parse, read_object
from control.server.wire.item import Item, Wire


async def finalize(world: World, call: Call) -> Item:
    """Set spec.finalizers; a namespace on its way goes with the last. Raises Refused."""
    sent = check_type(NAMESPACE, read_object(call.body, call.content_type))
    parse(NAMESPACE, sent)
    finalizers = sent.get("spec", {}).get("finalizers", [])

    def change(item: Item) -> Wire:
        wire = item.fresh()
        return wire | {"spec": wire.get("spec", {}) | {"finalizers": finalizers}}

    return await rewrite(world, call, change)
