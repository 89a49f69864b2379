"""Change an existing object, for update, patch and the subresources."""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace as changed
from orjson import Fragment

from control.api import field
from control.api.apply.managers import same as same_managers
from control.api.errors import (
    errors_in_ephemeral,
    errors_in_resize,
    errors_in_status,
    errors_in_update,
)
from control.api.kinds import DEFINITION, POD, PRIORITY_CLASS, SERVICE, Kind
from control.api.limits import CLAIM
from control.api.meta import Object
from control.api.rules import rules_of
from control.api.validation.certificates import validate_signing_status
from control.api.warnings.table import warnings_of
from control.server.state.gate import UPDATE, Change
from control.server.state.server import ServerState
from control.server.state.workers.compute import compute
from control.server.verbs import ephemeral, fields, podsecurity, prepare, priority, resize
from control.server.verbs.admission import admit_claim_update, admit_update
from control.server.verbs.allocation.service import allocate
from control.server.verbs.marking import finished
from control.server.verbs.quota import within_quota
from control.server.verbs.read import find
from control.server.verbs.scale import scale_of, set_replicas
from control.server.verbs.write import Charges, Draft, draft, remove, replace, seen
from control.server.wire import errors
from control.server.wire.decode import as_stored, parse, read, stored
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo
from control.server.wire.item import Item, Wire, encode_object, stamp
from control.server.wire.request import ApiRequest

_T = TypeVar("_T")
SCALE_NAME = "scale"
SCALE = Kind("autoscaling", "v1", "Scale", "scales", Object)

# A patch that conflicts with another write is applied again, to the newer version.
_TRIES = 8


class Written(Struct, frozen=True):
    """The result of a write: the stored object, and warnings for the client."""

    item: Item
    created: bool = False
    warnings: tuple[str, ...] = ()


class Edited(Struct, frozen=True):
    """The object as a client wants it to be."""

    wire: Wire  # of its kind: see ``check_type``
    warnings: tuple[str, ...] = ()
    managed: bytes | None = None  # the managers after an apply


# A function of a module, or a partial of one: for a large object it runs in another process.
Edit = Callable[[ServerState, ApiRequest, Item], Edited]


async def modify(state: ServerState, request: ApiRequest, edit: Edit) -> Written:
    """Store the object that ``edit`` returns; raises StatusError (404, 409, 422).

    An edit without a resourceVersion is repeated after a conflict with another write.
    """

    async def once(old: Item) -> Written:
        made = await _revised_and_admitted(state, request, old, edit)
        with errors.warning(*made.warnings):
            return Written(await _store(state, request, old, made), warnings=made.warnings)

    return await retried(state, request, once)


async def _revised_and_admitted(
    state: ServerState, request: ApiRequest, old: Item, edit: Edit
) -> "_Revision":
    """Return the next version of an object, after all that is asked about it."""
    review = state.gate.review(state, request, UPDATE)
    if review is None:
        return await compute(state, request, _revised, old, edit)
    if review.mutates:
        open_request = changed(request, unchecked=True)
        first = await compute(state, open_request, _revised, old, edit)
        with errors.warning(*first.warnings):
            shown = change_of(state, request, old, first.draft)
            wire = await review.mutate(shown) or {}  # an update always has an object
        if request.info.subresource == SCALE_NAME and first.draft is not None:
            wire = _with_replicas(state, request, first.draft, wire)
        made = await compute(state, request, _changed_by_admission, old, first, wire)
    else:
        made = await compute(state, request, _revised, old, edit)
    with errors.warning(*made.warnings):
        await review.validate(change_of(state, request, old, made.draft))
    return made


def change_of(state: ServerState, request: ApiRequest, old: Item, new: Draft | None) -> Change:
    """Return an update as it is asked about; without a draft nothing changes."""
    kind, before = request.info.kind, old.whole()
    after = old.whole() if new is None else seen(state, kind, new)
    if request.info.subresource == SCALE_NAME:
        return Change(SCALE, scale_of(kind, after), scale_of(kind, before))
    return Change(kind, after, before)


def _with_replicas(state: ServerState, request: ApiRequest, new: Draft, scale: Wire) -> Wire:
    """Return a workload with the replicas of a Scale that admission has changed."""
    wire = seen(state, request.info.kind, new)
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    set_replicas(request.info.kind, wire, replicas if type(replicas) is int else 0)
    return wire


async def rewrite(
    state: ServerState,
    request: ApiRequest,
    change: Callable[[Item], Wire],
    *,
    manages: bool = False,
) -> Item:
    """Store a change that the server itself makes; raises StatusError (404, 409).

    ``manages``: the client manages the fields that change; else nobody does.
    """

    async def once(old: Item) -> Item:
        wire = change(old)
        managed = old.managed
        if manages:
            managed = fields.after_update(request, old, wire, state.timestamp())
        if request.dry_run or prepare.same(old.wire, wire):
            return stamp(old.key, encode_object(wire, managed), old.revision)
        made = draft(request.info.kind, wire, managed)
        if finished(wire):
            return await _end(state, request, old, made)
        return await replace(state, request.info, old, made)

    return await retried(state, request, once)


