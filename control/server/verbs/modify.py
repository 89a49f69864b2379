"""Changing an object that exists: what update, patch and their subresources share."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from control.api.kinds import SERVICE
from control.api.rules import errors_in_status, errors_in_update, rules_of
from control.server.state.world import Call, World
from control.server.verbs import prepare
from control.server.verbs.allocation.service import allocate
from control.server.verbs.marking import finished
from control.server.verbs.read import find
from control.server.verbs.write import remove, replace
from control.server.wire import errors
from control.server.wire.decode import check_type, parse
from control.server.wire.errors import Refused
from control.server.wire.item import Item, Wire, encode_object, stamp

_T = TypeVar("_T")

# A patch that meets another writer is applied again to what that one left.
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left behind, and what to warn of."""

    item: Item
    created: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edited:
    """What a client wants an object to be."""

    wire: Wire
    warnings: tuple[str, ...] = ()


Edit = Callable[[Item], Edited]


async def modify(world: World, call: Call, edit: Edit) -> Written:
    """Write what ``edit`` makes of the object; raises Refused (404, 409, 422).

    If the edit names no resourceVersion it is repeated until it meets no other writer.
    """

    async def once(old: Item) -> Written:
        edited = edit(old)
        with errors.warning(*edited.warnings):
            item = await _store(world, call, old, edited.wire)
        return Written(item, warnings=edited.warnings)

    return await retried(world, call, once)


async def rewrite(world: World, call: Call, change: Callable[[Item], Wire]) -> Item:
    """Write what the server itself makes of the object; raises Refused (404, 409)."""

    async def once(old: Item) -> Item:
        wire = change(old)
        if call.dry_run or prepare.same(old.wire, wire):
            return stamp(old.key, encode_object(wire), old.revision)
        if finished(wire):
            return await _end(world, call, old, wire)
        return await replace(world, call.info, old, wire)

    return await retried(world, call, once)


async def retried(world: World, call: Call, once: Callable[[Item], Awaitable[_T]]) -> _T:
    """Do something with the present version of an object, until no other writer is in between."""
    for _ in range(_TRIES):
        await world.cache.fresh()
        try:
            return await once(find(world, call.info))
        except Refused as err:
            if not err.again:
                raise
            last = err
    raise last


async def _store(world: World, call: Call, old: Item, new: Wire) -> Item:
    before = old.wire
    new = check_type(call.info.kind, new)
    _check_identity(call, old, before, new)
    wire = _next_version(world, call, before, new)
    _validate(call, before, wire)
    if prepare.same(before, wire):
        return old
    if call.dry_run:
        return stamp(old.key, encode_object(wire), old.revision)
    if finished(wire):
        return await _end(world, call, old, wire)
    return await replace(world, call.info, old, wire)


async def _end(world: World, call: Call, old: Item, wire: Wire) -> Item:
    """Remove an object that waited for this write alone; the answer is what was written."""
    gone = await remove(world, call.info, old)
    return stamp(old.key, encode_object(wire), gone.revision)


def _check_identity(call: Call, old: Item, before: Mapping[str, Any], new: Wire) -> None:
    kind, metadata = call.info.kind, new["metadata"]
    name = metadata.get("name") or call.info.name
    if name != call.info.name:
        raise errors.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({call.info.name})"
        )
    if kind.namespaced and metadata.get("namespace", call.info.namespace) != call.info.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    uid = before["metadata"]["uid"]
    if metadata.get("uid", uid) != uid:
        raise errors.conflict(
            kind,
            name,
            f"Precondition failed: UID in precondition: {metadata['uid']},"
            f" UID in object meta: {uid}",
        )
    if (version := _version(new)) and version != str(old.revision):
        raise errors.conflict(kind, name)


def _version(wire: Wire) -> str:
    """The resourceVersion that a client insists on, if any."""
    version = wire["metadata"].get("resourceVersion") or ""
    return "" if version == "0" else str(version)


def _next_version(world: World, call: Call, before: Mapping[str, Any], new: Wire) -> Wire:
    kind = call.info.kind
    default = rules_of(kind).default
    new = new | {"metadata": new["metadata"] | {"name": call.info.name}}
    if call.info.subresource == "status":
        return default(prepare.for_status_update(before, new))
    new = default(new)
    if kind is SERVICE:
        new = allocate(world, new, before)
    return prepare.for_update(kind, before, new)


def _validate(call: Call, before: Mapping[str, Any], wire: Wire) -> None:
    kind = call.info.kind
    check = errors_in_status if call.info.subresource == "status" else errors_in_update
    if found := check(kind, parse(kind, wire), parse(kind, before)):
        raise errors.invalid(kind, call.info.name, found)
