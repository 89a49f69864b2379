"""Changing an object that exists: what update, patch and their subresources share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from control.api.rules import rules_of
from control.server import errors, prepare
from control.server.decode import check_type, parse
from control.server.errors import Refused
from control.server.item import Item, Wire, encode_object
from control.server.marking import finished
from control.server.read import find
from control.server.world import Call, World
from control.server.write import commit, replace
from control.store.base import Delete

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
    for attempt in range(_TRIES):
        await world.cache.fresh()
        old = find(world, call.info)
        edited = edit(old)
        try:
            item = await _store(world, call, old, edited.wire)
        except Refused as err:
            if not err.conflict or _version(edited.wire) or attempt == _TRIES - 1:
                raise
        else:
            return Written(item, warnings=edited.warnings)
    raise AssertionError("the last attempt returns or raises")


async def _store(world: World, call: Call, old: Item, new: Wire) -> Item:
    before = old.wire
    new = check_type(call.info.kind, new)
    _check_identity(call, old, before, new)
    wire = _next_version(call, before, new)
    _validate(call, before, wire)
    if finished(wire):
        revision = (
            old.revision
            if call.dry_run
            else await commit(world, call.info, Delete(old.key, old.revision))
        )
        return Item(old.key, revision, encode_object(wire))
    if prepare.same(before, wire):
        return old
    if call.dry_run:
        return Item(old.key, old.revision, encode_object(wire))
    return await replace(world, call.info, old, wire)


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


def _next_version(call: Call, before: Mapping[str, Any], new: Wire) -> Wire:
    kind = call.info.kind
    new = new | {"metadata": new["metadata"] | {"name": call.info.name}}
    if call.info.subresource == "status":
        return prepare.for_status_update(before, new)
    defaulted = rules_of(kind).default(new)
    return prepare.for_update(kind, before, defaulted)


def _validate(call: Call, before: Mapping[str, Any], wire: Wire) -> None:
    kind = call.info.kind
    rules = rules_of(kind)
    new, old = parse(kind, wire), parse(kind, before)
    found = [*rules.validate(new), *rules.validate_update(new, old)]
    if found:
        raise errors.invalid(kind, call.info.name, found)
