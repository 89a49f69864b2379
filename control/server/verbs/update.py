"""Replace an object or its status (PUT); some kinds are created by it, too."""

from control.server.state.server import ServerState
from control.server.verbs import create
from control.server.verbs.modify import Edited, Written, modify
from control.server.wire import errors
from control.server.wire.decode import read
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo
from control.server.wire.item import Item, Wire
from control.server.wire.request import ApiRequest
from control.server.wire.strict import complaints, verdict

# The kinds that a PUT creates: AllowCreateOnUpdate in upstream's pkg/registry.
_CREATED = {
    ("", "Endpoints"),
    ("", "Event"),
    ("", "LimitRange"),
    ("", "Service"),
    ("coordination.k8s.io", "Lease"),
    ("events.k8s.io", "Event"),
    ("node.k8s.io", "RuntimeClass"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
}


def may_create(info: RequestInfo) -> bool:
    """Return True if a request is a PUT that creates an object that is not there."""
    kind = info.kind
    return info.verb == "update" and not info.subresource and (kind.group, kind.name) in _CREATED


async def update(state: ServerState, request: ApiRequest) -> Written:
    """Replace an object; raises StatusError (400, 403, 404, 409, 415, 422)."""
    if may_create(request.info):
        return await create.change_or_create(state, request, _edit, _drafted)
    try:
        return await modify(state, request, _edit)
    except StatusError as err:
        if err.code == 404 and not request.body.waiting:
            _check(request)
        raise


def _check(request: ApiRequest) -> None:
    """Refuse the body of a PUT to what is not there, as upstream before it looks for that (400)."""
    wire, warnings = _read(request)
    with errors.warning(*warnings):
        name = wire["metadata"].get("name") or ""
        if not name:
            raise errors.undeterminable_name(request.info.name)
        if name != request.info.name:
            raise errors.name_mismatch(name, request.info.name)


def _edit(_: ServerState, request: ApiRequest, _old: Item) -> Edited:
    return Edited(*_read(request))


def _drafted(state: ServerState, request: ApiRequest) -> create.New:
    """Return a new object of a PUT, whatever its resourceVersion."""
    request = request.decoded()
    wire, warnings = _read(request)
    with errors.warning(*warnings):
        request.require_create()
        made = wire | {"metadata": _metadata(request, wire["metadata"])}
    return create.complete(state, request, made, warnings)


def _metadata(request: ApiRequest, metadata: Wire) -> Wire:
    """Return the metadata of a new object with the URL's name; raises StatusError (400, 409)."""
    info = request.info
    if (name := metadata.get("name") or info.name) != info.name:
        raise errors.name_mismatch(name, info.name)
    if uid := metadata.get("uid"):
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
        raise errors.conflict(info.kind, name, why)
    kept = {key: value for key, value in metadata.items() if key != "resourceVersion"}
    return kept | {"name": name}


def _read(request: ApiRequest) -> tuple[Wire, tuple[str, ...]]:
    kind, mode = request.info.kind, request.field_validation
    wire, unknown = read(kind, request.body.object())
    return wire, verdict(kind, mode, complaints(kind, mode, request.body, unknown))
