"""Say in the status of each FlowSchema whether the priority level that it names is there.

Every API server of a store does this; whoever comes second finds nothing to write. Source:
k8s.io/apiserver/pkg/util/flowcontrol/apf_controller.go
"""

import asyncio
import logging
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from control.server.fairness.kinds import FLOW_SCHEMA, PRIORITY_LEVEL
from control.server.state.changes import changes
from control.server.state.server import ServerState
from control.server.verbs.marking import with_condition
from control.server.verbs.modify import rewrite
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo
from control.server.wire.item import Item, Wire
from control.server.wire.request import SELF, SERVER_AGENT, ApiRequest
from control.store.base import StoreError

logger = logging.getLogger(__name__)

_RETRY = 1.0
_MANAGER = "api-priority-and-fairness-config-consumer-v1"
_DANGLING = "Dangling"


async def tell(state: ServerState) -> None:
    """Keep the conditions of all FlowSchemas true, for ever."""
    async for _ in changes(state.cache, FLOW_SCHEMA, PRIORITY_LEVEL):
        while True:
            try:
                await tell_all(state)
                break
            except (StatusError, StoreError) as err:
                logger.warning("FlowSchemas: %s; trying again in %.0f s", err, _RETRY)
                await asyncio.sleep(_RETRY)


async def tell_all(state: ServerState) -> None:
    """Make the conditions of all FlowSchemas true now; raises StatusError, StoreError."""
    items = tuple(state.cache.of(FLOW_SCHEMA).items())
    await asyncio.gather(*(_tell(state, it) for it in items if _told(state, it) != it.wire))


async def _tell(state: ServerState, item: Item) -> None:
    info = RequestInfo("update", FLOW_SCHEMA, "", item.wire["metadata"]["name"], "status")
    request = ApiRequest(info, SELF, {"fieldManager": _MANAGER}, agent=SERVER_AGENT)
    try:
        await rewrite(state, request, partial(_told, state), manages=True)
    except StatusError as err:
        if err.code != 404:  # else it is gone, and nobody need be told
            raise


def _told(state: ServerState, item: Item) -> Wire:
    levels = {each.wire["metadata"]["name"] for each in state.cache.of(PRIORITY_LEVEL).items()}
    wire = item.fresh()
    condition = condition_of(wire, levels)
    status = wire.get("status") or {}
    for each in status.get("conditions") or ():
        if condition.items() <= each.items():
            return wire
    return wire | {"status": with_condition(status, condition, state.timestamp())}


def condition_of(schema: Mapping[str, Any], levels: Collection[str]) -> Wire:
    """Return what a schema's status says of its level, given the levels that there are. Pure."""
    spec = schema.get("spec") or {}
    name = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
    status, reason, rest = "True", "NotFound", "but there is no such object"
    if name in levels:
        status, reason, rest = "False", "Found", "and it exists"
    about = f'This FlowSchema references the PriorityLevelConfiguration object named "{name}"'
    return {"type": _DANGLING, "status": status, "reason": reason, "message": f"{about} {rest}"}
