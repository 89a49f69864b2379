"""DELETE: one object, or every object of a collection that selectors want."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import Any

from control.api.kinds import NAMESPACE
from control.server.state.world import Call, World
from control.server.verbs import prepare
from control.server.verbs.marking import PROPAGATIONS, Options, finished, mark
from control.server.verbs.modify import retried
from control.server.verbs.read import Listing, list_objects
from control.server.verbs.write import remove, replace
from control.server.wire import errors
from control.server.wire.decode import read_object
from control.server.wire.errors import Refused
from control.server.wire.item import Item, encode_object

# NamespaceLifecycle admission
_FOREVER = ("default", "kube-public", "kube-system")


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion led to: the object, and whether it is gone."""

    item: Item
    gone: bool


async def delete(world: World, call: Call) -> Deleted:
    """Remove an object, or mark it; raises Refused (400, 403, 404, 409)."""
    return await delete_with(world, call, parse_options(call))


async def delete_collection(world: World, call: Call) -> Listing:
    """Remove or mark every object of a collection; raises Refused (400)."""
    options = parse_options(call)
    listing = await list_objects(world, call)
    for item in listing.items:
        metadata = item.wire["metadata"]
        info = changed(call.info, name=metadata["name"], namespace=metadata.get("namespace", ""))
        try:
            await delete_with(world, changed(call, info=info), options)
        except Refused as err:
            if err.code != 404:  # else somebody else has removed it meanwhile
                raise
    return listing


async def delete_with(world: World, call: Call, options: Options) -> Deleted:
    """Remove an object, or mark it, as options say; raises Refused (403, 404, 409)."""
    if call.info.kind is NAMESPACE and call.info.name in _FOREVER:
        raise errors.forbidden(NAMESPACE, call.info.name, "this namespace may not be deleted")

    async def once(item: Item) -> Deleted:
        _check_preconditions(call, item, options)
        return await _remove_or_mark(world, call, item, options)

    return await retried(world, call, once)


async def _remove_or_mark(world: World, call: Call, item: Item, options: Options) -> Deleted:
    wire = mark(call.info.kind, item.wire, options, world.now())
    if finished(wire):
        if options.dry_run:
            return Deleted(item, gone=True)
        return Deleted(await remove(world, call.info, item), gone=True)
    if prepare.same(item.wire, wire):
        return Deleted(item, gone=False)
    if options.dry_run:
        return Deleted(Item(item.key, item.revision, encode_object(wire)), gone=False)
    return Deleted(await replace(world, call.info, item, wire), gone=False)


def _check_preconditions(call: Call, item: Item, options: Options) -> None:
    uid = item.wire["metadata"]["uid"]
    if options.uid and options.uid != uid:
        why = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {uid}"
        raise errors.conflict(call.info.kind, call.info.name, why)
    if options.version and options.version != str(item.revision):
        why = (
            f"Precondition failed: ResourceVersion in precondition: {options.version},"
            f" ResourceVersion in object meta: {item.revision}"
        )
        raise errors.conflict(call.info.kind, call.info.name, why)


def parse_options(call: Call) -> Options:
    """The DeleteOptions of a request: its body's, else its query's; raises Refused (400)."""
    if call.body:
        return read_options(call, read_object(call.body, call.content_type))
    grace = call.query.get("gracePeriodSeconds")
    given = {
        "gracePeriodSeconds": None if grace is None else call.number("gracePeriodSeconds"),
        "propagationPolicy": call.query.get("propagationPolicy"),
    }
    return read_options(call, given)


def read_options(call: Call, given: Mapping[str, Any]) -> Options:
    """DeleteOptions of a JSON object; raises Refused (400)."""
    preconditions = given.get("preconditions", {})
    if not isinstance(preconditions, dict):
        raise errors.bad_request("preconditions must be an object")
    return Options(
        grace=_grace(given.get("gracePeriodSeconds")),
        propagation=_propagation(given),
        uid=str(preconditions.get("uid", "")),
        version=str(preconditions.get("resourceVersion", "")),
        dry_run=call.dry_run or given.get("dryRun") == ["All"],
    )


def _grace(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise errors.bad_request(f"gracePeriodSeconds must be a number, not {value!r}")


def _propagation(given: Mapping[str, Any]) -> str:
    value = given.get("propagationPolicy")
    if value is None and "orphanDependents" in given:
        return "Orphan" if given["orphanDependents"] else "Background"
    if value and value not in PROPAGATIONS:
        raise errors.bad_request(
            f'DeleteOptions "" is invalid: propagationPolicy: Unsupported value: "{value}":'
            f" supported values: {', '.join(PROPAGATIONS)}"
        )
    return value or ""
