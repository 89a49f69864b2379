"""One commit to the store for a request, its errors told in the API's words."""

from collections.abc import Mapping
from typing import Any

from control.server.state.world import World
from control.server.verbs.allocation.claims import claim_changes
from control.server.wire import errors
from control.server.wire.errors import Refused
from control.server.wire.info import Info, storage_key
from control.server.wire.item import Item, encode_object, restamp, stamp
from control.store.base import (
    Change,
    Conflict,
    Create,
    Delete,
    Exists,
    NotFound,
    StoreError,
    Update,
)


async def insert(world: World, info: Info, wire: Mapping[str, Any]) -> Item:
    """Store a new object; raises Refused (409, 503)."""
    key = storage_key(info.kind, info.namespace, info.name)
    value = encode_object(wire)
    revision = await _commit(world, info, Create(key, value), None, wire)
    return stamp(key, value, revision)


async def replace(world: World, info: Info, old: Item, wire: Mapping[str, Any]) -> Item:
    """Store a new version of an object, if it is still the old one; raises Refused (409, 503)."""
    value = encode_object(wire)
    revision = await _commit(world, info, Update(old.key, value, old.revision), old.wire, wire)
    return stamp(old.key, value, revision)


async def remove(world: World, info: Info, old: Item) -> Item:
    """Remove an object, if it is still this one; its last version. Raises Refused (409, 503)."""
    revision = await _commit(world, info, Delete(old.key, old.revision), old.wire, None)
    return restamp(old, revision)


async def _commit(
    world: World,
    info: Info,
    change: Change,
    old: Mapping[str, Any] | None,
    new: Mapping[str, Any] | None,
) -> int:
    """Do a change along with what it does to claims; another's claim is a conflict, too."""
    claims = claim_changes(info.kind, old, new, world.cache.claims)
    try:
        return await world.store.commit(change, *claims)
    except StoreError as err:
        raise _refusal(info, err, is_claim=getattr(err, "key", change.key) != change.key) from err


def _refusal(info: Info, err: StoreError, *, is_claim: bool) -> Refused:
    if isinstance(err, Conflict) or is_claim:
        return errors.conflict(info.kind, info.name, again=True)
    if isinstance(err, Exists):
        return errors.already_exists(info.kind, info.name)
    if isinstance(err, NotFound):
        return errors.not_found(info.kind, info.name)
    return errors.unavailable(f"{info.verb} {errors.resource(info.kind)} {info.name!r}: {err}")
