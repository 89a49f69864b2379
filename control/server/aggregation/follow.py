"""Look after all APIServices: what they name, whether it is there, and what it serves.

Every extension has a task of its own, so that a server that hangs keeps nobody else waiting. Every
API server of a store does this; whoever comes second finds nothing to write.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from control.api.kinds import API_SERVICE, DEFINITION, ENDPOINT_SLICE, SERVICE
from control.server.aggregation.check import LOCAL, Condition, check, discover
from control.server.aggregation.measured import AvailabilityCounts
from control.server.aggregation.register import register
from control.server.remote.services import RemoteError, service_of, slices_of
from control.server.state.changes import changes
from control.server.state.extensions import Discovered, Extension, condition_of, read
from control.server.state.server import ServerState
from control.server.verbs.marking import with_condition
from control.server.verbs.modify import rewrite
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo, storage_key
from control.server.wire.item import Item, Wire
from control.server.wire.request import SELF, SERVER_AGENT, ApiRequest
from control.store.base import StoreError

logger = logging.getLogger(__name__)

_AGAIN = 30.0  # seconds until a server is asked again, as upstream
_SOON, _FACTOR = 0.25, 2.0  # the first pause after a failure, and how it grows
_RETRY = 1.0
_FAILURES = (StatusError, StoreError, RemoteError, OSError)


async def aggregate(state: ServerState) -> None:
    """Look after all APIServices, for ever."""
    counts = AvailabilityCounts(state)
    watchers = Watchers(state, counts)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_follow_services(state, watchers, counts))
            group.create_task(_follow_backends(state, watchers))
            group.create_task(_follow_local(state))
    finally:
        await watchers.close()


async def _follow_services(
    state: ServerState, watchers: "Watchers", counts: AvailabilityCounts
) -> None:
    async for _ in changes(state.cache, API_SERVICE):
        items = tuple(state.cache.of(API_SERVICE).items())
        state.extensions.replace(item.wire for item in items)
        await watchers.sync()
        local = [item.wire for item in items if read(item.wire) is None]
        for name in [it["metadata"]["name"] for it in local if not _has(it, LOCAL)]:
            await _persist(partial(_say, state, name, LOCAL, counts))


async def _follow_backends(state: ServerState, watchers: "Watchers") -> None:
    async for _ in changes(state.cache, SERVICE, ENDPOINT_SLICE):
        watchers.look()


async def _follow_local(state: ServerState) -> None:
    """Keep the APIServices of what this server serves itself."""
    async for _ in changes(state.cache, DEFINITION, API_SERVICE):
        await _persist(partial(register, state))


async def _persist(work: Callable[[], Awaitable[None]]) -> None:
    """Do a work, again after a failure."""
    while True:
        try:
            return await work()
        except _FAILURES as err:
            logger.warning("APIServices: %s; trying again in %.0f s", err, _RETRY)
            await asyncio.sleep(_RETRY)


class Watchers:
    """The tasks that look after extensions, one for each."""

    def __init__(self, state: ServerState, counts: AvailabilityCounts) -> None:
        self._state, self._counts = state, counts
        self._all: dict[Extension, _Watcher] = {}

    async def sync(self) -> None:
        """Start the tasks of new extensions, end those of others."""
        present = set(self._state.extensions.by_version.values())
        for gone in self._all.keys() - present:
            await self._all.pop(gone).close()
        for new in present - self._all.keys():
            self._all[new] = _Watcher(self._state, new, self._counts)

    def look(self) -> None:
        """Check the extensions of which the Service or its endpoints have changed."""
        for watcher in self._all.values():
            watcher.look()

    async def close(self) -> None:
        """End all tasks."""
        for watcher in self._all.values():
            await watcher.close()


class _Watcher:
    """Checks one extension again and again."""

    def __init__(
        self, state: ServerState, extension: Extension, counts: AvailabilityCounts
    ) -> None:
        self._state, self._extension, self._counts = state, extension, counts
        self._changed = asyncio.Event()
        self._seen: object = None
        self._task = asyncio.create_task(self._run(), name=f"extension {extension.name}")

    def look(self) -> None:
        """Check at once if what the extension stands on has changed."""
        found = service_of(self._state, self._extension), slices_of(self._state, self._extension)
        if found != self._seen:
            self._seen = found
            self._changed.set()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = _SOON
        while True:
            self._changed.clear()
            good = await self._checked()
            pause = _SOON if good else min(pause * _FACTOR, _AGAIN)
            try:
                async with asyncio.timeout(_AGAIN if good else pause):
                    await self._changed.wait()
                pause = _SOON
            except TimeoutError:
                continue

    async def _checked(self) -> bool:
        """Check once; return True if all is well."""
        name, at = self._extension.name, self._extension.group_version
        extensions = self._state.extensions
        try:
            condition = await check(self._state, self._extension)
            if not condition.status:
                extensions.discovered[at] = Discovered()
            else:
                await self._discover()
            await _say(self._state, name, condition, self._counts)
        except _FAILURES as err:
            logger.warning("APIService %s: %s", name, err)
            return False
        except Exception:  # a defect shown by one server must not stop its task
            logger.exception("APIService %s failed", name)
            return False
        return condition.status

    async def _discover(self) -> None:
        """Ask what the server serves; what it said before stays, marked as stale, if it fails."""
        at = self._extension.group_version
        known = self._state.extensions.said(at)
        try:
            found = await discover(self._state, self._extension)
        except RemoteError as err:
            logger.warning("APIService %s: %s", self._extension.name, err)
            found = Discovered(known.resources, False, known.schema)
        self._state.extensions.discovered[at] = found


def _has(wire: Mapping[str, Any], condition: Condition) -> bool:
    found = condition_of(wire)
    said = found.get("status"), found.get("reason"), found.get("message")
    return said == (_word(condition), condition.reason, condition.message)


def _word(condition: Condition) -> str:
    return "True" if condition.status else "False"


async def _say(
    state: ServerState, name: str, condition: Condition, counts: AvailabilityCounts
) -> None:
    """Write the condition of an APIService, unless it is there; raises StatusError, StoreError."""
    item = state.cache.of(API_SERVICE).get(storage_key(API_SERVICE, "", name))
    if item is None or _has(item.wire, condition):
        return
    info = RequestInfo("update", API_SERVICE, "", name, "status")
    request = ApiRequest(info, SELF, agent=SERVER_AGENT)

    def changed(item: Item) -> Wire:
        wire = item.fresh()
        made = {
            "type": "Available",
            "status": _word(condition),
            "reason": condition.reason,
            "message": condition.message,
        }
        return wire | {"status": with_condition(wire.get("status") or {}, made, state.timestamp())}

    try:
        await rewrite(state, request, changed)
    except StatusError as err:
        if err.code not in (404, 409):  # else somebody has changed it: an event will come
            raise
    else:
        counts.changed(name, item.wire, condition.reason, good=condition.status)
