"""One commit to the store for a request, its errors told in the API's words."""

from collections.abc import Mapping
from typing import Any

from control.server import errors
from control.server.errors import Refused
from control.server.info import Info, storage_key
from control.server.item import Item, encode_object, stamp
from control.server.world import World
from control.store.base import Change, Conflict, Create, Exists, NotFound, StoreError, Update


async def insert(world: World, info: Info, wire: Mapping[str, Any], *others: Change) -> Item:
    """Store a new object, along with other changes; raises Refused, Exists of another's key."""
    key = storage_key(info.kind, info.namespace, info.name)
    value = encode_object(wire)
    revision = await commit(world, info, Create(key, value), *others)
    return stamp(key, value, revision)


async def replace(
    world: World, info: Info, old: Item, wire: Mapping[str, Any], *others: Change
) -> Item:
    """Store a new version of an object, if it is still the old one; raises Refused (409)."""
    value = encode_object(wire)
    revision = await commit(world, info, Update(old.key, value, old.revision), *others)
    return stamp(old.key, value, revision)


async def commit(world: World, info: Info, *changes: Change) -> int:
    """Do changes of which the first is the object's; raises Refused, or Exists of another."""
    try:
        return await world.store.commit(*changes)
    except StoreError as err:
        if isinstance(err, Exists) and err.key != changes[0].key:
            raise
        raise refusal(info, err) from err


def refusal(info: Info, err: StoreError) -> Refused:
    """What the store's error means for the object."""
    if isinstance(err, Exists):
        return errors.already_exists(info.kind, info.name)
    if isinstance(err, NotFound):
        return errors.not_found(info.kind, info.name)
    if isinstance(err, Conflict):
        return errors.conflict(info.kind, info.name)
    return errors.unavailable(f"{info.verb} {errors.resource(info.kind)} {info.name!r}: {err}")
