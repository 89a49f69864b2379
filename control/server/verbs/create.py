"""Create objects (POST to a collection)."""

from control.api.rules import errors_in, rules_of
from control.server.state.server import ServerState
from control.server.verbs import prepare
from control.server.verbs.admission import admit
from control.server.verbs.modify import Written
from control.server.verbs.write import insert
from control.server.wire import errors
from control.server.wire.decode import parse, read
from control.server.wire.errors import StatusError
from control.server.wire.item import Item, Wire, encode_object
from control.server.wire.request import ApiRequest
from control.server.wire.strict import complaints, verdict

_TRIES = 8


async def create(state: ServerState, request: ApiRequest) -> Written:
    """Create the object in a request; raises StatusError (400, 403, 404, 409, 415, 422)."""
    kind, mode = request.info.kind, request.field_validation
    wire, unknown = read(kind, request.body.object())
    warnings = verdict(kind, mode, complaints(kind, mode, request.body, unknown))
    with errors.warning(*warnings):
        item = await make(state, request.named(_name(request, wire)), wire)
    return Written(item, created=True, warnings=warnings)


async def make(state: ServerState, request: ApiRequest, wire: Wire) -> Item:
    """Complete, admit, validate and store a new object of the right type."""
    kind = request.info.kind
    made = prepare.for_create(kind, wire, request.info, state.timestamp())
    rules = rules_of(kind)
    made = rules.begin(rules.default(made))
    for _ in range(_TRIES):
        await state.cache.fresh()
        complete = admit(state, request, made)
        if found := errors_in(kind, parse(kind, complete)):
            raise errors.invalid(kind, request.info.name, found)
        if request.dry_run:
            return Item("", 0, encode_object(complete))
        try:
            return await insert(state, request.info, complete)
        except StatusError as err:
            if not err.again:
                raise
            last = err  # another writer has claimed the chosen address or port: choose again
    raise last


def _name(request: ApiRequest, wire: Wire) -> str:
    """Return the new object's name; raises StatusError if it does not match the URL."""
    metadata = wire["metadata"]
    if metadata.get("resourceVersion"):
        raise errors.bad_request("resourceVersion should not be set on objects to be created")
    namespace = metadata.get("namespace", request.info.namespace)
    if request.info.kind.namespaced and namespace != request.info.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    base = metadata.get("generateName")
    return metadata.get("name") or (prepare.generated_name(base) if base else "")
