"""Ask about the bodies of subresources that are no object of their own kind: Binding, Eviction."""

from msgspec.structs import replace

from control.api.kind import Kind
from control.api.meta import Object
from control.server.state.gate import CREATE, Change
from control.server.state.server import ServerState
from control.server.wire.decode import read_message
from control.server.wire.request import ApiRequest

_KINDS = {
    "binding": Kind("", "v1", "Binding", "bindings", Object),
    "eviction": Kind("policy", "v1", "Eviction", "evictions", Object),
    "token": Kind("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", Object),
}
_MESSAGES = {
    "binding": "core.Binding",
    "eviction": "policy.Eviction",
    "token": "authentication.TokenRequest",
}


async def about_body(state: ServerState, request: ApiRequest) -> ApiRequest:
    """Return the request with its body as admission wants it; raises StatusError."""
    review = state.gate.review(state, request, CREATE)
    if review is None:
        return request
    name = request.info.subresource
    kind = _KINDS[name]
    wire = read_message(_MESSAGES[name], request.body.object())
    new = wire | {"kind": kind.name, "apiVersion": kind.api_version}
    made = await review.mutate(Change(kind, new)) if review.mutates else new
    await review.validate(Change(kind, made))
    return replace(request, body=replace(request.body, value=made))
