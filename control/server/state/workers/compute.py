"""Call the pure part of a write: small ones here, large ones in a worker process.

No request may keep another waiting, so whatever could take more than some 20 ms goes to a worker.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar, TypeVarTuple

from control.api.custom.cost import LIMIT, TooCostlyError
from control.api.kinds import DEFINITION, NAMESPACE, SERVICE
from control.server.state.server import ServerState
from control.server.state.workers.pool import Job
from control.server.state.workers.snapshot import MissingItemError, MissingListError, Snapshot
from control.server.wire.body import is_heavy
from control.server.wire.info import storage_key
from control.server.wire.item import Item
from control.server.wire.request import ApiRequest

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
# More objects than any function looks at.
_MOST_LOOKED_AT = 64
# Checks of a custom object's values that cost less than 20 ms.
_LIGHT_CHECKS = 2000
_ADMISSION = "admissionregistration.k8s.io"  # whose objects have expressions, too

Pure = Callable[[ServerState, ApiRequest, *_Ts], _T]


async def compute(
    state: ServerState, request: ApiRequest, function: Pure[*_Ts, _T], *given: *_Ts
) -> _T:
    """Return ``function(state, request, *given)``; raises what it raises.

    The function must be one of a module, and may look at objects by key or prefix, at claims and
    the clock.
    """
    olds = (item.raw for item in given if isinstance(item, Item))
    if not request.body.waiting and not any(is_heavy(raw) for raw in olds):
        try:
            return _light(state, request, function, *given)
        except TooCostlyError:
            pass  # a small object of a schema that makes it costly
    snapshot = _snapshot(state, request)
    for _ in range(_MOST_LOOKED_AT):
        try:
            found: _T = await state.workers.run(Job(function, snapshot, request, given))
        except MissingItemError as err:
            item = state.cache.of(err.kind).get(err.key)
            snapshot = replace(snapshot, items={**snapshot.items, err.key: item})
        except MissingListError as err:
            listed = tuple(state.cache.of(err.kind).items(err.prefix))
            snapshot = replace(snapshot, lists={**snapshot.lists, err.prefix: listed})
        else:
            return found
    raise RuntimeError(f"{function} looks at more than {_MOST_LOOKED_AT} objects")


def _light(state: ServerState, request: ApiRequest, function: Pure[*_Ts, _T], *given: *_Ts) -> _T:
    """Call the function here; raises TooCostlyError if a schema, or an expression, is costly."""
    kind = request.info.kind
    if kind.custom is None and kind is not DEFINITION and kind.group != _ADMISSION:
        return function(state, request, *given)
    token = LIMIT.set(_LIGHT_CHECKS)
    try:
        return function(state, request, *given)
    finally:
        LIMIT.reset(token)


def _snapshot(state: ServerState, request: ApiRequest) -> Snapshot:
    key = storage_key(NAMESPACE, "", request.info.namespace)
    claims = frozenset(state.cache.claims) if request.info.kind is SERVICE else frozenset[str]()
    items = {key: state.cache.of(NAMESPACE).get(key)}
    return Snapshot(state.config, state.now(), items, claims)
