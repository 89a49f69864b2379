"""What a write makes of the managers of an object's fields.

``update`` is for creates, updates and patches: the writer takes the fields that it changes.
``apply`` is server-side apply: the writer says all that it wants, and others keep what they have.
Source: structured-merge-diff's merge/update.go and apimachinery's managedfields/internal.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from msgspec import Struct, field

from control.api.apply.check import problems
from control.api.apply.compare import Comparison, compare
from control.api.apply.fieldset import (
    FieldSet,
    difference,
    intersection,
    of_paths,
    paths,
    union,
)
from control.api.apply.items import ItemError
from control.api.apply.managers import APPLY, UPDATE, Managed, Manager, Managers, capped
from control.api.apply.merge import fields_of, merge
from control.api.apply.prune import prune
from control.api.apply.shape import MapShape

Wire = dict[str, Any]
BEFORE_FIRST_APPLY = "before-first-apply"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL = "kubectl"
# Annotations of an object may have so many bytes; see validation.ValidateAnnotationsSize.
_ANNOTATIONS = 256 * 1024
_METADATA = (
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
)
# Nobody manages these: they are the object's identity, or the server's own.
_STRIPPED = of_paths(
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata",),
    *(("f:metadata", f"f:{name}") for name in _METADATA),
)


class Version(Struct, frozen=True):
    """Another version of the written object, whose names some managers' fields have."""

    shape: MapShape
    ignored: FieldSet
    shown: Callable[[Wire], Wire]  # makes an object of this version
    back: Callable[[Wire], Wire]


class Write(Struct, frozen=True):
    """A write: who makes it, of which type, and the fields that this kind of write cannot set."""

    shape: MapShape
    version: str  # the apiVersion
    who: Manager
    now: str  # RFC 3339
    ignored: FieldSet
    empty: Mapping[str, Any]  # an object of the type without any value
    # By apiVersion; fields in a version that is not here have this one's names.
    others: Mapping[str, Version] = field(default_factory=dict)


class _Change:
    """What a write changes, as each version names it."""

    def __init__(self, write: Write, old: Wire, new: Wire) -> None:
        self._write, self._old, self._new = write, old, new
        self.own = compare(write.shape, old, new).without(write.ignored)
        self._gone: dict[str, FieldSet] = {}

    def of(self, version: str) -> Comparison:
        """Return the change in another version."""
        other = self._write.others.get(version)
        if other is None:
            return self.own
        old, new = other.shown(self._old), other.shown(self._new)
        return compare(other.shape, old, new).without(other.ignored)

    def gone(self, version: str) -> FieldSet:
        """Return what nobody else manages after the change."""
        if version not in self._gone:
            found = self.of(version)
            self._gone[version] = union(found.taken, found.removed)
        return self._gone[version]


class ApplyConflictError(Exception):
    """Others manage fields that are applied with another value; a list of (manager, path)."""

    def __init__(self, conflicts: list[tuple[Manager, str]]) -> None:
        super().__init__(conflicts)
        self.conflicts = conflicts


class ApplyTypeError(ValueError):
    """An applied object that does not have its type."""


class LiveTypeError(ValueError):
    """The stored object has a list with an item that lacks all its keys."""


def create(write: Write, new: Wire) -> Managers:
    """Return the managers of a new object: the writer has set all of it."""
    return _tracked(write, dict(write.empty), new, {})


def update(write: Write, old: Wire, new: Wire, managers: Managers) -> Managers:
    """Return the managers after a change; nobody manages an object that has no managers yet."""
    if not managers:
        return managers
    return _tracked(write, old, new, managers)


def _tracked(write: Write, old: Wire, new: Wire, managers: Managers) -> Managers:
    """Return the managers after a change; the same ones if an item lacks its key, as upstream."""
    try:
        change = _Change(write, old, new)
        return _updated(write, managers, change) if any(change.own) else managers
    except ItemError:
        return managers


def _updated(write: Write, managers: Managers, change: _Change) -> Managers:
    left = _without(dict(managers), change)
    taken = difference(change.own.taken, _STRIPPED)
    if taken:
        before = left.get(write.who)
        fields = union(taken, before.fields) if before else taken
        left[write.who] = Managed(fields, write.version, write.now)
    return capped(left)


def _without(managers: dict[Manager, Managed], change: _Change) -> dict[Manager, Managed]:
    """Take from every manager what others have changed or removed."""
    for who, held in tuple(managers.items()):
        fields = difference(held.fields, change.gone(held.version))
        if not fields:
            del managers[who]
        elif fields is not held.fields:
            managers[who] = Managed(fields, held.version, held.time)
    return managers


