"""The API client: one method for each verb, typed by the rows of ``control.api.kinds``."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self

import aiohttp

from control.api.kind import Kind, M
from control.api.wire import ListPage, UnreadableError, encode
from control.client.cacheable import CachedT
from control.client.errors import ClientError, Operation
from control.client.kubeconfig import ClientConfig, load
from control.client.sender import ClientRequest, Sender, decoded
from control.client.stream import LineSplitter, WatchEvent, identify, parse_event, read_object

if TYPE_CHECKING:
    from control.api.meta import Object

PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
APPLY = "application/apply-patch+yaml"  # JSON is YAML
_REVIEWS = "authorization.k8s.io/v1"
_VERBS = {"POST": "create", "PUT": "update"}


@dataclass(frozen=True, slots=True)
class Listing(Generic[CachedT]):
    """A collection at ``resource_version``.

    ``unreadable`` names the objects that are left out because they do not fit the models.
    """

    items: tuple[CachedT, ...]
    resource_version: str
    unreadable: tuple[str, ...] = ()


class Client:
    """A client of one API server; use it as an async context manager, or close it.

    Every method raises ApiError if the server refuses, and UnreachableError if it does not answer.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._sender = Sender(config)

    @classmethod
    def from_kubeconfig(cls, path: str | Path, context: str | None = None) -> Self:
        """Make a client for a kubeconfig's context; raises KubeconfigError."""
        return cls(load(path, context))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections, those of watches too; later requests fail."""
        await self._sender.close()

    async def get(self, kind: Kind[M], namespace: str | None, name: str) -> M:
        """Get one object."""
        operation = Operation("get", kind.name, namespace or "", name)
        request = ClientRequest(operation, "GET", kind.path(namespace, name))
        return self._object(kind, request, await self._sender.send(request))

    async def list(
        self,
        kind: Kind[M],
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> Listing[M]:
        """List the objects of a namespace, or of all namespaces."""
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
        """List in pages of ``limit`` objects, all at one version; 0 asks for one page.

        A caller that keeps only a part of each object never holds all whole objects. Raises
        ApiError 410 if the server forgets the version before the last page: begin again.
        """
        query = _query(
            labelSelector=label_selector, fieldSelector=field_selector, limit=str(limit or "")
        )
        path = kind.path(namespace)
        request = ClientRequest(Operation("list", kind.plural), "GET", path, query)
        coming = asyncio.create_task(self._sender.send(request))
        try:
            while True:
                body = await coming
                whole = kind.model.read_page(body)
                raw = ListPage((), "", "") if whole else _raw_page(decoded(request, body))
                token = whole.token if whole else raw.token
                if token:  # the server writes the next page while this one is read
                    more = replace(request, query=(*query, ("continue", token)))
                    coming = asyncio.create_task(self._sender.send(more))
                    await asyncio.sleep(0)  # lets the request go before this page is worked on
                yield _whole(whole) if whole else await _page(kind, raw)
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
    ) -> AsyncIterator[AsyncIterator[WatchEvent[M]]]:
        """Watch the changes after ``resource_version``, until the server ends the watch.

            async with client.watch(POD) as events:  # entered once the server has accepted
                async for event in events: ...

        Raises ApiError for an ERROR event, MalformedStreamError for garbage, and UnreachableError
        if the connection breaks: start again from the last resourceVersion seen. It also ends if
        no byte, not even a bookmark, arrives for ``silence_seconds``. That is no error: a
        kube-apiserver marks kinds that nobody changes as rarely as every ten minutes.
        """
        query = _query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version or None,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=str(timeout_seconds),
        )
        path = kind.path(namespace)
        request = ClientRequest(Operation("watch", kind.plural), "GET", path, query)
        limits = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=silence_seconds)
        async with self._sender.answer(request, limits) as response:
            yield _events(kind, response)

    async def create(self, kind: Kind[M], item: "Object") -> M:
        """Create an object in the namespace that its metadata names."""
        namespace = item.metadata.namespace
        name = item.metadata.name or f"{item.metadata.generate_name}*"
        operation = Operation("create", kind.name, namespace or "", name)
        return await self._write(kind, operation, "POST", kind.path(namespace), item)

    async def update(self, kind: Kind[M], item: "Object") -> M:
        """Replace an object; raises a conflict if its resourceVersion is no longer current."""
        return await self._replace(kind, item, "")

    async def update_status(self, kind: Kind[M], item: "Object") -> M:
        """Replace only the status of an object."""
        return await self._replace(kind, item, "status")

    async def update_approval(self, kind: Kind[M], item: "Object") -> M:
        """Replace only the verdict on a request for a certificate."""
        return await self._replace(kind, item, "approval")

    async def allows(self, review: Mapping[str, Any]) -> bool:
        """Ask whether somebody may do something; ``review`` is a SubjectAccessReview's spec."""
        body = {"apiVersion": _REVIEWS, "kind": "SubjectAccessReview", "spec": review}
        operation = Operation("create", "SubjectAccessReview")
        path = f"/apis/{_REVIEWS}/subjectaccessreviews"
        request = ClientRequest(operation, "POST", path, body=encode(body))
        answer = decoded(request, await self._sender.send(request))
        return bool((answer.get("status") or {}).get("allowed"))

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
        request = ClientRequest(
            Operation("patch", kind.name, namespace or "", name, subresource),
            "PATCH",
            kind.path(namespace, name, subresource),
            body=encode(patch),
            content_type=PATCH_TYPES[type],
        )
        return self._object(kind, request, await self._sender.send(request))

    async def apply(self, kind: Kind[M], wire: Mapping[str, Any], manager: str) -> M:
        """Apply an object as ``manager``, who then owns the fields that ``wire`` has (KEP-555)."""
        meta = wire["metadata"]
        namespace, name = meta.get("namespace"), meta["name"]
        request = ClientRequest(
            Operation("apply", kind.name, namespace or "", name),
            "PATCH",
            kind.path(namespace, name),
            (("fieldManager", manager), ("force", "true")),
            encode(wire),
            APPLY,
        )
        return self._object(kind, request, await self._sender.send(request))

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
        """Delete an object; if ``uid`` is given, only the object with this UID.

        ``propagation`` is Background, Foreground or Orphan. Returns the object if it is still
        ending (gracefully, or because of its finalizers), None if it is gone.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation is not None:
            options["propagationPolicy"] = propagation
        operation = Operation("delete", kind.name, namespace or "", name)
        path = kind.path(namespace, name)
        request = ClientRequest(operation, "DELETE", path, body=encode(options))
        body = await self._sender.send(request)
        left = decoded(request, body)
        if left.get("kind") == "Status" or not _is_ending(left):
            return None
        return self._object(kind, request, body)

    async def delete_collection(self, kind: Kind[M], namespace: str | None) -> None:
        """Delete every object of a kind in a namespace."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        operation = Operation("deletecollection", kind.plural, namespace or "")
        await self._sender.send(
            ClientRequest(operation, "DELETE", kind.path(namespace), body=encode(options))
        )

    async def post(
        self,
        kind: Kind[M],
        namespace: str | None,
        name: str,
        subresource: str,
        body: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Create a subresource, such as a Pod's ``binding``, and return the raw answer."""
        return await self._send_subresource("POST", kind, (namespace, name, subresource), body)

    async def put(
        self,
        kind: Kind[M],
        namespace: str | None,
        name: str,
        subresource: str,
        body: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Replace a subresource, such as a Namespace's ``finalize``, and return the raw answer."""
        return await self._send_subresource("PUT", kind, (namespace, name, subresource), body)

    async def raw(self, path: str, *, most: int | None = None) -> bytes:
        """GET any path, such as /readyz or /version.

        An answer of more than ``most`` bytes, as a server behind the API server may give it, raises
        OversizeError.
        """
        request = ClientRequest(Operation("get", path), "GET", path, most=most)
        return await self._sender.send(request)

    async def _send_subresource(
        self,
        method: str,
        kind: Kind[M],
        target: tuple[str | None, str, str],
        body: Mapping[str, Any],
    ) -> dict[str, Any]:
        namespace, name, subresource = target
        operation = Operation(_VERBS[method], kind.name, namespace or "", name, subresource)
        request = ClientRequest(operation, method, kind.path(*target), body=encode(body))
        return decoded(request, await self._sender.send(request))

    async def _replace(self, kind: Kind[M], item: "Object", subresource: str) -> M:
        namespace, name = item.metadata.namespace, item.metadata.name
        operation = Operation("update", kind.name, namespace or "", name, subresource)
        path = kind.path(namespace, name, subresource)
        return await self._write(kind, operation, "PUT", path, item)

    async def _write(
        self, kind: Kind[M], operation: Operation, method: str, path: str, item: "Object"
    ) -> M:
        wire = item.wire() | {"apiVersion": kind.api_version, "kind": kind.name}
        request = ClientRequest(operation, method, path, body=encode(wire))
        return self._object(kind, request, await self._sender.send(request))

    def _object(self, kind: Kind[M], request: ClientRequest, body: bytes) -> M:
        wire = decoded(request, body)
        try:
            return read_object(kind, wire)
        except UnreadableError as err:
            raise ClientError(f"{request.operation}: {identify(wire)}: {err}") from err


def joined(pages: Iterable[Listing[CachedT]]) -> Listing[CachedT]:
    """Join the pages of a collection."""
    items: list[CachedT] = []
    unreadable: list[str] = []
    version = ""
    for page in pages:
        items += page.items
        unreadable += page.unreadable
        version = page.resource_version
    return Listing(tuple(items), version, tuple(unreadable))


def _whole(page: ListPage[CachedT]) -> Listing[CachedT]:
    return Listing(tuple(page.items), page.version)


def _raw_page(raw: dict[str, Any]) -> ListPage[dict[str, Any]]:
    meta = raw.get("metadata") or {}
    version, token = meta.get("resourceVersion", ""), meta.get("continue") or ""
    return ListPage(raw.pop("items", None) or [], version, token)


async def _page(kind: Kind[M], page: ListPage[dict[str, Any]]) -> Listing[M]:
    items: list[M] = []
    unreadable = []
    for index, wire in enumerate(page.items):
        if index % 200 == 199:
            await asyncio.sleep(0)  # let other tasks, such as heartbeats, run during a long list
        try:
            items.append(read_object(kind, wire))
        except UnreadableError as err:
            unreadable.append(f"{identify(wire)}: {err}")
    return Listing(tuple(items), page.version, tuple(unreadable))


async def _events(kind: Kind[M], response: aiohttp.ClientResponse) -> AsyncIterator[WatchEvent[M]]:
    lines = LineSplitter()
    chunks = response.content.iter_any()
    while True:
        try:
            data = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:  # silence; whoever watches anew learns whether the server is there
            return
        for line in lines.feed(data):
            yield parse_event(kind, line)


def _is_ending(wire: dict[str, Any]) -> bool:
    meta = wire.get("metadata") or {}
    graceful = meta.get("deletionGracePeriodSeconds") != 0
    return "deletionTimestamp" in meta and (graceful or bool(meta.get("finalizers")))


def _query(**parameters: str | None) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in parameters.items() if value)
