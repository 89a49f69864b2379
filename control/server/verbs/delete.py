"""Delete one object, or the selected objects of a collection (DELETE)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace as changed

from control.api import field
from control.api.kind import Kind
from control.api.kinds import NAMESPACE, POD
from control.api.types.conform import conform_message
from control.api.types.scalars import WrongTypeError
from control.server.state.gate import DELETE, Change, admitted
from control.server.state.server import ServerState
from control.server.verbs import prepare
from control.server.verbs.marking import PROPAGATIONS, DeletionOptions, finished, mark
from control.server.verbs.modify import retried
from control.server.verbs.read import ObjectListing, list_objects
from control.server.verbs.write import draft, remove, replace
from control.server.wire import errors
from control.server.wire.decode import read_message
from control.server.wire.errors import StatusError
from control.server.wire.item import Item, Wire, encode_object, stamp
from control.server.wire.request import ApiRequest

# The kinds whose end is answered with the object: ReturnDeletedObject in upstream's pkg/registry.
_RETURNED = {
    ("", "Namespace"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "Pod"),
    ("", "PodTemplate"),
    ("", "ResourceQuota"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("resource.k8s.io", "DeviceClass"),
    ("resource.k8s.io", "ResourceClaim"),
    ("resource.k8s.io", "ResourceClaimTemplate"),
    ("resource.k8s.io", "ResourceSlice"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
    ("storage.k8s.io", "VolumeAttributesClass"),
}
# NamespaceLifecycle admission
_FOREVER = ("default", "kube-public", "kube-system")


class Deleted(Struct, frozen=True):
    """The result of a deletion: ``gone`` is False while the object is still ending.

    An object that is gone is as it was last, with the marks of a deletion if its kind has a grace.
    """

    item: Item
    gone: bool
    accepted: bool = False  # not gone, though the client asked for all that it owns to go, too


def returns_object(kind: Kind) -> bool:
    """Return True if the answer to the end of such an object is the object, not a Status."""
    return (kind.group, kind.name) in _RETURNED


async def delete(state: ServerState, request: ApiRequest) -> Deleted:
    """Remove an object or mark it as being deleted; raises StatusError (400, 403, 404, 409)."""
    return await delete_with(state, request, parse_options(request))


async def delete_collection(state: ServerState, request: ApiRequest) -> ObjectListing:
    """Remove or mark every selected object of a collection; raises StatusError (400)."""
    options = parse_options(request)
    listing = await list_objects(state, request)
    for item in listing.items:
        metadata = item.wire["metadata"]
        info = changed(request.info, name=metadata["name"], namespace=metadata.get("namespace", ""))
        try:
            await delete_with(state, changed(request, info=info), options)
        except StatusError as err:
            if err.code != 404:  # 404: another request has removed it
                raise
    return listing


async def delete_with(state: ServerState, request: ApiRequest, options: DeletionOptions) -> Deleted:
    """Remove or mark an object as the options say; raises StatusError (403, 404, 409)."""
    if request.info.kind is NAMESPACE and request.info.name in _FOREVER:
        raise errors.forbidden(NAMESPACE, request.info.name, "this namespace may not be deleted")

    async def once(item: Item) -> Deleted:
        check_preconditions(request, item, options)
        if not request.info.subresource:  # an eviction is asked about as such
            await admitted(state, request, DELETE, Change(request.info.kind, None, item.whole()))
        state.guard.check(request, item, None)
        deleted = await _remove_or_mark(state, request, item, options)
        return changed(deleted, accepted=options.cascades and not deleted.gone)

    return await retried(state, request, once)


async def _remove_or_mark(
    state: ServerState, request: ApiRequest, item: Item, options: DeletionOptions
) -> Deleted:
    wire = mark(request.info.kind, item.wire, options, state.now())
    if finished(wire):
        last = item if options.dry_run else await remove(state, request.info, item)
        if request.info.kind is POD:
            last = stamp(last.key, encode_object(wire, last.managed), last.revision)
        return Deleted(last, gone=True)
    if prepare.same(item.wire, wire):
        return Deleted(item, gone=False)
    if options.dry_run:
        left = stamp(item.key, encode_object(wire, item.managed), item.revision)
        return Deleted(left, gone=False)
    new = draft(request.info.kind, wire, item.managed)
    return Deleted(await replace(state, request.info, item, new), gone=False)


def check_preconditions(request: ApiRequest, item: Item, options: DeletionOptions) -> None:
    """Refuse to delete another object than was meant; raises StatusError (409)."""
    uid = item.wire["metadata"]["uid"]
    if options.uid and options.uid != uid:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({uid})."
            " The object might have been deleted and then recreated"
        )
        raise _unmet(request, why)
    if options.version and options.version != str(item.revision):
        why = (
            f"the ResourceVersion in the precondition ({options.version}) does not match the"
            f" ResourceVersion in record ({item.revision}). The object might have been modified"
        )
        raise _unmet(request, why)


def _unmet(request: ApiRequest, why: str) -> StatusError:
    """Return the conflict of a precondition: as upstream's, it names the kind."""
    kind = request.info.kind
    return errors.conflict(dataclasses.replace(kind, plural=kind.name), request.info.name, why)


