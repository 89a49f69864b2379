"""From a parsed request to its answer: which function does which verb."""

from collections.abc import Awaitable, Callable

from control.server import create, delete, patch, read, update
from control.server.answer import Answer, success
from control.server.errors import no_such_path
from control.server.modify import Written
from control.server.world import Call, World

Verb = Callable[[World, Call], Awaitable[Answer]]


async def _get(world: World, call: Call) -> Answer:
    return Answer((await read.get(world, call)).raw)


async def _list(world: World, call: Call) -> Answer:
    return Answer(read.encode_list(await read.list_objects(world, call)))


async def _create(world: World, call: Call) -> Answer:
    return _written(await create.create(world, call))


async def _update(world: World, call: Call) -> Answer:
    return _written(await update.update(world, call))


async def _patch(world: World, call: Call) -> Answer:
    return _written(await patch.patch(world, call))


def _written(written: Written) -> Answer:
    return Answer(written.item.raw, 201 if written.created else 200, warnings=written.warnings)


async def _delete(world: World, call: Call) -> Answer:
    deleted = await delete.delete(world, call)
    return Answer(success(call.info.kind, deleted.item) if deleted.gone else deleted.item.raw)


async def _delete_collection(world: World, call: Call) -> Answer:
    return Answer(read.encode_list(await delete.delete_collection(world, call)))


VERBS: dict[str, Verb] = {
    "get": _get,
    "list": _list,
    "create": _create,
    "update": _update,
    "patch": _patch,
    "delete": _delete,
    "deletecollection": _delete_collection,
}


async def perform(world: World, call: Call) -> Answer:
    """Do what a request on a kind asks, watches excepted; raises Refused."""
    if call.info.subresource and call.info.subresource not in call.info.kind.subresources:
        raise no_such_path()
    return await VERBS[call.info.verb](world, call)
