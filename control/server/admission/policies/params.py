"""The parameters of a policy where it is bound.

Source: CollectParams in k8s.io/apiserver/pkg/admission/plugin/policy/generic.
"""

from collections.abc import Mapping
from typing import Any

from control.api.kind import Kind
from control.server.admission.policies.config import ParamRef
from control.server.admission.rules import Target
from control.server.state.server import ServerState
from control.server.wire.info import storage_key, storage_prefix

Wire = Mapping[str, Any]


class ParamsError(Exception):
    """A binding whose parameters are not there."""


def params_of(
    state: ServerState, named: tuple[str, str] | None, ref: ParamRef | None, target: Target
) -> list[Wire | None]:
    """Return the parameters, each of which a policy is computed with; [None] without any.

    ``target`` is what the request is about: parameters are of its namespace, if ``ref`` names none.

    Raises ParamsError.
    """
    if named is None or ref is None:
        return [None]
    kind, namespace = _kind(state, *named), ""
    if kind.namespaced:
        namespace = ref.namespace or ("" if target.is_namespace else target.namespace)
        if not namespace:
            why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped"
            raise ParamsError(f"{why} resources")
    elif ref.namespace:
        why = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
        raise ParamsError(why)
    found = _found(state, kind, ref, namespace)
    if not found and ref.denies_missing:
        why = "no params found for policy binding with `Deny` parameterNotFoundAction"
        raise ParamsError(why)
    return list(found)


def _found(state: ServerState, kind: Kind, ref: ParamRef, namespace: str) -> list[Wire]:
    cache = state.cache.of(kind)
    if ref.name:
        item = cache.get(storage_key(kind, namespace, ref.name))
        return [] if item is None else [item.wire]
    if ref.selector is None:
        raise ParamsError("one of name or selector must be provided")
    items = cache.items(storage_prefix(kind, namespace))
    return [item.wire for item in items if ref.selector.matches(item.labels)]


def _kind(state: ServerState, api_version: str, name: str) -> Kind:
    for kind in state.cache.kinds.served:
        if (kind.api_version, kind.name) == (api_version, name):
            return kind
    raise ParamsError(
        f"paramKind kind `&ParamKind{{APIVersion:{api_version},Kind:{name},}}` not known"
    )
