"""ResourceQuota admission: what a write uses is charged in the commit that writes it.

So two writes, of whichever servers over one store, cannot both take the last place: the commit
needs the revision of each quota that it charges. Another charge in between is looked at again.
Within one server the writes of a namespace take turns.
Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/ and
k8s.io/apiserver/pkg/admission/plugin/resourcequota
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from control.api.kinds import RESOURCE_QUOTA
from control.api.quota.fit import QuotaError, charged
from control.api.quota.model import ResourceQuota
from control.api.quota.usage import CLAIMS, SERVICES, is_counted, resource_of
from control.server.state.server import ServerState
from control.server.verbs.resize import SUBRESOURCE as RESIZE
from control.server.verbs.write import ChargeError, Charges, draft
from control.server.wire import errors
from control.server.wire.info import RequestInfo, storage_prefix
from control.server.wire.item import Item
from control.server.wire.request import ApiRequest
from control.store.base import Update

_T = TypeVar("_T")
_TRIES = 16
# Whose updates can use more than before.
_GROWING = (SERVICES, CLAIMS)
Wire = Mapping[str, Any]


async def within_quota(
    state: ServerState,
    request: ApiRequest,
    new: bytes,
    old: Item | None,
    commit: Callable[[Charges], Awaitable[_T]],
) -> _T:
    """Return what ``commit`` returns, with the charges for a new object or version to commit.

    Raises StatusError (403 if a quota does not allow it) and what ``commit`` raises.
    """
    if not _is_held(state, request, old):
        return await commit(())
    wire = Item.of("", 0, new).wire
    async with state.turns(request.info.namespace):
        for _ in range(_TRIES):
            await state.cache.fresh()
            try:
                return await commit(_charges(state, request, wire, old))
            except ChargeError as err:
                last = err
    raise errors.conflict(RESOURCE_QUOTA, last.name)


def _is_held(state: ServerState, request: ApiRequest, old: Item | None) -> bool:
    info = request.info
    if not is_counted(info.kind) or (old is not None and not _may_grow(info)):
        return False
    return any(True for _ in _quotas(state, info.namespace))


def _may_grow(info: RequestInfo) -> bool:
    """Return True if the next version of an object may use more than the one before."""
    return info.subresource == RESIZE or resource_of(info.kind) in _GROWING


def _quotas(state: ServerState, namespace: str) -> list[Item]:
    return list(state.cache.of(RESOURCE_QUOTA).items(storage_prefix(RESOURCE_QUOTA, namespace)))


def _charges(state: ServerState, request: ApiRequest, new: Wire, old: Item | None) -> Charges:
    """Return the writes of all quotas that an object uses; raises StatusError (403)."""
    info, now = request.info, state.now().timestamp()
    before = None if old is None else old.wire
    writes = []
    for item in _quotas(state, info.namespace):
        quota = ResourceQuota.parse(item.fresh())
        try:
            status = charged(quota, resource_of(info.kind), new, before, now)
        except QuotaError as err:
            raise errors.forbidden(info.kind, new["metadata"]["name"], str(err)) from err
        if status is not None:
            wire = quota.model_copy(update={"status": status}).wire()
            value = draft(RESOURCE_QUOTA, wire, item.managed).value
            writes.append(Update(item.key, value, item.revision))
    return tuple(writes)
