"""The guard of writes: escalation."""

from control.api.rbac import GROUP
from control.server.access.authz import Authorizer
from control.server.access.escalation import check_grant
from control.server.wire.item import Item
from control.server.wire.request import ApiRequest


class Guard:
    """Refuses writes by what the user may do; see ``state/guard.py``."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def check(self, request: ApiRequest, old: Item | None, new: bytes | None) -> None:
        """Refuse a write; raises StatusError (403, 404)."""
        if request.info.kind.group != GROUP or new is None:
            return
        if "RBAC" in self._authorizer.modes:
            before = old.wire if old is not None else None
            check_grant(self._authorizer, request, before, Item("", 0, new))
