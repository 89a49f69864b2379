"""The guard of writes: escalation of roles, and the restriction of nodes."""

from control.api.rbac import GROUP
from control.server.access.authz import Authorizer
from control.server.access.escalation import check_grant
from control.server.access.node import node_of
from control.server.access.restriction import check_node
from control.server.access.signers import GROUP as CERTIFICATES
from control.server.access.signers import check_signer
from control.server.state.watch_cache import WatchCache
from control.server.wire.item import Item
from control.server.wire.request import ApiRequest


class Guard:
    """Refuses writes by what the user may do; see ``state/guard.py``."""

    def __init__(self, authorizer: Authorizer, cache: WatchCache) -> None:
        self._authorizer = authorizer
        self._cache = cache

    def check(self, request: ApiRequest, old: Item | None, new: bytes | None) -> None:
        """Refuse a write; raises StatusError (403, 404)."""
        modes = self._authorizer.modes
        if "Node" in modes and (node := node_of(request.user)) is not None:
            check_node(self._cache, node, request, old, new)
        if "RBAC" in modes and request.info.kind.group == GROUP and new is not None:
            before = old.wire if old is not None else None
            check_grant(self._authorizer, request, before, Item.of("", 0, new))
        if request.info.kind.group == CERTIFICATES and old is not None and new is not None:
            check_signer(self._authorizer, request, old, Item.of("", 0, new))
