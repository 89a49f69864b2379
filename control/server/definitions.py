"""Serve what CustomResourceDefinitions define: accept their names, establish them, empty them.

Every API server of a store does this; whoever comes second finds nothing to do. Source:
pkg/controller/{status,establish,finalizer} of k8s.io/apiextensions-apiserver.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from control.api.kinds import DEFINITION, Kind
from control.server.state.changes import changes
from control.server.state.server import ServerState
from control.server.verbs.delete import delete_with
from control.server.verbs.marking import CLEANUP, DeletionOptions, with_condition
from control.server.verbs.modify import rewrite
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo
from control.server.wire.item import Item, Wire
from control.server.wire.request import SELF, SERVER_AGENT, ApiRequest
from control.store.base import StoreError

logger = logging.getLogger(__name__)

_RETRY = 1.0
# The least time between two looks at objects that are on their way out.
_PAUSE = 0.05
_ESTABLISHED = {
    "type": "Established",
    "status": "True",
    "reason": "InitialNamesAccepted",
    "message": "the initial names have been accepted",
}
_NOT_ESTABLISHED = {
    "type": "Established",
    "status": "False",
    "reason": "NotAccepted",
    "message": "not all names are accepted",
}
_ENDING = {
    "type": "Terminating",
    "status": "True",
    "reason": "InstanceDeletionInProgress",
    "message": "CustomResource deletion is in progress",
}
_ENDED = {
    "": ("InstanceDeletionCompleted", "removed all instances"),
    "never": ("NeverEstablished", "resource was never established"),
    "overlap": (
        "OverlappingBuiltInResource",
        "instances overlap with built-in resources in storage",
    ),
}


async def follow(state: ServerState) -> None:
    """Look after all definitions, for ever; again whenever one changes."""
    async for _ in changes(state.cache, DEFINITION):
        looked = state.cache.revision
        while not await _settled(state):
            # Objects with finalizers are left: look again after the next change of anything.
            await state.cache.reach(looked + 1)
            await asyncio.sleep(_PAUSE)
            looked = state.cache.revision


async def _settled(state: ServerState) -> bool:
    """Do what is due now; return False if a definition still has objects that must go."""
    while True:
        try:
            return await _looked_after_all(state)
        except (StatusError, StoreError) as err:
            logger.warning("definitions: %s; trying again in %.0f s", err, _RETRY)
            await asyncio.sleep(_RETRY)


async def _looked_after_all(state: ServerState) -> bool:
    done = True
    for item in tuple(state.cache.of(DEFINITION).items()):
        try:
            done = await _look_after(state, item) and done
        except StatusError as err:
            if err.code not in (404, 409):  # else somebody has changed it: an event will come
                raise
        except StoreError:
            raise
        except Exception:  # a defect shown by one definition must not stop the others
            logger.exception("definition %s failed", item.wire["metadata"]["name"])
    return done


async def _look_after(state: ServerState, item: Item) -> bool:
    metadata = item.wire["metadata"]
    if "deletionTimestamp" not in metadata:
        if accepted(item.wire, _others(state, item), state.timestamp()) != item.wire:
            await _rewrite(state, item, partial(_accepted, state))
        return True
    if CLEANUP not in metadata.get("finalizers", ()):
        return True
    return await _finalize(state, item)


def _accepted(state: ServerState, item: Item) -> Wire:
    return accepted(item.fresh(), _others(state, item), state.timestamp())


def _now(state: ServerState) -> str:
    return state.timestamp()


def _others(state: ServerState, item: Item) -> list[Mapping[str, Any]]:
    """Return the other definitions of the same group."""
    group = item.wire["spec"]["group"]
    every = (each.wire for each in state.cache.of(DEFINITION).items() if each.key != item.key)
    return [each for each in every if each["spec"]["group"] == group]


async def _rewrite(state: ServerState, item: Item, change: Any) -> Item:
    info = RequestInfo("update", DEFINITION, "", item.wire["metadata"]["name"], "status")
    return await rewrite(state, ApiRequest(info, SELF, agent=SERVER_AGENT), change)


def accepted(wire: Wire | Mapping[str, Any], others: list[Mapping[str, Any]], now: str) -> Wire:
    """Return a definition with the names that it gets, and what its conditions say. Pure."""
    status, wanted = dict(wire.get("status") or {}), wire["spec"]["names"]
    old = status.get("acceptedNames") or {}
    names, (status_of, reason, why) = _names(wanted, old, others)
    if names == old and _has(status, "NamesAccepted", status_of, why):
        return dict(wire) | {"status": _established(status, now)}
    condition = {"type": "NamesAccepted", "status": status_of, "reason": reason, "message": why}
    status = with_condition(status | {"acceptedNames": names}, condition, now)
    return dict(wire) | {"status": _established(status, now)}


def _established(status: Wire, now: str) -> Wire:
    """Return the status with the condition Established; once true it stays."""
    if _has(status, "Established", "True"):
        return status
    if _has(status, "NamesAccepted", "True"):
        return with_condition(status, _ESTABLISHED, now)
    return with_condition(status, _NOT_ESTABLISHED, now)


def _has(status: Mapping[str, Any], kind: str, value: str, why: str | None = None) -> bool:
    for each in status.get("conditions") or ():
        if (each["type"], each["status"]) == (kind, value):
            return why is None or each.get("message") == why
    return False


def _names(
    wanted: Wire, old: Mapping[str, Any], others: list[Mapping[str, Any]]
) -> tuple[Wire, tuple[str, str, str]]:
    """Return the accepted names, and status, reason and message of the condition."""
    taken = [(each.get("status") or {}).get("acceptedNames") or {} for each in others]
    resources = {each.get(name) for each in taken for name in ("plural", "singular")}
    resources |= {short for each in taken for short in each.get("shortNames") or ()}
    kinds = {each.get(name) for each in taken for name in ("kind", "listKind")}
    made, found = dict(old), ("True", "NoConflicts", "no conflicts found")
    for name, used in (("plural", resources), ("singular", resources)):
        found = _take(made, wanted, old, name, used) or found
    new = [each for each in wanted.get("shortNames") or () if each not in old.get("shortNames", ())]
    if clashes := [each for each in new if each in resources]:
        why = ", ".join(f'"{each}" is already in use' for each in dict.fromkeys(clashes))
        found = "False", "ShortNamesConflict", why if len(clashes) == 1 else f"[{why}]"
    else:
        _set(made, "shortNames", wanted.get("shortNames"))
    for name, used in (("kind", kinds), ("listKind", kinds)):
        found = _take(made, wanted, old, name, used) or found
    _set(made, "categories", wanted.get("categories"))
    return made, found


def _take(
    made: Wire, wanted: Wire, old: Mapping[str, Any], name: str, used: set[Any]
) -> tuple[str, str, str] | None:
    """Take a name if it is free; return the condition if it is not."""
    asked = wanted.get(name, "")
    if asked != old.get(name, "") and asked in used:
        return "False", f"{name[0].upper()}{name[1:]}Conflict", f'"{asked}" is already in use'
    _set(made, name, asked)
    return None


def _set(made: Wire, name: str, value: Any) -> None:
    if value:
        made[name] = value
    else:
        made.pop(name, None)


async def _finalize(state: ServerState, item: Item) -> bool:
    """Delete the objects of a definition, then let it go; return False if some are left."""
    wire = item.wire
    why = ""
    if state.cache.kinds.is_built_in(wire["spec"]["group"], wire["spec"]["names"]["plural"]):
        why = "overlap"
    elif not _has(wire.get("status") or {}, "Established", "True"):
        why = "never"
    else:
        await _rewrite(state, item, partial(_with, _ENDING, (), _now(state)))
        if await _left(state, _stored_kind(wire)):
            return False
    reason, message = _ENDED[why]
    ended = {"type": "Terminating", "status": "False", "reason": reason, "message": message}
    await _rewrite(state, item, partial(_with, ended, (CLEANUP,), _now(state)))
    return True


def _with(condition: Wire, without: tuple[str, ...], now: str, item: Item) -> Wire:
    """Return a definition with a condition, and without some finalizers."""
    wire = item.fresh()
    wire["status"] = with_condition(wire.get("status") or {}, condition, now)
    if without:
        metadata = wire["metadata"]
        left = [name for name in metadata.get("finalizers", ()) if name not in without]
        _set(metadata, "finalizers", left)
    return wire


def _stored_kind(wire: Mapping[str, Any]) -> Kind:
    """Return the kind of a definition's objects in the version that they are stored in."""
    from control.api.custom.kind import kind_of

    spec = dict(wire["spec"]) | {"conversion": {"strategy": "None"}}  # no webhook need be there
    stored = next(each["name"] for each in spec["versions"] if each["storage"])
    return kind_of(spec, wire["status"]["acceptedNames"], stored)


async def _left(state: ServerState, kind: Kind) -> int:
    """Delete all objects of a kind; return how many are still there."""
    await state.cache.fresh()
    for each in tuple(state.cache.of(kind).items()):
        metadata = each.wire["metadata"]
        if "deletionTimestamp" in metadata:
            continue
        info = RequestInfo("delete", kind, metadata.get("namespace", ""), metadata["name"])
        request = ApiRequest(info, SELF, agent=SERVER_AGENT)
        try:
            await delete_with(state, request, DeletionOptions())
        except StatusError as err:
            if err.code != 404:  # else somebody else has removed it
                raise
    await state.cache.fresh()
    return sum(1 for _ in state.cache.of(kind).items())
