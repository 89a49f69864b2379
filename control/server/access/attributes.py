"""The question of an authorization, and its answer."""

from typing import NamedTuple


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
