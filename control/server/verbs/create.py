"""Create objects (POST to a collection)."""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from control.api.errors import errors_in_new
from control.api.rules import rules_of
from control.api.warnings.table import warnings_of
from control.server.state.gate import CREATE, Change
from control.server.state.server import ServerState
from control.server.state.workers.compute import compute
from control.server.verbs import fields, podsecurity, prepare
from control.server.verbs.admission import admit
from control.server.verbs.modify import Edit, Written, modify
from control.server.verbs.quota import within_quota
from control.server.verbs.write import Charges, Draft, draft, insert, seen
from control.server.wire import errors
from control.server.wire.decode import as_stored, parse, read
from control.server.wire.errors import StatusError
from control.server.wire.info import storage_key
from control.server.wire.item import Item, Wire
from control.server.wire.request import ApiRequest, whole_number
from control.server.wire.strict import complaints, verdict

_ENDING = "create not allowed while custom resource definition is terminating"
# Upstream's number of names that it generates, and ours of addresses and ports that it chooses.
_TRIES = 8


class New(Struct, frozen=True):
    """A valid new object, and warnings about it."""

    draft: Draft
    warnings: tuple[str, ...]
    generated: bool  # its name
    base: bool  # it has a base for a generated name


_OTHER_NAMESPACE = (
    "the namespace of the provided object does not match the namespace sent on the request"
)


async def create(state: ServerState, request: ApiRequest) -> Written:
    """Create the object in a request; raises StatusError (400, 403, 404, 409, 415, 422)."""
    return await store(state, request, _drafted)


Drafted = Callable[[ServerState, ApiRequest], New]


async def change_or_create(
    state: ServerState, request: ApiRequest, edit: Edit, drafted: Drafted
) -> Written:
    """Change the object that a request names, or create it if it is not there.

    ``drafted`` asks whether the user may create it. Raises StatusError.
    """
    for _ in range(_TRIES):
        await state.cache.fresh()
        exists = _present(state, request) is not None
        try:
            if exists:
                return await modify(state, request, edit)
            return await store(state, request, drafted)
        except StatusError as err:
            if err.status.reason != ("NotFound" if exists else "AlreadyExists"):
                raise
            last = err  # another request has removed or created it in between
    raise last


async def store(state: ServerState, request: ApiRequest, drafted: Drafted) -> Written:
    """Store the object that ``drafted``, a function of a module, makes of a request."""
    for _ in range(_TRIES):
        await state.cache.fresh()
        made = await _drafted_and_admitted(state, request, drafted)
        if state.cache.kinds.is_gone(request.info.kind):  # while its body came
            raise errors.no_such_path()
        if state.cache.kinds.is_ending(request.info.kind):
            name = "" if made.generated else made.draft.name
            raise errors.forbidden(request.info.kind, name, _ENDING)
        state.guard.check(request.named(made.draft.name), None, made.draft.value)
        try:
            with errors.warning(*made.warnings):
                item = await _insert(state, request.named(made.draft.name), made)
        except StatusError as err:
            last = err
            if not (err.again or (made.generated and _is_there(err))):
                raise
            # Another writer has claimed the chosen address, port or name: choose again.
        else:
            return Written(item, created=True, warnings=made.warnings)
    raise last


async def _drafted_and_admitted(state: ServerState, request: ApiRequest, drafted: Drafted) -> New:
    """Return the object of a request, after all that is asked about it; raises StatusError."""
    review = state.gate.review(state, request, CREATE)
    if review is None:
        return await compute(state, request, drafted)
    kind = request.info.kind
    if review.mutates:
        first = await compute(state, replace(request, unchecked=True), drafted)
        with errors.warning(*first.warnings):
            shown = Change(kind, seen(state, kind, first.draft))
            wire = await review.mutate(shown) or {}  # a create always has an object
        made = await compute(state, request, changed_by_admission, first, wire)
    else:
        made = await compute(state, request, drafted)
    with errors.warning(*made.warnings):
        await review.validate(Change(kind, seen(state, kind, made.draft)))
    return made


async def _insert(state: ServerState, request: ApiRequest, made: New) -> Item:
    """Store an object, in a dry run only look whether it could be; raises StatusError."""
    kind, name = request.info.kind, made.draft.name

    async def commit(charges: Charges) -> Item | None:
        if not request.dry_run:
            return await insert(state, request.info, made.draft, charges)
        shown = state.cache.seen(kind, Item.of("", 0, made.draft.value))
        return shown if _present(state, request) is None else None

    try:
        if item := await within_quota(state, request, made.draft.value, None, commit):
            return item
    except StatusError as err:
        if not _is_there(err):
            raise
    old = _present(state, request)
    being_deleted = bool(old and old.wire["metadata"].get("deletionTimestamp"))
    raise errors.already_exists(kind, name, generated=made.base, being_deleted=being_deleted)


