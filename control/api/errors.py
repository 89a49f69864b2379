"""The errors of an object by its kind's rules: of a new one, of its next version. Pure."""

from control.api.field import FieldError
from control.api.kind import Kind
from control.api.meta import Object
from control.api.pod import Pod
from control.api.rules import rules_of
from control.api.validation.meta import validate_meta, validate_meta_update
from control.api.validation.pods.ephemeral import validate_ephemeral_update
from control.api.validation.pods.resize import unresizable, validate_resize


def errors_in_new(kind: Kind, new: Object) -> list[FieldError]:
    """Return the errors of a new object."""
    return errors_in(kind, new) + rules_of(kind).validate_new(new)


def errors_in(kind: Kind, new: Object) -> list[FieldError]:
    """Return the errors of an object, new or not."""
    rules = rules_of(kind)
    found = _meta_errors(kind, new)
    return found + rules.validate(new)


def _meta_errors(kind: Kind, new: Object) -> list[FieldError]:
    name, custom = rules_of(kind).name, kind.custom is not None
    return validate_meta(new.metadata, name, namespaced=kind.namespaced, custom=custom)


def errors_in_update(kind: Kind, new: Object, old: Object) -> list[FieldError]:
    """Return the errors of an object's next version."""
    found = validate_meta_update(new.metadata, old.metadata) + _newly_wrong(kind, new, old)
    return found + rules_of(kind).validate_update(new, old)


def errors_in_ephemeral(kind: Kind, new: Object, old: Object) -> list[FieldError]:
    """Return the errors of a Pod's version that only adds ephemeral containers."""
    found = validate_meta_update(new.metadata, old.metadata) + _newly_wrong(kind, new, old)
    if isinstance(new, Pod) and isinstance(old, Pod):
        found += validate_ephemeral_update(new, old)
    return found


def errors_in_resize(kind: Kind, new: Object, old: Object) -> list[FieldError]:
    """Return the errors of a Pod's version that only has other resources."""
    if not isinstance(new, Pod) or not isinstance(old, Pod):
        raise TypeError(f"{kind.name} is no Pod: it has no resize")
    if never := unresizable(old):
        return never
    found = validate_meta_update(new.metadata, old.metadata) + _newly_wrong(kind, new, old)
    return found + validate_resize(new, old)


def _newly_wrong(kind: Kind, new: Object, old: Object) -> list[FieldError]:
    """Return errors, but those of the stored version: an older server took what is wrong there.

    So the rest of such an object, as its labels and finalizers, can be changed.
    """
    wrong = errors_in(kind, new)
    return _without(wrong, errors_in(kind, old)) if wrong else []


def errors_in_status(kind: Kind, new: Object, old: Object) -> list[FieldError]:
    """Return the errors of a version that only changes the status."""
    rules = rules_of(kind)
    found = validate_meta_update(new.metadata, old.metadata)
    found += _meta_errors(kind, new)
    if wrong := rules.validate_status(new):
        found += _without(wrong, rules.validate_status(old))
    return found + rules.validate_status_update(new, old)


def _without(errors: list[FieldError], known: list[FieldError]) -> list[FieldError]:
    texts = {str(error) for error in known}
    return [error for error in errors if str(error) not in texts]
