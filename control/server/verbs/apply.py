"""Server-side apply (PATCH with application/apply-patch+yaml).

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from typing import Any

from control.api import field
from control.api.apply import track
from control.api.apply.managers import decode_stored, encode
from control.api.base import drop_nulls
from control.api.meta import StatusCause
from control.server.state.server import ServerState
from control.server.verbs import create, custom_scale, fields
from control.server.verbs.modify import Edited, Written, modify
from control.server.wire import errors, media
from control.server.wire.body import Body, check_size
from control.server.wire.decode import read
from control.server.wire.errors import StatusError
from control.server.wire.item import Item, Wire
from control.server.wire.request import ApiRequest
from control.server.wire.strict import duplicate_complaints


def check_options(request: ApiRequest) -> None:
    """Refuse options that do not fit the kind of patch; raises StatusError (422)."""
    applies = request.body.media_type == media.APPLY_PATCH
    found = []
    if applies and not request.query.get("fieldManager"):
        found.append(field.required("fieldManager", "is required for apply patch"))
    if not applies and "force" in request.query:
        found.append(field.forbidden("force", "may not be specified for non-apply patch"))
    if found:
        raise errors.invalid_options("PatchOptions", found)


async def apply(state: ServerState, request: ApiRequest) -> Written:
    """Apply an object, or create it; raises StatusError (400, 403, 404, 409, 422, 500)."""
    if request.info.subresource:
        return await modify(state, request, _edit)
    return await create.change_or_create(state, request, _edit, _drafted)


def _edit(state: ServerState, request: ApiRequest, old: Item) -> Edited:
    """Return an existing object with what is applied."""
    applied, warnings = _read(request)
    managers = decode_stored(old.managed)
    with errors.warning(*warnings):
        wire, managed = _made(state, request, dict(old.wire), managers, applied)
        if wire["metadata"].get("resourceVersion") == str(old.revision):
            # It came from the object itself: the patch requires no version.
            del wire["metadata"]["resourceVersion"]
        return Edited(wire, warnings, managed)


def _drafted(state: ServerState, request: ApiRequest) -> create.New:
    """Return a new object of what is applied; raises StatusError (403) if the user may not."""
    request = request.decoded()
    applied, warnings = _read(request)
    with errors.warning(*warnings):
        request.require_create()
        empty = fields.write_of(request, "").empty
        wire, managed = _made(state, request, {**empty}, {}, applied)
        _check_new(request, wire["metadata"])
    return create.complete(state, request, wire, warnings, managed)


def _check_new(request: ApiRequest, metadata: Wire) -> None:
    """Refuse a new object that the URL does not name, or that is said to exist."""
    info = request.info
    name = metadata.get("name", "")
    if not name:
        found = field.required("metadata.name", "name or generateName is required")
        raise errors.invalid(info.kind, "", [found])
    if name != info.name:
        raise errors.name_mismatch(name, info.name)
    if uid := metadata.get("uid"):
        why = f"the provided object specified uid {uid}, and no existing object was found"
        raise errors.conflict(info.kind, name, f"uid mismatch: {why}")


def _read(request: ApiRequest) -> tuple[Wire, tuple[str, ...]]:
    """Return the applied object and warnings of repeated fields; raises StatusError (400)."""
    body, kind = request.body, request.info.kind
    applied = body.value
    if not isinstance(applied, dict):
        raise errors.bad_request("error decoding YAML: the body must be an object")
    repeated = _repeated(request.field_validation, body)
    if repeated and request.field_validation == "Strict":
        raise errors.bad_request(f"error strict decoding YAML: {repeated[0]}")
    if request.info.subresource == "scale":
        applied = _of_scale(request, applied)
    named = applied.get("apiVersion", ""), applied.get("kind", "")
    if named != (kind.api_version, kind.name):
        raise _other_type(*named)
    metadata = applied.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise errors.bad_request("metadata.managedFields must be nil")
    return applied, repeated


def _other_type(version: str, kind: str) -> StatusError:
    """Return the error (400) of a body of another type; Go writes the core group as nothing."""
    return errors.bad_request(
        f"invalid object type: {version if '/' in version else f'/{version}'}, Kind={kind}"
    )


def _repeated(mode: str, body: Body) -> tuple[str, ...]:
    if mode == "Ignore":
        return ()
    return body.repeated or tuple(duplicate_complaints(mode, body))


def _of_scale(request: ApiRequest, scale: Wire) -> Wire:
    """Return what an applied Scale says of its workload."""
    named = scale.get("apiVersion", ""), scale.get("kind", "")
    if named != ("autoscaling/v1", "Scale"):
        raise _other_type(*named)
    spec, kind = scale.get("spec"), request.info.kind
    replicas = spec.get("replicas") if isinstance(spec, dict) else None
    made: Wire = {"apiVersion": kind.api_version, "kind": kind.name}
    if kind.custom is not None and replicas is not None:
        custom_scale.set_replicas(kind, made, replicas)
        return made
    return made if replicas is None else made | {"spec": {"replicas": replicas}}


def _made(
    state: ServerState, request: ApiRequest, live: Wire, managers: Any, applied: Wire
) -> tuple[Wire, bytes]:
    """Return the object with what is applied, of its type, and the managers of its fields."""
    kind, now = request.info.kind, state.timestamp()
    write, force = fields.write_of(request, now, applies=True), request.flag("force")
    try:
        made, held = track.apply(write, live, applied, managers, force=force)
    except (track.ApplyTypeError, track.LiveTypeError) as err:
        which = "patch" if isinstance(err, track.ApplyTypeError) else "live"
        where = f"{request.info.namespace}/{request.info.name}; {kind.api_version}"
        why = f"failed to create typed {which} object ({where}, Kind={kind.name}): {err}"
        raise errors.not_applicable(why) from err
    except track.ApplyConflictError as err:
        raise _conflict(err) from err
    wire = drop_nulls(made)
    check_size(wire)
    return read(kind, wire)[0], encode(held)


def _conflict(err: track.ApplyConflictError) -> StatusError:
    causes = [
        StatusCause(reason="FieldManagerConflict", message=f"conflict with {who}", field=path)
        for who, path in err.conflicts
    ]
    if len(causes) == 1:
        cause = causes[0]
        text = f"Apply failed with 1 conflict: {cause.message}: {cause.field}"
        return errors.apply_conflict(text, causes)
    lines = []
    for number, (who, path) in enumerate(err.conflicts):
        if not number or err.conflicts[number - 1][0] != who:
            lines.append(f"conflicts with {who}:")
        lines.append(f"- {path}")
    text = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return errors.apply_conflict(text, causes)
