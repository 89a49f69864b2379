"""From a parsed request to its answer: which function does which verb, of objects and below."""

from collections.abc import Awaitable, Callable, Mapping

from control.api.base import encode
from control.server.state.world import Call, World
from control.server.verbs import (
    binding,
    create,
    delete,
    eviction,
    finalize,
    patch,
    read,
    scale,
    update,
)
from control.server.verbs.delete import Deleted
from control.server.verbs.modify import Written
from control.server.verbs.render import item_bytes, list_bytes
from control.server.wire.answer import Answer, done, removed
from control.server.wire.errors import method_not_allowed, no_such_path
from control.server.wire.info import Info
from control.server.wire.item import Item

Verb = Callable[[World, Call], Awaitable[Answer]]


def _item(world: World, call: Call, item: Item, code: int = 200) -> Answer:
    include = call.query.get("includeObject", "")
    return Answer(item_bytes(call.form, call.info.kind, item, world.now(), include), code)


def _list(world: World, call: Call, listing: read.Listing) -> Answer:
    include = call.query.get("includeObject", "")
    return Answer(list_bytes(call.form, listing, world.now(), include))


def _written(world: World, call: Call, written: Written) -> Answer:
    answer = _item(world, call, written.item, 201 if written.created else 200)
    return Answer(answer.body, answer.code, warnings=written.warnings)


def _deleted(world: World, call: Call, deleted: Deleted) -> Answer:
    return (
        removed(call.info.kind, deleted.item) if deleted.gone else _item(world, call, deleted.item)
    )


def _scale(written: Written) -> Answer:
    return Answer(encode(scale.scale_of(written.item.wire)), warnings=written.warnings)


async def _get(world: World, call: Call) -> Answer:
    return _item(world, call, await read.get(world, call))


async def _get_list(world: World, call: Call) -> Answer:
    return _list(world, call, await read.list_objects(world, call))


async def _create(world: World, call: Call) -> Answer:
    return _written(world, call, await create.create(world, call))


async def _update(world: World, call: Call) -> Answer:
    return _written(world, call, await update.update(world, call))


async def _patch(world: World, call: Call) -> Answer:
    return _written(world, call, await patch.patch(world, call))


async def _delete(world: World, call: Call) -> Answer:
    return _deleted(world, call, await delete.delete(world, call))


async def _delete_collection(world: World, call: Call) -> Answer:
    return _list(world, call, await delete.delete_collection(world, call))


async def _get_scale(world: World, call: Call) -> Answer:
    return _scale(Written(await read.get(world, call)))


async def _update_scale(world: World, call: Call) -> Answer:
    return _scale(await scale.update_scale(world, call))


async def _patch_scale(world: World, call: Call) -> Answer:
    return _scale(await scale.patch_scale(world, call))


async def _bind(world: World, call: Call) -> Answer:
    await binding.bind(world, call)
    return done()


async def _evict(world: World, call: Call) -> Answer:
    await eviction.evict(world, call)
    return done()


async def _finalize(world: World, call: Call) -> Answer:
    return _item(world, call, await finalize.finalize(world, call))


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
# Of single kinds: (resource, subresource).
_SPECIAL: Mapping[tuple[str, str], Mapping[str, Verb]] = {
    ("pods", "binding"): {"create": _bind},
    ("pods", "eviction"): {"create": _evict},
    ("namespaces", "finalize"): {"update": _finalize},
}


def verb_of(info: Info) -> Verb:
    """What does a request on a kind, streams excepted; raises Refused (404, 405)."""
    verb = _table(info).get("list" if info.verb == "watch" else info.verb)
    if verb is None:
        raise method_not_allowed()
    return verb


def _table(info: Info) -> Mapping[str, Verb]:
    if not info.subresource:
        return _OBJECT
    if special := _SPECIAL.get((info.kind.plural, info.subresource)):
        return special
    if info.subresource not in info.kind.subresources:
        raise no_such_path()
    return _STATUS if info.subresource == "status" else _SCALE
