"""Keep IPAddresses and Services alike: each address of a Service has one, and none is left over.

A commit that writes a Service writes them, too. What is repaired here was made by an older server,
or by somebody who has deleted an IPAddress. Source: upstream's repairip controller.
"""

import logging

from control.api.kinds import SERVICE, SERVICE_ADDRESS
from control.api.ranges import ALLOCATOR, MANAGED_BY
from control.server.state.server import ServerState
from control.server.state.strides import strides
from control.server.state.watch_cache import ADDRESSES, CLAIMS
from control.server.verbs.allocation.claims import Claims, claim, claims_of
from control.server.wire.info import storage_key
from control.server.wire.item import Item
from control.store.base import (
    Create,
    Delete,
    KeyExistsError,
    KeyNotFoundError,
    RevisionConflictError,
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
    parent = (wire.get("spec") or {}).get("parentRef") or {}
    key = storage_key(SERVICE, parent.get("namespace", ""), parent.get("name", ""))
    service = state.cache.of(SERVICE).get(key)
    return service is None or item.key not in claims_of(SERVICE, service.wire).keys


async def _delete(state: ServerState, item: Item) -> None:
    try:
        await state.store.commit(Delete(item.key, item.revision))
    except (KeyNotFoundError, RevisionConflictError):
        return  # it has just been changed
    logger.warning("IPAddress %s of no Service is deleted", item.wire["metadata"]["name"])
