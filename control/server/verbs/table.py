"""Dispatch a parsed request to the function of its verb and subresource."""

from collections.abc import Awaitable, Callable, Mapping

from control.api.base import encode
from control.api.columns.workload import SCALE
from control.api.component import COMPONENT_STATUS
from control.api.kind import Kind
from control.api.unstored import UNSTORED
from control.server.state.server import ServerState
from control.server.verbs import (
    asked,
    components,
    create,
    delete,
    eviction,
    measured,
    patch,
    read,
    subresources,
    update,
)
from control.server.verbs.delete import Deleted
from control.server.verbs.modify import Written
from control.server.verbs.render import item_bytes, list_pieces, list_size, made_bytes
from control.server.verbs.scale import scale_of
from control.server.verbs.token_request import request_token
from control.server.wire.accept import EVERY_FORM, WHOLE, RepresentationKind
from control.server.wire.errors import method_not_allowed, no_such_path, not_watched
from control.server.wire.info import RequestInfo
from control.server.wire.item import Item
from control.server.wire.request import ApiRequest
from control.server.wire.response import ApiResponse, done, removed

# Bytes of a list that is encoded at once.
_SMALL = 64 * 1024
Verb = Callable[[ServerState, ApiRequest], Awaitable[ApiResponse]]


def _item(state: ServerState, request: ApiRequest, item: Item, code: int = 200) -> ApiResponse:
    include = request.query.get("includeObject", "")
    return ApiResponse(
        item_bytes(request.representation, request.info.kind, item, state.now(), include), code
    )


def _list(state: ServerState, request: ApiRequest, listing: read.ObjectListing) -> ApiResponse:
    include = request.query.get("includeObject", "")
    form = request.representation
    pieces = list_pieces(form, listing, state.now(), include)
    if _is_small(listing):
        return ApiResponse(b"".join(pieces), content_type=form.media)
    size = list_size(form, listing)
    return ApiResponse(b"", content_type=form.media, pieces=pieces, size=size)


def _is_small(listing: read.ObjectListing) -> bool:
    size = 0
    for item in listing.items:
        size += item.size
        if size > _SMALL:
            return False
    return True


def _written(state: ServerState, request: ApiRequest, written: Written) -> ApiResponse:
    answer = _item(state, request, written.item, 201 if written.created else 200)
    return ApiResponse(answer.body, answer.code, warnings=written.warnings)


def _deleted(state: ServerState, request: ApiRequest, deleted: Deleted) -> ApiResponse:
    if deleted.gone and not delete.returns_object(request.info.kind):
        return removed(request.info.kind, deleted.item)
    return _item(state, request, deleted.item, 202 if deleted.accepted else 200)


def _scale(state: ServerState, request: ApiRequest, written: Written) -> ApiResponse:
    scale = scale_of(request.info.kind, written.item.wire)
    form, include = request.representation, request.query.get("includeObject", "")
    body = made_bytes(form, SCALE, scale, state.now(), include)
    return ApiResponse(body, warnings=written.warnings)


