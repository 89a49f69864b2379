"""Keep IPAddresses and Services alike: each address of a Service has one, and none is left over.

A commit that writes a Service writes them, too. What is repaired here was made by an older server,
or by somebody who has deleted an IPAddress. Source: upstream's repairip controller.
"""

import asyncio
import logging

from control.api.kinds import SERVICE, SERVICE_ADDRESS
from control.api.ranges import ALLOCATOR, MANAGED_BY
from control.server.state.server import ServerState
from control.server.state.strides import strides
from control.server.state.watch_cache import ADDRESSES, CLAIMS, ObjectChange
from control.server.verbs.allocation.claims import Claims, claim, claims_of
from control.server.wire.info import storage_key
from control.server.wire.item import Item
from control.store.base import (
    Create,
    Delete,
    KeyExistsError,
    KeyNotFoundError,
    RevisionConflictError,
    StoreError,
)

_OLD = f"{CLAIMS}ip/"  # claims of an older server
logger = logging.getLogger(__name__)


async def repair_addresses(state: ServerState) -> None:
    """Create the IPAddresses that are missing, delete those of no Service; raises StoreError."""
    await state.cache.fresh()
    async for group in strides(list(state.cache.of(SERVICE).items())):
        for item in group:
            claims = claims_of(SERVICE, item.wire)
            for key in sorted(claims.keys - state.cache.claims):
                if key.startswith(ADDRESSES):
                    await _create(state, claims, key)
    for key in [key for key in state.cache.claims if key.startswith(_OLD)]:
        await state.store.commit(Delete(key))
    async for group in strides(list(state.cache.of(SERVICE_ADDRESS).items())):
        for item in group:
            if _is_left_over(state, item):
                await _delete(state, item)


async def keep_addresses(state: ServerState) -> None:
    """Make an IPAddress anew, at once, that somebody has deleted while its Service has it."""
    gone: asyncio.Queue[ObjectChange | None] = asyncio.Queue()

    def heard(change: ObjectChange | None) -> None:
        if change is None or change.removed:
            gone.put_nowait(change)

    while True:
        state.cache.of(SERVICE_ADDRESS).listeners.add(heard)  # again after the cache starts over
        change = await gone.get()
        service = _parent(state, change.item) if change is not None else None
        if change is None or service is None:
            continue
        claims = claims_of(SERVICE, service.wire)
        try:
            if change.item.key in claims.keys - state.cache.claims:
                await _create(state, claims, change.item.key)
        except StoreError as err:
            logger.warning("repair of %s: %s; trying again with all others", change.item.key, err)


async def _create(state: ServerState, claims: Claims, key: str) -> None:
    try:
        await state.store.commit(Create(key, claim(claims, key, state.timestamp())))
    except KeyExistsError:
        return  # another server has repaired it
    logger.warning("the IPAddress of Service %s/%s is made anew", claims.namespace, claims.name)


def _is_left_over(state: ServerState, item: Item) -> bool:
    """Return True for an allocator's IPAddress whose Service does not have it."""
    wire = item.wire
    if (wire["metadata"].get("labels") or {}).get(MANAGED_BY) != ALLOCATOR:
        return False
    service = _parent(state, item)
    return service is None or item.key not in claims_of(SERVICE, service.wire).keys


def _parent(state: ServerState, address: Item) -> Item | None:
    parent = (address.wire.get("spec") or {}).get("parentRef") or {}
    key = storage_key(SERVICE, parent.get("namespace", ""), parent.get("name", ""))
    return state.cache.of(SERVICE).get(key)


async def _delete(state: ServerState, item: Item) -> None:
    try:
        await state.store.commit(Delete(item.key, item.revision))
    except (KeyNotFoundError, RevisionConflictError):
        return  # it has just been changed
    logger.warning("IPAddress %s of no Service is deleted", item.wire["metadata"]["name"])
