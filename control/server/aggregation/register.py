"""APIServices of the groups that this server serves itself: upstream's, and custom ones.

Those of built-in groups are made if they are not there; those of CustomResourceDefinitions come and
go with these. Source: controllers/autoregister of k8s.io/kube-aggregator, and
k8s.io/kubernetes/pkg/controlplane/controller/crdregistration.
"""

from collections.abc import Mapping
from typing import Any

from control.api.priorities import CUSTOM, PRIORITIES
from control.api.stored import STORED
from control.server.pages.discovery import group_versions
from control.server.state.extensions import GroupVersion
from control.server.state.server import ServerState
from control.server.verbs.create import complete
from control.server.verbs.delete import delete_with
from control.server.verbs.marking import DeletionOptions
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo, storage_key
from control.server.wire.request import SERVER_AGENT, ApiRequest, User
from control.store.base import Create, KeyExistsError

API_SERVICE = next(kind for kind in STORED if kind.name == "APIService")
SELF = User("system:apiserver", ("system:masters",))
MANAGED = "kube-aggregator.kubernetes.io/automanaged"
ON_START, ALWAYS = "onstart", "true"
_OWN = "apiregistration.k8s.io"  # has no APIService: it is always first


def wanted(state: ServerState) -> dict[str, dict[str, Any]]:
    """Return the APIServices that there should be, by name."""
    kinds = state.cache.kinds
    custom = {(kind.group, kind.version) for kind in kinds.custom}
    found = {}
    for at in group_versions(kinds.served):
        if at[0] != _OWN:
            made = _api_service(at, ALWAYS if at in custom else ON_START)
            found[made["metadata"]["name"]] = made
    return found


def _api_service(at: GroupVersion, how: str) -> dict[str, Any]:
    group, version = at
    of_group, of_version = CUSTOM if how == ALWAYS else PRIORITIES.get(at, CUSTOM)
    spec: dict[str, Any] = {"groupPriorityMinimum": of_group, "versionPriority": of_version}
    spec |= {"group": group} if group else {}
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}", "labels": {MANAGED: how}},
        "spec": spec | {"version": version},
    }


async def register(state: ServerState) -> None:
    """Make the APIServices that are missing, all in one commit; remove those of no definition.

    Raises StatusError, StoreError.
    """
    cache, want = state.cache.of(API_SERVICE), wanted(state)
    missing = [it for name, it in want.items() if cache.get(_key(name)) is None]
    if missing:
        try:
            await state.store.commit(*(_creation(state, wire) for wire in missing))
        except KeyExistsError:
            return  # another API server has made them; a later look sees what is left
        await state.cache.fresh()
    for item in tuple(cache.items()):
        if item.wire["metadata"]["name"] not in want and _is_managed(item.wire):
            await _remove(state, item.wire["metadata"]["name"])


def _creation(state: ServerState, wire: dict[str, Any]) -> Create:
    name = wire["metadata"]["name"]
    info = RequestInfo("create", API_SERVICE, "", name)
    request = ApiRequest(info, SELF, agent=SERVER_AGENT)
    return Create(_key(name), complete(state, request, wire).draft.value)


def _is_managed(wire: Mapping[str, Any]) -> bool:
    return (wire["metadata"].get("labels") or {}).get(MANAGED) == ALWAYS


async def _remove(state: ServerState, name: str) -> None:
    info = RequestInfo("delete", API_SERVICE, "", name)
    try:
        await delete_with(state, ApiRequest(info, SELF, agent=SERVER_AGENT), DeletionOptions())
    except StatusError as err:
        if err.code != 404:  # else another API server has removed it
            raise


def _key(name: str) -> str:
    return storage_key(API_SERVICE, "", name)