async def retried(
    state: ServerState, request: ApiRequest, once: Callable[[Item], Awaitable[_T]]
) -> _T:
    """Call ``once`` with the present object, again after each conflict with another write."""
    for _ in range(_TRIES):
        await state.cache.fresh()
        try:
            return await once(find(state, request.info))
        except StatusError as err:
            if not err.again:
                raise
            last = err
    raise last


# The part of a client's object that counts, for subresources that change a part of a Pod.
_NARROWED: Mapping[str, Callable[[Mapping[str, Any], Wire], Wire]] = {
    ephemeral.SUBRESOURCE: ephemeral.narrowed,
    resize.SUBRESOURCE: resize.narrowed,
}


class _Revision(Struct, frozen=True):
    """A valid next version of an object; ``draft`` None means that nothing changes."""

    draft: Draft | None
    ends: bool  # True if it removes the last finalizer
    warnings: tuple[str, ...]


def _revised(state: ServerState, request: ApiRequest, old: Item, edit: Edit) -> _Revision:
    request = request.decoded()
    edited, before = edit(state, request, old), old.wire
    with errors.warning(*edited.warnings):
        _check_identity(request, old, before, edited.wire)
        new = _named(request, edited.wire)
        # As upstream, a manager also gets the fields that are dropped then.
        managed = _managed(state, request, old, edited, new)
        return _completed(state, request, old, new, managed, edited.warnings)


def _changed_by_admission(
    state: ServerState, request: ApiRequest, old: Item, first: _Revision, wire: Wire
) -> _Revision:
    """Return the next version of an object that admission has changed; raises StatusError."""
    with errors.warning(*first.warnings):
        if (name := wire["metadata"].get("name")) != request.info.name:
            raise errors.name_mismatch(str(name or ""), request.info.name)
        new = _named(request, read(request.info.kind, wire)[0])
        managed = Item.of("", 0, first.draft.value).managed if first.draft else old.managed
        return _completed(state, request, old, new, managed, first.warnings)


def _completed(
    state: ServerState,
    request: ApiRequest,
    old: Item,
    new: Wire,
    managed: bytes,
    warned: tuple[str, ...],
) -> _Revision:
    """Complete and validate the next version of an object; raises StatusError."""
    before = old.wire
    if narrow := _NARROWED.get(request.info.subresource):
        new = narrow(before, new)
    before = as_stored(request.info.kind, before)
    wire = _next_version(state, request, before, as_stored(request.info.kind, new))
    if request.unchecked:
        return _Revision(draft(request.info.kind, wire, managed), False, warned)
    _validate(request, before, wire)
    if request.info.subresource == resize.SUBRESOURCE:
        resize.check(state, request, before, wire)
    custom = request.info.kind.custom is not None
    if not request.info.subresource and (custom or _content_differs(before, wire)):
        warned += warnings_of(request.info.kind, wire, before)
    if prepare.same(before, wire) and same_managers(old.managed, managed):
        return _Revision(None, finished(wire), warned)
    made = draft(request.info.kind, wire, managed)
    if request.info.kind is not POD and not request.info.subresource:
        warned += podsecurity.warnings(state, request, wire)
    return _Revision(made, finished(wire), warned)


async def _store(state: ServerState, request: ApiRequest, old: Item, made: _Revision) -> Item:
    if made.draft is None:
        return old
    new = made.draft
    state.guard.check(request, old, new.value)

    async def commit(charges: Charges) -> Item:
        if request.dry_run:
            shown = stamp(old.key, new.value, old.revision)
            return state.cache.seen(request.info.kind, shown)
        return await replace(state, request.info, old, new, charges)

    if made.ends and not request.dry_run:
        return await _end(state, request, old, new)
    return await within_quota(state, request, new.value, old, commit)


async def _end(state: ServerState, request: ApiRequest, old: Item, last: Draft) -> Item:
    """Remove an object whose last finalizer this write removes; return the written version."""
    gone = await remove(state, request.info, old)
    return state.cache.seen(request.info.kind, stamp(old.key, last.value, gone.revision))


def _check_identity(request: ApiRequest, old: Item, before: Mapping[str, Any], new: Wire) -> None:
    """Refuse an object that is not the one the URL names (400), or that has changed (409)."""
    info, metadata = request.info, new["metadata"]
    name = metadata.get("name")
    if not name:
        raise errors.undeterminable_name(info.name)
    if name != info.name:
        raise errors.name_mismatch(name, info.name)
    if info.kind.namespaced and metadata.get("namespace", info.namespace) != info.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    uid = before["metadata"]["uid"]
    if metadata.get("uid", uid) != uid and info.verb == "patch":
        immutable = field.invalid("metadata.uid", metadata["uid"], "field is immutable")
        raise errors.invalid(info.kind, name, [immutable])
    if metadata.get("uid", uid) != uid:
        raise errors.conflict(info.kind, name, _other_uid(info, metadata["uid"], uid))
    if (version := _version(new)) and version != str(old.revision):
        raise errors.conflict(info.kind, name)
    if not version and info.verb == "update" and _needs_version(info):
        raise _version_missing(info.kind, name)


