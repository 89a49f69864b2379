"""Commit a request's change to the store; store errors become StatusErrors."""

from collections.abc import Mapping
from typing import Any

from control.server.state.server import ServerState
from control.server.verbs.allocation.claims import claim_changes
from control.server.wire import errors
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo, storage_key
from control.server.wire.item import Item, encode_object, restamp, stamp
from control.store.base import (
    Create,
    Delete,
    KeyExistsError,
    KeyNotFoundError,
    RevisionConflictError,
    StoreError,
    Update,
    Write,
)


async def insert(state: ServerState, info: RequestInfo, wire: Mapping[str, Any]) -> Item:
    """Store a new object; raises StatusError (409, 503)."""
    key = storage_key(info.kind, info.namespace, info.name)
    value = encode_object(wire)
    revision = await _commit(state, info, Create(key, value), None, wire)
    return stamp(key, value, revision)


async def replace(
    state: ServerState, info: RequestInfo, old: Item, wire: Mapping[str, Any]
) -> Item:
    """Store a new version if the old one is still current; raises StatusError (409, 503)."""
    value = encode_object(wire)
    revision = await _commit(state, info, Update(old.key, value, old.revision), old.wire, wire)
    return stamp(old.key, value, revision)


async def remove(state: ServerState, info: RequestInfo, old: Item) -> Item:
    """Remove an object if this version is still current, and return its last version.

    Raises StatusError (409, 503).
    """
    revision = await _commit(state, info, Delete(old.key, old.revision), old.wire, None)
    return restamp(old, revision)


async def _commit(
    state: ServerState,
    info: RequestInfo,
    change: Write,
    old: Mapping[str, Any] | None,
    new: Mapping[str, Any] | None,
) -> int:
    """Commit a write with its claims; a claim of another Service is a conflict."""
    claims = claim_changes(info.kind, old, new, state.cache.claims)
    try:
        return await state.store.commit(change, *claims)
    except StoreError as err:
        raise _refusal(info, err, is_claim=getattr(err, "key", change.key) != change.key) from err


def _refusal(info: RequestInfo, err: StoreError, *, is_claim: bool) -> StatusError:
    if isinstance(err, RevisionConflictError) or is_claim:
        return errors.conflict(info.kind, info.name, again=True)
    if isinstance(err, KeyExistsError):
        return errors.already_exists(info.kind, info.name)
    if isinstance(err, KeyNotFoundError):
        return errors.not_found(info.kind, info.name)
    return errors.unavailable(f"{info.verb} {errors.resource(info.kind)} {info.name!r}: {err}")
