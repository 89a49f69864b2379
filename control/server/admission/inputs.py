"""The variables of expressions about a write, and where their values are computed.

What takes long is computed in another process, so that no expression keeps other requests waiting.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, TypeVarTuple

from msgspec.structs import replace

from control.api.cel.functions.authorizer import Asked as AuthorizerAsked
from control.api.cel.functions.authorizer import Authorizer as Variable
from control.api.cel.functions.authorizer import Decision
from control.api.cel.functions.times import timestamp_nanos
from control.api.cel.values import Timestamp
from control.api.custom.cost import TooCostlyError
from control.api.kinds import NAMESPACE
from control.api.policies import environment
from control.server.access.attributes import AccessAttributes, Verdict
from control.server.admission.asked import Asked
from control.server.admission.hooks.review import request_of
from control.server.admission.rules import Target
from control.server.state.server import ServerState
from control.server.state.workers.pool import Job
from control.server.state.workers.snapshot import Snapshot
from control.server.wire.body import Body
from control.server.wire.info import storage_key
from control.server.wire.request import ApiRequest, User

Inputs = dict[str, Any]
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
# Units of expressions, of some half a microsecond each, that are computed at once.
PATIENCE = 30_000
_METADATA = (
    *("name", "generateName", "namespace", "labels", "annotations", "resourceVersion"),
    *("generation", "deletionGracePeriodSeconds", "finalizers"),
)
_TIMES = ("creationTimestamp", "deletionTimestamp")
_NO_OBJECTS = ("object", "oldObject")


class Authorizer(Protocol):
    """Says what users may do."""

    def decide(self, user: User, asked: AccessAttributes) -> Verdict:
        """Return the verdict about an action."""


def inputs_of(
    state: ServerState, authorizer: Authorizer, asked: Asked, target: Target, params: Any = None
) -> Inputs:
    """Return the values of all variables."""
    request = request_of("", asked, target)
    shown = {name: value for name, value in request.items() if name not in (*_NO_OBJECTS, "uid")}
    shown["userInfo"] = {"groups": [], "extra": {}} | shown["userInfo"]
    shown = {name: value for name, value in shown.items() if value is not None}
    return {
        environment.OBJECT: asked.change.new,
        environment.OLD: asked.change.old,
        environment.PARAMS: params,
        environment.REQUEST: shown,
        environment.NAMESPACE: _namespace(state, asked),
        environment.AUTHORIZER_NAME: _variable(authorizer, asked),
    }


def _namespace(state: ServerState, asked: Asked) -> Any:
    """Return what expressions see of the namespace of a request; None without one."""
    name = asked.target.namespace
    if not name or asked.resource is NAMESPACE:
        return None
    item = state.cache.of(NAMESPACE).get(storage_key(NAMESPACE, "", name))
    if item is None:
        return None
    wire = item.wire
    metadata = _picked(wire["metadata"], *_METADATA) | {"UID": wire["metadata"].get("uid", "")}
    for each in _TIMES:
        nanos = timestamp_nanos(wire["metadata"].get(each) or "")
        if nanos is not None:
            metadata[each] = Timestamp(nanos)
    return {
        "metadata": metadata,
        "spec": _picked(wire.get("spec") or {}, "finalizers"),
        "status": _picked(wire.get("status") or {}, "phase"),
    }


def _picked(wire: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: wire[name] for name in names if name in wire}


def _variable(authorizer: Authorizer, asked: Asked) -> Variable:
    target = asked.target

    def decide(given: AuthorizerAsked) -> Decision:
        user = _account(*given.account) if given.account != ("", "") else asked.user
        verdict = authorizer.decide(
            user,
            AccessAttributes(
                given.verb,
                given.group,
                given.resource,
                given.subresource,
                given.namespace,
                given.name,
                given.path,
                given.fields,
            ),
        )
        return Decision(verdict.allowed, verdict.reason)

    about = AuthorizerAsked(
        "",
        "",
        target.group,
        target.resource,
        target.subresource,
        target.namespace,
        target.name,
    )
    return Variable(decide, about)


def _account(namespace: str, name: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    known = (*groups, "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", known)


async def compute(
    state: ServerState,
    request: ApiRequest,
    function: Callable[[Inputs, int | None, *_Ts], _T],
    inputs: Inputs,
    *given: *_Ts,
) -> _T:
    """Return ``function(inputs, patience, *given)``, which a worker computes if it takes long.

    A worker knows no authorizer: an expression that asks one has to be short. Raises what the
    function raises.
    """
    try:
        return function(inputs, PATIENCE, *given)
    except TooCostlyError:
        pass
    sent = inputs | {environment.AUTHORIZER_NAME: None}
    plain = replace(request, body=Body(), no_create=None)
    snapshot = Snapshot(state.config, state.now())
    found: _T = await state.workers.run(Job(_computed, snapshot, plain, (function, sent, given)))
    return found


def _computed(
    state: ServerState, request: ApiRequest, function: Any, inputs: Inputs, given: Any
) -> Any:
    """Compute in a worker, without haste."""
    del state, request
    return function(inputs, None, *given)
