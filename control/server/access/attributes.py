"""The question of an authorization, and its answer."""

from typing import NamedTuple

from control.api.selectors import SelectorError, parse_fields


class AccessAttributes(NamedTuple):
    """An action for which a user needs permission; ``path`` is set for one on no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    selector: str = ""  # of fields; only nodes' rights depend on it


class Verdict(NamedTuple):
    """The answer: allowed or not, and why."""

    allowed: bool
    reason: str = ""


def selected(selector: str, path: str) -> str:
    """Return the value that a field selector requires at a path; empty if it requires none.

    The parser is that of the verbs, so that a list shows only what was authorized.
    """
    try:
        fields = parse_fields(selector)
    except SelectorError:
        return ""
    return next(
        (each.value for each in fields.requirements if each.path == path and each.equal), ""
    )