def _other_uid(info: RequestInfo, given: str, uid: str) -> str:
    """Say that a PUT is of another object, as upstream's store does."""
    key = "/".join(filter(None, ("", info.kind.plural, info.namespace, info.name)))
    return (
        f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0,"
        f" AdditionalErrorMsg: Precondition failed: UID in precondition: {given},"
        f" UID in object meta: {uid}"
    )


# Whose strategies in upstream's pkg/registry have AllowUnconditionalUpdate false.
_CONDITIONAL = {
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("coordination.k8s.io", "Lease"),
    ("node.k8s.io", "RuntimeClass"),
    ("policy", "PodDisruptionBudget"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "CSIStorageCapacity"),
    ("storage.k8s.io", "VolumeAttachment"),
}


def _needs_version(info: RequestInfo) -> bool:
    """Return True for kinds that a PUT changes only if it names the version that it changes."""
    if info.subresource == "scale":
        return False
    kind = info.kind
    return kind.custom is not None or kind is DEFINITION or (kind.group, kind.name) in _CONDITIONAL


def _version_missing(kind: Kind, name: str) -> StatusError:
    """Return the error (422): of built-in kinds it names the resource, and the number 0."""
    path, why = "metadata.resourceVersion", "must be specified for an update"
    if kind.custom is not None or kind is DEFINITION:
        return errors.invalid(kind, name, [field.invalid(path, Fragment(b"0x0"), why)])
    named = dataclasses.replace(kind, name=kind.plural)
    return errors.invalid(named, name, [field.invalid(path, 0, why)])


def _version(wire: Wire) -> str:
    """Return the resourceVersion that a client requires; empty for none."""
    version = wire["metadata"].get("resourceVersion") or ""
    return "" if version == "0" else str(version)


def _named(request: ApiRequest, new: Wire) -> Wire:
    """Return the client's object with its name, and its defaults unless only its status counts."""
    new = new | {"metadata": new["metadata"] | {"name": request.info.name}}
    if request.info.subresource == "status":
        return new
    return rules_of(request.info.kind).default(new)


def _content_differs(before: Mapping[str, Any], wire: Wire) -> bool:
    """Return True if what upstream warns of may have changed; of a Service, all is looked at."""
    names = (before.keys() | wire.keys()) - {"metadata", "status"}
    return wire["kind"] == "Service" or any(before.get(it) != wire.get(it) for it in names)


def _managed(
    state: ServerState, request: ApiRequest, old: Item, edited: Edited, new: Wire
) -> bytes:
    """Return the managers of the next version; what the server itself completes has none."""
    if edited.managed is not None:
        return edited.managed
    return fields.after_update(request, old, new, state.timestamp())


def _next_version(
    state: ServerState, request: ApiRequest, before: Mapping[str, Any], new: Wire
) -> Wire:
    kind = request.info.kind.stored
    if request.info.subresource == "approval":
        return prepare.stamped(before, prepare.for_approval(before, new), state.timestamp())
    if request.info.subresource == "status":
        made = rules_of(kind).default(prepare.for_status_update(kind, before, new))
        made = prepare.with_phase_since(kind, before, made, state.timestamp())
        is_signing = prepare.is_signing_request(kind)
        return prepare.stamped(before, made, state.timestamp()) if is_signing else made
    if request.info.subresource == ephemeral.SUBRESOURCE:
        return prepare.for_update(kind, before, ephemeral.admit(state, request, new))
    if request.info.subresource == resize.SUBRESOURCE:
        return prepare.for_update(kind, before, resize.completed(state, request, new))
    if kind is SERVICE:
        new = allocate(state, new, before)
    if kind is POD:
        new = admit_update(new, before)
    if kind.name == CLAIM and not kind.group:
        new = admit_claim_update(state, request, new, before)
    if kind is PRIORITY_CLASS:
        priority.check_default(state, request, new)
    return rules_of(kind).complete_update(prepare.for_update(kind, before, new))


_CHECKS = {
    "status": errors_in_status,
    ephemeral.SUBRESOURCE: errors_in_ephemeral,
    resize.SUBRESOURCE: errors_in_resize,
}


def _validate(request: ApiRequest, before: Mapping[str, Any], wire: Wire) -> None:
    kind = request.info.kind
    check = _CHECKS.get(request.info.subresource, errors_in_update)
    found = check(kind, parse(kind, wire), parse(kind, stored(kind.stored, before)))
    if prepare.is_signing_request(kind):
        approves = request.info.subresource == "approval"
        found += validate_signing_status(wire, before, approves=approves)
    if found:
        raise errors.invalid(kind, request.info.name, found)
