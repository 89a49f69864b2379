"""APIServices of the groups that this server serves itself: upstream's, and custom ones.

Those of built-in groups are made if they are not there; those of CustomResourceDefinitions come and
go with these, and have no other spec. Source: controllers/autoregister of k8s.io/kube-aggregator,
and k8s.io/kubernetes/pkg/controlplane/controller/crdregistration.
"""

from collections.abc import Mapping
from typing import Any

from control.api.kinds import API_SERVICE
from control.api.priorities import CUSTOM, PRIORITIES
from control.server.pages.discovery import group_versions
from control.server.state.extensions import GroupVersion
from control.server.state.server import ServerState
from control.server.verbs.create import own_draft
from control.server.verbs.delete import delete_with
from control.server.verbs.marking import DeletionOptions
from control.server.verbs.modify import rewrite
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo, storage_key
from control.server.wire.request import SELF, SERVER_AGENT, ApiRequest
from control.store.base import Create, KeyExistsError

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

    Those of definitions get their spec back if somebody has changed it, as long as they have the
    label that says whose they are. Raises StatusError, StoreError.
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
        name = item.wire["metadata"]["name"]
        if not _is_managed(item.wire):
            continue
        if name not in want:
            await _remove(state, name)
        elif item.wire["spec"] != want[name]["spec"]:
            await _reset(state, want[name])


def _creation(state: ServerState, wire: dict[str, Any]) -> Create:
    name = wire["metadata"]["name"]
    info = RequestInfo("create", API_SERVICE, "", name)
    request = ApiRequest(info, SELF, agent=SERVER_AGENT)
    return Create(_key(name), own_draft(state, request, wire).value)


def _is_managed(wire: Mapping[str, Any]) -> bool:
    return (wire["metadata"].get("labels") or {}).get(MANAGED) == ALWAYS


async def _remove(state: ServerState, name: str) -> None:
    info = RequestInfo("delete", API_SERVICE, "", name)
    try:
        await delete_with(state, ApiRequest(info, SELF, agent=SERVER_AGENT), DeletionOptions())
    except StatusError as err:
        if err.code != 404:  # else another API server has removed it
            raise


async def _reset(state: ServerState, made: Mapping[str, Any]) -> None:
    info = RequestInfo("update", API_SERVICE, "", made["metadata"]["name"])
    request = ApiRequest(info, SELF, agent=SERVER_AGENT)
    try:
        await rewrite(state, request, lambda item: item.fresh() | {"spec": made["spec"]})
    except StatusError as err:
        if err.code not in (404, 409):  # else somebody has changed it: an event will come
            raise


def _key(name: str) -> str:
    return storage_key(API_SERVICE, "", name)
