"""The objects of a write in another version of their resource."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from control.api.forms.convert import kept
from control.api.kind import Kind
from control.server.admission.asked import Asked
from control.server.state.gate import Change
from control.server.state.server import ServerState
from control.server.wire.item import Item, Wire, encode_object


async def converted(state: ServerState, asked: Asked, kind: Kind) -> Asked:
    """Return a write whose objects have another kind."""
    change = asked.change
    if change.kind is kind or change.kind not in asked.versions:
        return asked
    make = _asked if kind.custom is not None and kind.custom.converts else _renamed
    new = await make(state, change.kind, kind, change.new)
    old = await make(state, change.kind, kind, change.old)
    return replace(asked, change=Change(kind, new, old))


async def _asked(
    state: ServerState, have: Kind, want: Kind, wire: Mapping[str, Any] | None
) -> Wire | None:
    """Return an object that a conversion webhook has converted; raises StatusError (500)."""
    if wire is None or have is want:
        return None if wire is None else dict(wire)
    managed = wire["metadata"].get("managedFields")
    value = encode_object(wire, orjson.dumps(managed) if managed else b"")
    item = Item.of("", 0, value)
    await state.cache.converter.show(want, [item])
    return state.cache.seen(want, item).whole()


async def _renamed(
    state: ServerState, have: Kind, want: Kind, wire: Mapping[str, Any] | None
) -> Wire | None:
    if wire is None:
        return None
    stored = kept(have, wire)
    if have.custom is not None:
        stored |= {"apiVersion": have.custom.stored_version}
    managed = wire["metadata"].get("managedFields")
    shown = state.cache.seen(want, Item.of("", 0, encode_object(stored))).fresh()
    if managed:
        shown["metadata"]["managedFields"] = managed
    return shown
