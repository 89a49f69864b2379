"""The API client: one method for each verb, typed by the rows of ``control.api.kinds``."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from control.api.kind import Kind, M
from control.api.wire import ListPage, UnreadableError, encode
from control.client.errors import ClientError, Operation
from control.client.kubeconfig import ClientConfig, load
from control.client.listing import Listing, from_whole, joined, raw_page, read_page
from control.client.paths import path_of
from control.client.sender import AT_ONCE, ClientRequest, Sender, decoded
from control.client.stream import LineSplitter, WatchEvent, identify, parse_event, read_object
from control.client.transport import CONNECT_SECONDS

if TYPE_CHECKING:
    from control.api.meta import Object
    from control.client.measured import RequestMetrics

PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
APPLY = "application/apply-patch+yaml"  # JSON is YAML
_REVIEWS = "authorization.k8s.io/v1"
_TOKENS = "authentication.k8s.io/v1"
_VERBS = {"POST": "create", "PUT": "update"}


class Client:
    """A client of one API server; use it as an async context manager, or close it.

    Every method raises ApiError if the server refuses, and UnreachableError if it does not answer;
    one on an object also InvalidNameError for names that no object has.
    """

    def __init__(
        self,
        config: ClientConfig,
        metrics: "RequestMetrics | None" = None,
        at_once: int = AT_ONCE,
    ) -> None:
        """``metrics`` count the requests; several clients may share them.

        At most ``at_once`` requests are under way, beside watches and those on Leases; others wait.
        """
        self.config, self.metrics = config, metrics
        self._sender = Sender(config, metrics, at_once)

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
        request = ClientRequest(operation, "GET", path_of(kind, namespace, name))
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
        path = path_of(kind, namespace)
        request = ClientRequest(Operation("list", kind.plural), "GET", path, query)
        coming = asyncio.create_task(self._sender.send(request))
        try:
            while True:
                body = await coming
                whole = kind.model.read_page(body)
                raw = ListPage((), "", "") if whole else raw_page(request, decoded(request, body))
                token = whole.token if whole else raw.token
                if token:  # the server writes the next page while this one is read
                    more = replace(request, query=(*query, ("continue", token)))
                    coming = asyncio.create_task(self._sender.send(more))
                    await asyncio.sleep(0)  # lets the request go before this page is worked on
                yield from_whole(whole) if whole else await read_page(kind, raw)
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
        path = path_of(kind, namespace)
        request = ClientRequest(Operation("watch", kind.plural), "GET", path, query)
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=silence_seconds
        )
        async with self._sender.answer(request, limits) as response:
            yield _events(kind, response)

    async def create(self, kind: Kind[M], item: "Object") -> M:
        """Create an object in the namespace that its metadata names."""
        namespace = item.metadata.namespace
        name = item.metadata.name or f"{item.metadata.generate_name}*"
        operation = Operation("create", kind.name, namespace or "", name)
        return await self._write(kind, operation, "POST", path_of(kind, namespace), item)

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
        return bool((await self._review(_REVIEWS, "SubjectAccessReview", review)).get("allowed"))

    async def may(self, attributes: Mapping[str, Any]) -> bool:
        """Ask whether this client may do something; ``attributes`` as in a review's spec."""
        spec = {"resourceAttributes": dict(attributes)}
        status = await self._review(_REVIEWS, "SelfSubjectAccessReview", spec)
        return bool(status.get("allowed"))

    async def identify(self, token: str) -> Mapping[str, Any] | None:
        """Ask whose a bearer token is (TokenReview); None: it is not valid."""
        status = await self._review(_TOKENS, "TokenReview", {"token": token})
        return status.get("user") or {} if status.get("authenticated") else None

    async def _review(self, group: str, kind: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a review, and return the status of its answer."""
        body = encode({"apiVersion": group, "kind": kind, "spec": spec})
        path = f"/apis/{group}/{kind.lower()}s"
        request = ClientRequest(Operation("create", kind), "POST", path, body=body)
        return decoded(request, await self._sender.send(request)).get("status") or {}

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
            path_of(kind, namespace, name, subresource),
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
            path_of(kind, namespace, name),
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
        path = path_of(kind, namespace, name)
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
            ClientRequest(operation, "DELETE", path_of(kind, namespace), body=encode(options))
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

    async def raw(self, path: str, *, most: int | None = None, accept: str = "") -> bytes:
        """GET any path, such as /readyz or /version; ``accept`` is a media type other than JSON.

        An answer of more than ``most`` bytes, as a server behind the API server may give it, raises
        OversizeError.
        """
        request = ClientRequest(Operation("get", path), "GET", path, most=most, accept=accept)
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
        request = ClientRequest(operation, method, path_of(kind, *target), body=encode(body))
        return decoded(request, await self._sender.send(request))

    async def _replace(self, kind: Kind[M], item: "Object", subresource: str) -> M:
        namespace, name = item.metadata.namespace, item.metadata.name
        operation = Operation("update", kind.name, namespace or "", name, subresource)
        path = path_of(kind, namespace, name, subresource)
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
