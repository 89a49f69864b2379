"""The API client: one method a verb, typed by the rows of `control.api.kinds`."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Generic, Self

import aiohttp
import orjson
from pydantic import ValidationError

from control.api.base import decode, encode
from control.api.kinds import Kind, M
from control.api.meta import Object, Status
from control.client.errors import ApiError, ClientError, UnreachableError
from control.client.kubeconfig import ClientConfig, load
from control.client.stream import Event, Lines, describe, parse_event, read_object
from control.client.transport import bearer, open_session

PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
# How often a request is sent at most. Reads are repeated when nobody answers; everything when the
# server asks for it (429, or 503 with Retry-After), because then it has done nothing yet.
_TRIES = 4
_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class Listing(Generic[M]):
    """A collection as it was at `resource_version`; `unreadable` says which objects are left out
    because they do not fit our models."""

    items: tuple[M, ...]
    resource_version: str
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Call:
    """One HTTP request, and how its errors name it."""

    operation: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str = "application/json"


class Client:
    """Talks to one API server; use it as an async context manager, or close it.

    Every method raises ApiError when the server refuses, UnreachableError when it does not answer.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

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
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- reading -------------------------------------------------------------------------------

    async def get(self, kind: Kind[M], namespace: str | None, name: str) -> M:
        """One object."""
        call = _Call(f"get {_what(kind, namespace, name)}", "GET", kind.path(namespace, name))
        return self._object(kind, call, await self._send(call))

    async def list(
        self,
        kind: Kind[M],
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> Listing[M]:
        """The objects of a namespace, or of all."""
        query = _query(labelSelector=label_selector, fieldSelector=field_selector)
        call = _Call(f"list {kind.plural}", "GET", kind.path(namespace), query)
        raw = _decoded(call, await self._send(call))
        items, unreadable = [], []
        for index, wire in enumerate(raw.get("items") or ()):
            if index % 200 == 199:
                await asyncio.sleep(0)  # a long list must not starve heartbeats
            try:
                items.append(read_object(kind, wire))
            except ValidationError as err:
                unreadable.append(describe(wire, err))
        version = (raw.get("metadata") or {}).get("resourceVersion", "")
        return Listing(tuple(items), version, tuple(unreadable))

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
        """What happens after `resource_version`, until the server ends it.

            async with client.watch(POD) as events:  # entered once the server has accepted
                async for event in events: ...

        Raises ApiError for an ERROR event, MalformedStreamError for garbage, and UnreachableError
        when the connection breaks or nothing at all, not even a bookmark, comes for
        `silence_seconds`: start again from the last resourceVersion seen.
        """
        query = _query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version or None,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=str(timeout_seconds),
        )
        call = _Call(f"watch {kind.plural}", "GET", kind.path(namespace), query)
        limits = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=silence_seconds)
        async with self._answer(call, limits) as response:
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
        """Change parts of an object; `type` is json, merge or strategic."""
        call = _Call(
            f"patch {_what(kind, namespace, name, subresource)}",
            "PATCH",
            kind.path(namespace, name, subresource),
            body=encode(patch),
            content_type=PATCH_TYPES[type],
        )
        return self._object(kind, call, await self._send(call))

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

        `propagation` is Background, Foreground or Orphan. Returns the object if it still has to
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
        call = _Call(operation, "DELETE", kind.path(namespace, name), body=encode(options))
        body = await self._send(call)
        if _decoded(call, body).get("kind") == "Status":
            return None
        left = self._object(kind, call, body)
        return left if _still_ends(left) else None

    async def delete_collection(self, kind: Kind[M], namespace: str | None) -> None:
        """Delete every object of a kind in a namespace."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        operation = f"delete all {kind.plural} in {namespace}"
        await self._send(_Call(operation, "DELETE", kind.path(namespace), body=encode(options)))

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
        call = _Call(operation, "POST", path, body=encode(body))
        return _decoded(call, await self._send(call))

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
        call = _Call(operation, "PUT", path, body=encode(body))
        return _decoded(call, await self._send(call))

    async def raw(self, path: str) -> bytes:
        """GET any path, such as /readyz or /version."""
        return await self._send(_Call(f"get {path}", "GET", path))

    # --- the wire ------------------------------------------------------------------------------

    async def _replace(self, kind: Kind[M], item: Object, sub: str) -> M:
        namespace, name = item.metadata.namespace, item.metadata.name
        operation = f"update {_what(kind, namespace, name, sub)}"
        return await self._write(kind, operation, "PUT", kind.path(namespace, name, sub), item)

    async def _write(
        self, kind: Kind[M], operation: str, method: str, path: str, item: Object
    ) -> M:
        wire = item.wire() | {"apiVersion": kind.api_version, "kind": kind.name}
        call = _Call(operation, method, path, body=encode(wire))
        return self._object(kind, call, await self._send(call))

    def _object(self, kind: Kind[M], call: _Call, body: bytes) -> M:
        wire = _decoded(call, body)
        try:
            return read_object(kind, wire)
        except ValidationError as err:
            raise ClientError(f"{call.operation}: {describe(wire, err)}") from err

    async def _send(self, call: _Call) -> bytes:
        """The body of a success, asking again where that is safe."""
        for attempt in range(1, _TRIES):
            try:
                return await self._once(call)
            except UnreachableError:
                if call.method != "GET":
                    raise
                pause = _PAUSE * 2**attempt
            except ApiError as err:
                if err.retry_after is None:
                    raise
                pause = err.retry_after
            await asyncio.sleep(min(pause, _LONGEST_PAUSE))
        return await self._once(call)

    async def _once(self, call: _Call) -> bytes:
        async with self._answer(call) as response:
            return await response.read()

    @asynccontextmanager
    async def _answer(
        self, call: _Call, limits: aiohttp.ClientTimeout | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A success as it starts; refusals become ApiError, broken connections UnreachableError."""
        if self._closed:
            raise UnreachableError(f"{call.operation}: the client is closed")
        if self._session is None:
            self._session = open_session(self.config)
        headers = bearer(self.config.credentials)
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        try:
            async with AsyncExitStack() as stack:
                request = self._session.request(
                    call.method,
                    f"{self.config.server}{call.path}",
                    params=call.query,
                    data=call.body,
                    headers=headers,
                    allow_redirects=False,
                    server_hostname=self.config.server_name,
                    timeout=limits or self._session.timeout,
                )
                response = await stack.enter_async_context(request)
                if response.status >= HTTPStatus.BAD_REQUEST:
                    raise ApiError(call.operation, _status(response, await response.read()))
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            cause = str(err) or type(err).__name__
            raise UnreachableError(f"{call.operation} at {self.config.server}: {cause}") from err


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


def _decoded(call: _Call, body: bytes) -> dict[str, Any]:
    try:
        wire = decode(body)
    except orjson.JSONDecodeError as err:
        raise ClientError(f"{call.operation}: the answer is not JSON: {body[:80]!r}") from err
    if not isinstance(wire, dict):
        raise ClientError(f"{call.operation}: the answer is not an object: {body[:80]!r}")
    return wire


def _status(response: aiohttp.ClientResponse, body: bytes) -> Status:
    """The Status of a refusal; proxies and old servers answer plain text, which becomes one."""
    try:
        status = Status.parse(decode(body))
    except (orjson.JSONDecodeError, ValidationError, AttributeError):
        text = body[:200].decode("utf-8", "replace").strip()
        status = Status(message=text or response.reason, reason=response.reason)
    found: dict[str, Any] = {"code": response.status}
    after = response.headers.get("Retry-After", "")
    if after.isdigit() and status.details is None:
        found["details"] = {"retry_after_seconds": int(after)}
    return Status.model_validate(status.model_dump() | found)
