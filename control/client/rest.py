"""The API client: one method a verb, typed by the rows of ``control.api.kinds``."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Self

from pydantic import ValidationError

from control.api.base import encode
from control.api.kinds import Kind, M
from control.api.meta import Object
from control.client.bare_aiohttp import aiohttp
from control.client.errors import ClientError
from control.client.held import Kept
from control.client.kubeconfig import ClientConfig, load
from control.client.sender import Call, Sender, decoded
from control.client.stream import Event, Lines, describe, parse_event, read_object

PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


@dataclass(frozen=True, slots=True)
class Listing(Generic[Kept]):
    """A collection as it was at ``resource_version``; ``unreadable`` says which objects are left
    out because they do not fit our models."""

    items: tuple[Kept, ...]
    resource_version: str
    unreadable: tuple[str, ...] = ()


class Client:
    """Talks to one API server; use it as an async context manager, or close it.

    Every method raises ApiError when the server refuses, UnreachableError when it does not answer.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._sender = Sender(config)

    @classmethod
    def from_kubeconfig(cls, path: str | Path, context: str | None = None) -> Self:
        """A client for a kubeconfig's context; raises KubeconfigError."""
        return cls(load(path, context))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections, watches too; there will be no others."""
        await self._sender.close()

    # --- reading -------------------------------------------------------------------------------

    async def get(self, kind: Kind[M], namespace: str | None, name: str) -> M:
        """One object."""
        call = Call(f"get {_what(kind, namespace, name)}", "GET", kind.path(namespace, name))
        return self._object(kind, call, await self._sender.send(call))

    async def list(
        self,
        kind: Kind[M],
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> Listing[M]:
        """The objects of a namespace, or of all."""
        pages = self.pages(
            kind, namespace, label_selector=label_selector, field_selector=field_selector
        )
        return joined([page async for page in pages])

    async def pages(
        self,
        kind: Kind[M],
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = 0,
    ) -> AsyncIterator[Listing[M]]:
        """The same in pages of ``limit`` objects, all as of one version; 0 asks for one page.

        Whoever keeps less than the objects need never hold all of them. Raises ApiError 410 when
        the server has forgotten that version before the last page: begin again.
        """
        query = _query(
            labelSelector=label_selector, fieldSelector=field_selector, limit=str(limit or "")
        )
        call = Call(f"list {kind.plural}", "GET", kind.path(namespace), query)
        coming = asyncio.create_task(self._sender.send(call))
        try:
            while True:
                raw = decoded(call, await coming)
                meta = raw.get("metadata") or {}
                token = meta.get("continue")
                if token:  # the server may write the next page while this one is read
                    more = replace(call, query=(*query, ("continue", token)))
                    coming = asyncio.create_task(self._sender.send(more))
                items = raw.pop("items", None) or []
                yield await _page(kind, items, meta.get("resourceVersion", ""))
                if not token:
                    return
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    @asynccontextmanager
    async def watch(
        self,
        kind: Kind[M],
        namespace: str | None = None,
        *,
        resource_version: str = "",
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout_seconds: int = 300,
        silence_seconds: float = 90,
    ) -> AsyncIterator[AsyncIterator[Event[M]]]:
        """What happens after ``resource_version``, until the server ends it.

            async with client.watch(POD) as events:  # entered once the server has accepted
                async for event in events: ...

        Raises ApiError for an ERROR event, MalformedStreamError for garbage, and UnreachableError
        when the connection breaks or nothing at all, not even a bookmark, comes for
        ``silence_seconds``: start again from the last resourceVersion seen.
        """
        query = _query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version or None,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=str(timeout_seconds),
        )
        call = Call(f"watch {kind.plural}", "GET", kind.path(namespace), query)
        limits = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=silence_seconds)
        async with self._sender.answer(call, limits) as response:
            yield _events(kind, response)

    # --- writing -------------------------------------------------------------------------------

    async def create(self, kind: Kind[M], item: Object) -> M:
        """Make an object, in the namespace its metadata names."""
        namespace = item.metadata.namespace
        name = item.metadata.name or f"{item.metadata.generate_name}*"
        return await self._write(
            kind, f"create {_what(kind, namespace, name)}", "POST", kind.path(namespace), item
        )

    async def update(self, kind: Kind[M], item: Object) -> M:
        """Replace an object; a conflict if it is no longer at its resourceVersion."""
        return await self._replace(kind, item, "")

    async def update_status(self, kind: Kind[M], item: Object) -> M:
        """Replace an object's status only."""
        return await self._replace(kind, item, "status")

    async def patch(
        self,
        kind: Kind[M],
        namespace: str | None,
        name: str,
        patch: Any,
        *,
        type: str = "merge",
        subresource: str = "",
    ) -> M:
        """Change parts of an object; ``type`` is json, merge or strategic."""
        call = Call(
            f"patch {_what(kind, namespace, name, subresource)}",
            "PATCH",
            kind.path(namespace, name, subresource),
            body=encode(patch),
            content_type=PATCH_TYPES[type],
        )
        return self._object(kind, call, await self._sender.send(call))

    async def delete(
        self,
        kind: Kind[M],
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        grace_period_seconds: int | None = None,
        propagation: str | None = None,
    ) -> M | None:
        """Delete an object, only if it has this uid when one is given.

        ``propagation`` is Background, Foreground or Orphan. Returns the object if it still has to
        end (gracefully, or by its finalizers), None if it is gone.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation is not None:
            options["propagationPolicy"] = propagation
        operation = f"delete {_what(kind, namespace, name)}"
        call = Call(operation, "DELETE", kind.path(namespace, name), body=encode(options))
        body = await self._sender.send(call)
        if decoded(call, body).get("kind") == "Status":
            return None
        left = self._object(kind, call, body)
        return left if _still_ends(left) else None

    async def delete_collection(self, kind: Kind[M], namespace: str | None) -> None:
        """Delete every object of a kind in a namespace."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        operation = f"delete all {kind.plural} in {namespace}"
        await self._sender.send(
            Call(operation, "DELETE", kind.path(namespace), body=encode(options))
        )

    async def post(
        self,
        kind: Kind[M],
        namespace: str | None,
        name: str,
        subresource: str,
        body: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Create a subresource, such as a Pod's ``binding`` or ``eviction``; the raw answer."""
        operation = f"create {_what(kind, namespace, name, subresource)}"
        path = kind.path(namespace, name, subresource)
        call = Call(operation, "POST", path, body=encode(body))
        return decoded(call, await self._sender.send(call))

    async def put(
        self,
        kind: Kind[M],
        namespace: str | None,
        name: str,
        subresource: str,
        body: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Replace a subresource, such as a Namespace's ``finalize``; the raw answer."""
        operation = f"update {_what(kind, namespace, name, subresource)}"
        path = kind.path(namespace, name, subresource)
        call = Call(operation, "PUT", path, body=encode(body))
        return decoded(call, await self._sender.send(call))

    async def raw(self, path: str) -> bytes:
        """GET any path, such as /readyz or /version."""
        return await self._sender.send(Call(f"get {path}", "GET", path))

    # --- the wire ------------------------------------------------------------------------------

    async def _replace(self, kind: Kind[M], item: Object, sub: str) -> M:
        namespace, name = item.metadata.namespace, item.metadata.name
        operation = f"update {_what(kind, namespace, name, sub)}"
        return await self._write(kind, operation, "PUT", kind.path(namespace, name, sub), item)

    async def _write(
        self, kind: Kind[M], operation: str, method: str, path: str, item: Object
    ) -> M:
        wire = item.wire() | {"apiVersion": kind.api_version, "kind": kind.name}
        call = Call(operation, method, path, body=encode(wire))
        return self._object(kind, call, await self._sender.send(call))

    def _object(self, kind: Kind[M], call: Call, body: bytes) -> M:
        wire = decoded(call, body)
        try:
            return read_object(kind, wire)
        except ValidationError as err:
            raise ClientError(f"{call.operation}: {describe(wire, err)}") from err


def joined(pages: Iterable[Listing[Kept]]) -> Listing[Kept]:
    """The collection whose pages these are."""
    items: list[Kept] = []
    unreadable: list[str] = []
    version = ""
    for page in pages:
        items += page.items
        unreadable += page.unreadable
        version = page.resource_version
    return Listing(tuple(items), version, tuple(unreadable))


async def _page(kind: Kind[M], wires: list[dict[str, Any]], version: str) -> Listing[M]:
    items: list[M] = []
    unreadable = []
    for index, wire in enumerate(wires):
        if index % 200 == 199:
            await asyncio.sleep(0)  # a long list must not starve heartbeats
        try:
            items.append(read_object(kind, wire))
        except ValidationError as err:
            unreadable.append(describe(wire, err))
    return Listing(tuple(items), version, tuple(unreadable))


async def _events(kind: Kind[M], response: aiohttp.ClientResponse) -> AsyncIterator[Event[M]]:
    lines = Lines()
    async for data in response.content.iter_any():
        for line in lines.feed(data):
            yield parse_event(kind, line)


def _still_ends(item: Object) -> bool:
    meta = item.metadata
    graceful = meta.deletion_grace_period_seconds != 0
    return meta.deletion_timestamp is not None and (graceful or bool(meta.finalizers))


def _what(kind: Kind[M], namespace: str | None, name: str, sub: str = "") -> str:
    path = "/".join(part for part in (namespace, name) if part)
    return f"{kind.name} {path}" + (f" ({sub})" if sub else "")


def _query(**parameters: str | None) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in parameters.items() if value)