def apply(
    write: Write, live: Wire, applied: Wire, managers: Managers, *, force: bool
) -> tuple[Wire, Managers]:
    """Return the object with what is applied, and its managers; the object may have nulls.

    Raises ApplyTypeError, LiveTypeError and ApplyConflictError.
    """
    if found := problems(write.shape, applied):
        raise ApplyTypeError(found)
    try:
        return _checked(write, live, applied, managers, force=force)
    except ItemError as err:
        # What is applied has been looked at above.
        raise LiveTypeError(str(err)) from err


def _checked(
    write: Write, live: Wire, applied: Wire, managers: Managers, *, force: bool
) -> tuple[Wire, Managers]:
    """Apply an object that has its type; raises ItemError for the live one."""
    if not managers:
        first = Manager(BEFORE_FIRST_APPLY, UPDATE, write.version)
        own = Write(write.shape, write.version, first, write.now, write.ignored, write.empty)
        known = _Change(own, dict(write.empty), live)
        managers = _updated(own, {}, known) if any(known.own) else {}
    try:
        made, managers = _applied(write, live, applied, managers, force=force)
    except ApplyConflictError as err:
        if not _is_kubectl(write):
            raise
        _forgive(write, live, err.conflicts)
        made, managers = _applied(write, live, applied, managers, force=True)
    return (_with_last_applied(made, applied) if _is_kubectl(write) else made), managers


def _is_kubectl(write: Write) -> bool:
    return (write.who.name, write.who.operation) == (_KUBECTL, APPLY)


def _applied(
    write: Write, live: Wire, applied: Wire, managers: Managers, *, force: bool
) -> tuple[Wire, Managers]:
    shape, who = write.shape, write.who
    held = dict(managers)
    last = held.get(who)
    fields = difference(fields_of(shape, applied), write.ignored, recursive=True)
    held[who] = Managed(fields, write.version, last.time if last else "")
    made = merge(shape, live, applied)
    if last is not None:
        made = _pruned(write, made, last, held)
    change = _Change(write, live, made)
    own = held.pop(who)
    if not force:
        _check_conflicts(held, change)
    held = _without(held, change)
    kept = difference(own.fields, _STRIPPED)
    if kept:
        time = own.time if live == made else write.now
        held[who] = Managed(kept, write.version, time)
    return made, held


def _pruned(write: Write, made: Wire, last: Managed, held: Managers) -> Wire:
    """Return the object without what its manager applied last, and nobody manages now."""
    other = write.others.get(last.version)
    own = [each.fields for each in held.values() if each.version == write.version]
    if other is None:
        everyone = [each.fields for each in held.values()]
        same = last.version == write.version
        return prune(write.shape, made, last.fields, everyone) if same else made
    others = [each.fields for each in held.values() if each.version == last.version]
    left = other.back(prune(other.shape, other.shown(made), last.fields, others))
    gone = difference(fields_of(write.shape, made), fields_of(write.shape, left))
    return prune(write.shape, made, gone, own)


def _check_conflicts(managers: Managers, change: _Change) -> None:
    conflicts = [
        (who, path)
        for who in sorted(managers, key=str)
        for held in (managers[who],)
        for path in paths(intersection(held.fields, change.of(held.version).taken))
    ]
    if conflicts:
        raise ApplyConflictError(conflicts)


def _forgive(write: Write, live: Wire, conflicts: list[tuple[Manager, str]]) -> None:
    """Allow conflicts about fields that ``kubectl apply`` has set; raises for the others."""
    allowed = _last_applied_fields(write, live)
    if allowed is None:
        raise ApplyConflictError(conflicts)
    left = [each for each in conflicts if each[1] not in allowed]
    if left:
        raise ApplyConflictError(left)


def _last_applied_fields(write: Write, live: Wire) -> set[str] | None:
    """Return the fields that client-side apply has set and that still have its values."""
    text = live["metadata"].get("annotations", {}).get(LAST_APPLIED)
    try:
        last = orjson.loads(text or "")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(last, dict) or last.get("apiVersion") != write.version:
        return None
    if problems(write.shape, last):
        return None
    found = compare(write.shape, last, live)
    return set(paths(difference(fields_of(write.shape, last), union(found.taken, found.removed))))


def _with_last_applied(made: Wire, applied: Wire) -> Wire:
    """Keep the annotation of client-side apply, if there is one, as kubectl would write it now."""
    metadata = made.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    if not annotations.get(LAST_APPLIED):
        return made
    own = {**applied, "metadata": dict(applied.get("metadata") or {})}
    others = own["metadata"].get("annotations") or {}
    if others:
        others = {name: value for name, value in others.items() if name != LAST_APPLIED}
        own["metadata"]["annotations"] = others
    text = orjson.dumps(own, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    annotations = {**annotations, LAST_APPLIED: text}
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > (
        _ANNOTATIONS
    ):
        del annotations[LAST_APPLIED]
    return {**made, "metadata": {**metadata, "annotations": annotations}}
