"""The eviction subresource: a deletion that asks first. Nothing says no: there are no budgets."""

from control.server.state.server import ApiRequest, ServerState
from control.server.verbs.delete import Deleted, delete_with, read_options
from control.server.wire import errors
from control.server.wire.decode import read_object


async def evict(state: ServerState, request: ApiRequest) -> Deleted:
    """Delete a Pod with the options of a policy/v1 Eviction; raises StatusError (400, 404, 409)."""
    eviction = read_object(request.body, request.content_type)
    options = eviction.get("deleteOptions", {})
    if not isinstance(options, dict):
        raise errors.bad_request("deleteOptions must be an object")
    return await delete_with(state, request, read_options(request, options))