async def _get(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _item(state, request, await read.get(state, request))


async def _get_list(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _list(state, request, await read.list_objects(state, request))


async def _create(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _written(state, request, await create.create(state, request))


async def _update(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _written(state, request, await update.update(state, request))


async def _patch(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _written(state, request, await patch.patch(state, request))


async def _delete(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _deleted(state, request, await delete.delete(state, request))


async def _delete_collection(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _list(state, request, await delete.delete_collection(state, request))


async def _get_scale(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _scale(state, request, Written(await read.get(state, request)))


async def _update_scale(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _scale(state, request, await subresources.update_scale(state, request))


async def _patch_scale(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _scale(state, request, await subresources.patch_scale(state, request))


async def _bind(state: ServerState, request: ApiRequest) -> ApiResponse:
    await subresources.bind(state, await asked.about_body(state, request))
    return done()


async def _evict(state: ServerState, request: ApiRequest) -> ApiResponse:
    await eviction.evict(state, await asked.about_body(state, request))
    return done()


async def _finalize(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _item(state, request, await subresources.finalize(state, request))


async def _token(state: ServerState, request: ApiRequest) -> ApiResponse:
    request = await asked.about_body(state, request)
    return ApiResponse(encode(await request_token(state, request)), 201)


async def _get_measured(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _item(state, request, await measured.get(state, request))


async def _list_measured(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _list(state, request, await measured.list_objects(state, request))


async def _get_component(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _item(state, request, await components.get(state, request))


async def _list_components(state: ServerState, request: ApiRequest) -> ApiResponse:
    return _list(state, request, await components.list_objects(state, request))


_COMPONENTS: Mapping[str, Verb] = {"get": _get_component, "list": _list_components}
_MEASURED: Mapping[str, Verb] = {"get": _get_measured, "list": _list_measured}
_OBJECT: Mapping[str, Verb] = {
    "get": _get,
    "list": _get_list,
    "create": _create,
    "update": _update,
    "patch": _patch,
    "delete": _delete,
    "deletecollection": _delete_collection,
}
_STATUS: Mapping[str, Verb] = {"get": _get, "update": _update, "patch": _patch}
_SCALE: Mapping[str, Verb] = {"get": _get_scale, "update": _update_scale, "patch": _patch_scale}
# The subresources of single kinds, by (resource, subresource).
# As upstream, Namespaces are not deleted together.
_NAMESPACES = {verb: done for verb, done in _OBJECT.items() if verb != "deletecollection"}
_SPECIAL: Mapping[tuple[str, str], Mapping[str, Verb]] = {
    ("pods", "binding"): {"create": _bind},
    ("pods", "eviction"): {"create": _evict},
    ("pods", "resize"): {"get": _get, "update": _update, "patch": _patch},
    ("pods", "ephemeralcontainers"): {"get": _get, "update": _update, "patch": _patch},
    ("namespaces", ""): _NAMESPACES,
    ("namespaces", "finalize"): {"update": _finalize},
    ("serviceaccounts", "token"): {"create": _token},
}

# Whose large bodies a worker computes.
_COMPUTED = ("", "approval", "ephemeralcontainers", "resize", "status")


# The kinds of bodies of subresources that are no object of their own kind.
_BODIES = {"binding": "Binding", "eviction": "Eviction", "scale": "Scale", "token": "TokenRequest"}


def body_kind(info: RequestInfo) -> str:
    """Return the kind of the object that a request should have; empty for DeleteOptions."""
    if info.verb.startswith("delete"):
        return ""
    return _BODIES.get(info.subresource, info.kind.name)


# Whose answers are no objects that a Table could show.
_ONE_FORM = ("binding", "eviction", "token")


def forms(info: RequestInfo) -> tuple[RepresentationKind, ...]:
    """Return the forms that an answer may have."""
    return WHOLE if info.subresource in _ONE_FORM else EVERY_FORM


def verb_of(info: RequestInfo) -> Verb:
    """Return the function for a request on a kind (no stream); raises StatusError (404, 405)."""
    verb = _table(info).get("list" if info.verb == "watch" else info.verb)
    if verb is None or _lacks_namespace(info):
        raise method_not_allowed()
    return verb


def check_watched(kind: Kind) -> None:
    """Refuse to watch a kind that is not stored; raises StatusError (405)."""
    if kind in UNSTORED:
        raise not_watched(kind)


def _lacks_namespace(info: RequestInfo) -> bool:
    """Return True for a write of a namespaced kind at the path of all namespaces."""
    if not info.kind.namespaced or info.namespace or info.name:
        return False
    return info.verb not in ("get", "list", "watch")


def is_computed(info: RequestInfo) -> bool:
    """Return True if a worker computes the verb when the body is large."""
    return info.verb in ("create", "update", "patch") and info.subresource in _COMPUTED


def _table(info: RequestInfo) -> Mapping[str, Verb]:
    if info.kind in UNSTORED:
        if info.subresource:
            raise no_such_path()
        return _COMPONENTS if info.kind is COMPONENT_STATUS else _MEASURED
    special = _SPECIAL.get((info.kind.plural, info.subresource))
    if special and info.kind.custom is None:
        return special
    if not info.subresource:
        return _OBJECT
    if info.subresource not in info.kind.subresources:
        raise no_such_path()
    return _SCALE if info.subresource == "scale" else _STATUS
