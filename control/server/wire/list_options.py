"""Check the options of a list and a watch against each other. Pure.

Source: k8s.io/apimachinery, pkg/apis/meta/internalversion/validation.
"""

from collections.abc import Iterator, Mapping

from control.api import field
from control.api.field import FieldError

_MATCH = "resourceVersionMatch"
_WITH_CONTINUE = field.forbidden(_MATCH, f"{_MATCH} is forbidden when continue is provided")


def errors_in_list(query: Mapping[str, str]) -> list[FieldError]:
    """Return the errors in the options of a list or a deletecollection."""
    found = list(_errors_in_match(query)) if query.get(_MATCH) else []
    if "sendInitialEvents" in query:
        found.append(
            field.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
        )
    return found


def _errors_in_match(query: Mapping[str, str]) -> Iterator[FieldError]:
    match, version = query[_MATCH], query.get("resourceVersion", "")
    if not version:
        yield field.forbidden(_MATCH, f"{_MATCH} is forbidden unless resourceVersion is provided")
    if query.get("continue"):
        yield _WITH_CONTINUE
    if match not in ("Exact", "NotOlderThan"):
        listed = 'supported values: "Exact", "NotOlderThan", ""'  # upstream does not sort them
        yield FieldError(field.NOT_SUPPORTED, _MATCH, listed, match)
    if match == "Exact" and version == "0":
        yield field.forbidden(_MATCH, f'{_MATCH} "exact" is forbidden for resourceVersion "0"')


def errors_in_watch(query: Mapping[str, str]) -> list[FieldError]:
    """Return the errors in the options of a watch.

    One without these options, from any or the newest revision, begins with the objects that are
    there, as if it had asked for them.
    """
    match = query.get(_MATCH, "")
    if query.get("continue") and not match and "sendInitialEvents" not in query:
        return [] if query.get("resourceVersion", "0") not in ("", "0") else [_WITH_CONTINUE]
    return list(_errors_in_watch(match, query))


def _errors_in_watch(match: str, query: Mapping[str, str]) -> Iterator[FieldError]:
    initial = "sendInitialEvents" in query
    if initial and match != "NotOlderThan":
        yield field.forbidden(
            _MATCH, f"sendInitialEvents requires setting {_MATCH} to NotOlderThan"
        )
    if not match:
        return
    if not initial:
        yield field.forbidden(
            _MATCH, f"{_MATCH} is forbidden for watch unless sendInitialEvents is provided"
        )
    if match != "NotOlderThan":
        yield field.not_supported(_MATCH, match, ("NotOlderThan",))
    if query.get("continue"):
        yield _WITH_CONTINUE
