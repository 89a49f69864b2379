"""Carries out actions through the client, and gives the answers to the informers.

Informers learn every answer at once: a controller that decides again right after its own write sees
that write, even if its watches are late. Upstream's "expectations" have the same purpose.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from control.api import kinds
from control.api.kinds import Kind
from control.api.meta import Object, ObjectMeta, OwnerReference
from control.client.backoff import Backoff
from control.client.errors import ApiError, InvalidNameError, UnreachableError
from control.client.events import EventRecorder
from control.client.informer import Informer
from control.client.rest import Client
from control.controllers.actions import (
    Action,
    Again,
    Approve,
    Autoscale,
    Collect,
    Create,
    Delete,
    Empty,
    Patch,
    Recount,
    Report,
    Update,
    UpdateStatus,
)
from control.controllers.autoscaler.autoscale import Autoscaling
from control.controllers.garbage.contents import NotEmptyError, conditions, empty
from control.controllers.hashing import LETTERS
from control.controllers.quota.recount import recounted
from control.controllers.state import controller_of

_PREFIX = 58  # with five more letters, a name is still a DNS label


class Executor:
    """Carries out the actions of one controller."""

    def __init__(
        self, client: Client, informers: Mapping[Kind, Informer], recorder: EventRecorder
    ) -> None:
        self._client = client
        self._informers = informers
        self._recorder = recorder
        self._does: dict[type, Callable[[Any], Awaitable[None]]] = {
            Create: self._create,
            Update: self._update,
            UpdateStatus: self._update_status,
            Patch: self._patch,
            Delete: self._delete,
            Collect: self._collect,
            Empty: self._empty,
            Approve: self._approve,
            Recount: self._recount,
            Autoscale: self._autoscale,
        }

    async def carry_out(self, actions: Iterable[Action]) -> float | None:
        """Carry out all actions in order; raises ClientError at the first failure.

        Return the seconds after which the key must be reconciled again, or None.
        """
        again = None
        for sort, group in groupby(actions, key=type):
            for action in (batch := list(group)):
                if isinstance(action, Again):
                    again = action.after if again is None else min(again, action.after)
                elif isinstance(action, Report):
                    self._recorder.record(action.about, action.type, action.reason, action.message)
            if sort in (Create, Delete):
                await self._together(sort, batch)
            elif sort in self._does:
                for action in batch:
                    await self._does[sort](action)
        return again

    async def _together(self, sort: type, actions: Sequence[Action]) -> None:
        """Send requests together, in batches of 1, 2, 4, ... (upstream's slow start).

        So a request that the server refuses is not refused a thousand times.
        """
        size, start = 1, 0
        while start < len(actions):
            batch = actions[start : start + size]
            results = await asyncio.gather(
                *(self._does[sort](action) for action in batch), return_exceptions=True
            )
            for failure in results:
                if isinstance(failure, BaseException):
                    raise failure
            start, size = start + size, min(size * 2, 64)

    async def _create(self, action: Create) -> None:
        try:
            made = await self._create_once(action.kind, action.object)
        except ApiError as err:
            if action.announce and not err.namespace_terminating:
                text = f"Error creating: {err.status.message}"
                self._recorder.record(action.announce, "Warning", "FailedCreate", text)
            raise
        if action.announce:
            text = f"Created {action.kind.singular}: {made.metadata.name}"
            self._recorder.record(action.announce, "Normal", "SuccessfulCreate", text)

    async def _create_once(self, kind: Kind, wanted: Object) -> Object:
        """Create exactly one object.

        After a lost answer the same name is sent again; if an object with our owner has it, the
        first request had worked.
        """
        item, pause, doubtful = named(wanted), Backoff(), False
        while True:
            try:
                return self._learn(kind, await self._client.create(kind, item))
            except UnreachableError:
                doubtful = True
                await asyncio.sleep(pause.next())
            except ApiError as err:
                if not err.already_exists:
                    raise
                if (there := await self._find(kind, item.metadata)) is None:
                    continue  # it has just been deleted
                self._learn(kind, there)
                if doubtful and controller_of(there) == controller_of(item):
                    return there
                if not wanted.metadata.generate_name:
                    raise
                item = named(wanted)

    async def _find(self, kind: Kind, meta: ObjectMeta) -> Object | None:
        """Return an object by a list of one: upstream lets most controllers list, not get."""
        name = f"metadata.name={meta.name}"
        found = await self._client.list(kind, meta.namespace, field_selector=name)
        return found.items[0] if found.items else None

    async def _update(self, action: Update) -> None:
        async with _Gone(self, action.kind, action.object):
            self._learn(action.kind, await self._client.update(action.kind, action.object))

    async def _update_status(self, action: UpdateStatus) -> None:
        async with _Gone(self, action.kind, action.object):
            self._learn(action.kind, await self._client.update_status(action.kind, action.object))

    async def _patch(self, action: Patch) -> None:
        meta = action.object.metadata
        patch = action.patch | {"metadata": action.patch.get("metadata", {}) | {"uid": meta.uid}}
        async with _Gone(self, action.kind, action.object):
            changed = await self._definitely(
                lambda: self._client.patch(
                    action.kind,
                    meta.namespace,
                    meta.name,
                    patch,
                    type=action.type,
                    subresource=action.subresource,
                )
            )
            self._learn(action.kind, changed)

    async def _definitely(self, request: Callable[[], Awaitable[Object]]) -> Object:
        """Send a request that can be repeated, until there is an answer."""
        pause = Backoff()
        while True:
            try:
                return await request()
            except UnreachableError:
                await asyncio.sleep(pause.next())

    async def _delete(self, action: Delete) -> None:
        meta = action.object.metadata
        try:
            left = await self._client.delete(
                action.kind,
                meta.namespace,
                meta.name,
                uid=meta.uid,
                propagation=action.propagation,
                grace_period_seconds=action.grace_period_seconds,
            )
        except ApiError as err:
            if err.not_found or err.conflict:  # gone; another object may have its name
                self.bury(action.kind, action.object)
                return
            if action.announce:
                text = f"Error deleting: {err.status.message}"
                self._recorder.record(action.announce, "Warning", "FailedDelete", text)
            raise
        if left is None:
            self.bury(action.kind, action.object)
        else:
            self._learn(action.kind, left)
        if action.announce:
            text = f"Deleted {action.kind.singular}: {meta.name}"
            self._recorder.record(action.announce, "Normal", "SuccessfulDelete", text)

    async def _collect(self, action: Collect) -> None:
        for kind, namespace, reference in action.absent:
            if await self._exists(kind, namespace, reference):
                return  # the informer has learned of it, and reports a change
        if isinstance(action.then, Patch):
            await self._patch(action.then)
        elif isinstance(action.then, UpdateStatus):
            await self._update_status(action.then)
        else:
            await self._delete(Delete(action.kind, action.object, action.then))

    async def _exists(self, kind: Kind, namespace: str | None, owner: OwnerReference) -> bool:
        try:
            found = await self._client.get(kind, namespace, owner.name)
        except InvalidNameError:
            return False
        except ApiError as err:
            if err.not_found:
                return False
            raise
        self._learn(kind, found)
        return owner.uid in ("", found.metadata.uid)  # empty: whoever has the name

    async def _empty(self, action: Empty) -> None:
        namespace, name = action.namespace, action.namespace.metadata.name
        async with _Gone(self, kinds.NAMESPACE, namespace):
            contents = await empty(self._client, name)
            found = conditions(namespace.status.conditions, contents, action.now)
            if found != namespace.status.conditions:
                status = namespace.status.model_copy(update={"conditions": found})
                changed = namespace.model_copy(update={"status": status})
                namespace = await self._client.update_status(kinds.NAMESPACE, changed)
                self._learn(kinds.NAMESPACE, namespace)
            if not contents.empty:
                raise NotEmptyError(f"namespace {name}: {contents}")
            body = namespace.wire() | {"apiVersion": "v1", "kind": "Namespace"}
            body["spec"] = body.get("spec", {}) | {"finalizers": list(action.finalizers)}
            await self._client.put(kinds.NAMESPACE, None, name, "finalize", body)

    async def _approve(self, action: Approve) -> None:
        for review, approved in action.choices:
            if await self._client.allows(review):
                async with _Gone(self, kinds.SIGNING_REQUEST, approved):
                    written = await self._client.update_approval(kinds.SIGNING_REQUEST, approved)
                    self._learn(kinds.SIGNING_REQUEST, written)
                return

    async def _recount(self, action: Recount) -> None:
        async with _Gone(self, kinds.RESOURCE_QUOTA, action.quota):
            quota = await recounted(self._client, action)
            if quota is not None:
                self._learn(kinds.RESOURCE_QUOTA, quota)

    async def _autoscale(self, action: Autoscale) -> None:
        async with _Gone(self, kinds.HORIZONTAL_POD_AUTOSCALER, action.autoscaler):
            written = await Autoscaling(self._client, action).run(self._recorder)
            if written is not None:
                self._learn(kinds.HORIZONTAL_POD_AUTOSCALER, written)

    def _learn(self, kind: Kind, item: Object) -> Object:
        if kind in self._informers:
            self._informers[kind].learn(item)
        return item

    def bury(self, kind: Kind, item: Object) -> None:
        """Tell the informer that an object is gone."""
        if kind in self._informers:
            self._informers[kind].bury(item)


class _Gone:
    """Handles "not found" during a write: the informer learns that the object is gone."""

    def __init__(self, executor: Executor, kind: Kind, item: Object) -> None:
        self._executor, self._kind, self._item = executor, kind, item

    async def __aenter__(self) -> None:
        return

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if not isinstance(error, ApiError) or not error.not_found:
            return False
        details = error.status.details
        if details is None or details.name != self._item.metadata.name:
            return False  # the server does not know the resource; the object may exist
        self._executor.bury(self._kind, self._item)
        return True


def named(item: Object, choose: Callable[..., list[str]] = random.choices) -> Object:
    """Return the object with a name, which generateName gives if it has none."""
    if item.metadata.name:
        return item
    prefix = (item.metadata.generate_name or "")[:_PREFIX]
    name = f"{prefix}{''.join(choose(LETTERS, k=5))}"
    return item.model_copy(update={"metadata": item.metadata.model_copy(update={"name": name})})