def _present(state: ServerState, request: ApiRequest) -> Item | None:
    kind, info = request.info.kind, request.info
    return state.cache.of(kind).get(storage_key(kind, info.namespace, info.name))


def _is_there(err: StatusError) -> bool:
    return err.status.reason == "AlreadyExists"


def _drafted(state: ServerState, request: ApiRequest) -> New:
    """Return the complete, admitted and valid object of a request, with warnings about it."""
    request = request.decoded()
    kind, mode = request.info.kind, request.field_validation
    wire, unknown = read(kind, request.body.object())
    warnings = verdict(kind, mode, complaints(kind, mode, request.body, unknown))
    return complete(state, request, wire, warnings)


def complete(
    state: ServerState,
    request: ApiRequest,
    wire: Wire,
    warnings: tuple[str, ...] = (),
    managed: bytes | None = None,
) -> New:
    """Complete, admit and validate a new object of the right type.

    ``managed`` has the managers of an object that is applied; the creator manages any other one.
    """
    kind = request.info.kind
    with errors.warning(*warnings):
        named = request.named(_name(request, wire))
        made = prepare.for_create(kind, wire, named.info, state.timestamp())
        rules = rules_of(kind)
        made = rules.default(made)
        if managed is None:
            given = wire["metadata"].get("managedFields")
            managed = fields.after_create(named, made, given, state.timestamp())
        if kind.form is not None:
            made = prepare.begun(kind.stored, as_stored(kind, made))
        made = prepare.for_create_by(kind, made, request.user)
        made = prepare.with_phase_since(kind, None, rules.begin(made), state.timestamp())
        made = admit(state, named, made)
        base, given = bool(wire["metadata"].get("generateName")), wire["metadata"].get("name")
        new = New(draft(kind, made, managed), warnings, generated=base and not given, base=base)
        return new if request.unchecked else _checked(state, named, new, made)


def _checked(state: ServerState, request: ApiRequest, new: New, made: Wire) -> New:
    """Validate a new object, and warn of it; raises StatusError (422)."""
    kind = request.info.kind
    if found := errors_in_new(kind, parse(kind, made)):
        raise errors.invalid(kind, request.info.name, found)
    warned = warnings_of(kind, made) + podsecurity.warnings(state, request, made)
    return replace(new, warnings=new.warnings + warned)


def changed_by_admission(state: ServerState, request: ApiRequest, new: New, wire: Wire) -> New:
    """Complete and validate a new object that admission has changed; raises StatusError.

    What the server's own plugins refuse or complete is looked at again, as upstream does.
    """
    kind = request.info.kind
    with errors.warning(*new.warnings):
        named = request.named(new.draft.name)
        made = rules_of(kind).default(read(kind, wire)[0])
        if (name := made["metadata"].get("name")) != new.draft.name:
            raise errors.name_mismatch(str(name or ""), new.draft.name)
        own = Item.of("", 0, new.draft.value)
        if made["metadata"].get("namespace") != own.wire["metadata"].get("namespace"):
            raise errors.bad_request(_OTHER_NAMESPACE)
        made["metadata"] = prepare.with_system(made["metadata"], own.wire["metadata"])
        if kind.form is not None:
            made = as_stored(kind, made)
        made = admit(state, named, made)
        return _checked(state, named, replace(new, draft=draft(kind, made, own.managed)), made)


async def make(state: ServerState, request: ApiRequest, wire: Wire) -> Item:
    """Store a new object of the server's own."""
    await state.cache.fresh()
    return await insert(state, request.info, own_draft(state, request, wire))


def own_draft(state: ServerState, request: ApiRequest, wire: Wire) -> Draft:
    """Complete a new object of the server's own; a test validates all that there are.

    To build the models of their kinds would take a tenth of the server's start.
    """
    return complete(state, replace(request, unchecked=True), wire).draft


def _name(request: ApiRequest, wire: Wire) -> str:
    """Return the new object's name; raises StatusError if it does not match the URL."""
    metadata = wire["metadata"]
    version = str(metadata.get("resourceVersion") or "")
    number = whole_number(version) if version.isdecimal() else None
    if 0 < (number or 0) < 2**64 and not request.dry_run:
        # Upstream's store says so, and only of what it could have given itself.
        raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
    namespace = metadata.get("namespace", request.info.namespace)
    if request.info.kind.namespaced and namespace != request.info.namespace:
        raise errors.bad_request(_OTHER_NAMESPACE)
    base = metadata.get("generateName")
    return metadata.get("name") or (prepare.generated_name(base) if base else "")