def parse_options(request: ApiRequest) -> DeletionOptions:
    """Read DeleteOptions from a request's body, else its query; raises StatusError (400, 422)."""
    if not request.body.empty:
        return read_options(request, _given(request.body.object()))
    given: dict[str, Any] = {}
    if "gracePeriodSeconds" in request.query:
        given["gracePeriodSeconds"] = request.number("gracePeriodSeconds")
    if "propagationPolicy" in request.query:
        given["propagationPolicy"] = request.query["propagationPolicy"]
    if "orphanDependents" in request.query:
        given["orphanDependents"] = request.flag("orphanDependents")
    return read_options(request, given)


def _given(wire: Wire) -> Wire:
    """Read DeleteOptions; raises StatusError (400), in other words than of any other body."""
    if wire.get("kind", "DeleteOptions") != "DeleteOptions":
        return read_message("meta.DeleteOptions", wire)  # which refuses it
    try:
        return conform_message("meta.DeleteOptions", wire)[0]
    except WrongTypeError as err:
        raise errors.bad_request(str(err)) from err


def read_options(request: ApiRequest, given: Mapping[str, Any]) -> DeletionOptions:
    """Return what DeleteOptions of the right types ask for; raises StatusError (422)."""
    if found := _errors(given):
        raise errors.invalid_options("DeleteOptions", found)
    preconditions = given.get("preconditions", {})
    return DeletionOptions(
        grace=given.get("gracePeriodSeconds"),
        propagation=_propagation(given),
        uid=preconditions.get("uid", ""),
        version=preconditions.get("resourceVersion", ""),
        dry_run=request.dry_run or given.get("dryRun") == ["All"],
        cascades=given.get("orphanDependents") is False,
    )


def _errors(given: Mapping[str, Any]) -> list[field.FieldError]:
    """Return what is wrong with DeleteOptions; see ValidateDeleteOptions in apimachinery."""
    found, policy = [], given.get("propagationPolicy")
    if policy is not None and given.get("orphanDependents") is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        found.append(field.invalid("propagationPolicy", policy, why))
    if policy is not None and policy not in PROPAGATIONS:
        known = ", ".join(f'"{name}"' for name in (*PROPAGATIONS, "nil"))
        text = f"supported values: {known}"
        found.append(field.FieldError(field.NOT_SUPPORTED, "propagationPolicy", text, policy))
    dry = given.get("dryRun") or []
    if any(each != "All" for each in dry):
        found.append(field.not_supported("dryRun", dry, ["All"]))
    return found


def _propagation(given: Mapping[str, Any]) -> str:
    orphan = given.get("orphanDependents")
    if orphan is not None:
        return "Orphan" if orphan else "Background"
    return given.get("propagationPolicy") or ""
