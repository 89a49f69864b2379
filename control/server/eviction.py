"""The eviction subresource: a deletion that asks first. Nothing says no: there are no budgets."""

from control.server import errors
from control.server.decode import read_object
from control.server.delete import Deleted, delete_with, read_options
from control.server.world import Call, World


async def evict(world: World, call: Call) -> Deleted:
    """Delete a Pod with the options of a policy/v1 Eviction; raises Refused (400, 404, 409)."""
    eviction = read_object(call.body, call.content_type)
    options = eviction.get("deleteOptions", {})
    if not isinstance(options, dict):
        raise errors.bad_request("deleteOptions must be an object")
    return await delete_with(world, call, read_options(call, options))
