"""Commit a request's change to the store; store errors become StatusErrors."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from control.api.forms.convert import kept
from control.api.kinds import SERVICE, Kind
from control.server.state.server import ServerState
from control.server.verbs.allocation.claims import Claims, claim_changes, claims_of
from control.server.wire import errors
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo, storage_key
from control.server.wire.item import Item, encode_object, restamp, stamp
from control.store.base import (
    MAX_BYTES,
    Create,
    Delete,
    KeyExistsError,
    KeyNotFoundError,
    RevisionConflictError,
    StoreError,
    StoreFullError,
    TooLargeError,
    Update,
    Write,
)

# The quotas' next versions: they are committed with the object that uses them, or it is not.
Charges = tuple[Update, ...]


class ChargeError(Exception):
    """A quota has changed since its charge was computed; nothing was written."""

    def __init__(self, key: str) -> None:
        super().__init__(f"charge {key}: it has changed")
        self.name = key.rpartition("/")[2]


class Draft(Struct, frozen=True):
    """An encoded object that is not stored yet, and the claims of its kind."""

    name: str
    value: bytes
    claims: Claims


def draft(kind: Kind, wire: Mapping[str, Any], managed: bytes = b"") -> Draft:
    """Encode an object and its managers; raises StatusError (500) if the store cannot hold them."""
    if kind.form is not None:
        wire = kept(kind, wire)
    if kind.custom is not None and not kind.custom.converts:
        wire = dict(wire) | {"apiVersion": kind.custom.stored_version}
    value = encode_object(wire, managed)
    made = Draft(wire["metadata"]["name"], value, claims_of(kind, wire))
    if len(made.value) > MAX_BYTES:
        raise errors.larger_than_etcd()
    return made


def seen(state: ServerState, kind: Kind, new: Draft) -> dict[str, Any]:
    """Return a draft as its kind shows it, with the managers of its fields."""
    return state.cache.seen(kind, Item.of("", 0, new.value)).whole()


async def insert(state: ServerState, info: RequestInfo, new: Draft, charges: Charges = ()) -> Item:
    """Store a new object; raises StatusError (409, 500, 503) and ChargeError."""
    key = storage_key(info.kind, info.namespace, new.name)
    new = await _stored(state, info.kind, new)
    change = Create(key, new.value)
    revision = await _commit(state, info, change, Claims(), new.claims, charges)
    return state.cache.seen(info.kind, stamp(key, new.value, revision))


async def replace(
    state: ServerState, info: RequestInfo, old: Item, new: Draft, charges: Charges = ()
) -> Item:
    """Store a new version if the old one is still current.

    Raises StatusError (409, 500, 503) and ChargeError.
    """
    new = await _stored(state, info.kind, new)
    change = Update(old.key, new.value, old.revision)
    revision = await _commit(state, info, change, _held_by(info, old), new.claims, charges)
    return state.cache.seen(info.kind, stamp(old.key, new.value, revision))


async def _stored(state: ServerState, kind: Kind, new: Draft) -> Draft:
    """Return a draft as it is stored: a webhook may convert it; raises StatusError (500)."""
    if kind.custom is None or not kind.custom.converts:
        return new
    return Draft(new.name, await state.cache.converter.keep(kind, new.value), new.claims)


async def remove(state: ServerState, info: RequestInfo, old: Item) -> Item:
    """Remove an object if this version is still current, and return its last version.

    Raises StatusError (409, 503).
    """
    change = Delete(old.key, old.revision)
    revision = await _commit(state, info, change, _held_by(info, old), Claims())
    return restamp(old, revision)


def _held_by(info: RequestInfo, old: Item) -> Claims:
    return claims_of(info.kind, old.wire) if info.kind is SERVICE else Claims()


async def _commit(
    state: ServerState,
    info: RequestInfo,
    change: Write,
    old: Claims,
    new: Claims,
    charges: Charges = (),
) -> int:
    """Commit a write with its claims and charges; a claim of another Service is a conflict."""
    claims = claim_changes(old, new, state.cache.claims, state.timestamp())
    try:
        return await state.store.commit(change, *claims, *charges)
    except StoreError as err:
        key = getattr(err, "key", "")  # of what stood in the way, if one thing did
        if any(charge.key == key for charge in charges):
            raise ChargeError(key) from err
        raise _refusal(info, err, is_claim=key not in ("", change.key)) from err


def _refusal(info: RequestInfo, err: StoreError, *, is_claim: bool) -> StatusError:
    if isinstance(err, RevisionConflictError) or is_claim:
        return errors.conflict(info.kind, info.name, again=True)
    if isinstance(err, KeyExistsError):
        return errors.already_exists(info.kind, info.name)
    if isinstance(err, KeyNotFoundError):
        return errors.not_found(info.kind, info.name)
    if isinstance(err, TooLargeError):
        return errors.larger_than_etcd()
    if isinstance(err, StoreFullError):
        return errors.out_of_space()
    return errors.unavailable(f"{info.verb} {errors.resource(info.kind)} {info.name!r}: {err}")
