"""Send HTTP requests, and repeat them where that is safe."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from control.api.wire import UnreadableError, decode
from control.client.errors import ApiError, ClientError, Operation, OversizeError, UnreachableError
from control.client.kubeconfig import ClientConfig, KubeconfigError
from control.client.renewed import Renewed
from control.client.stream import read_status
from control.client.transport import bearer, open_session

if TYPE_CHECKING:
    from control.api.meta import Status
    from control.client.measured import RequestMetrics

logger = logging.getLogger(__name__)

# The maximum number of times that a request is sent. Reads are repeated after a lost connection.
# All requests are repeated if the server asks for it (429, or 503 with Retry-After), because then
# it has done nothing yet.
_TRIES = 4
_PAUSE = 0.1
# Requests under way at once, beside watches. Each has a connection of its own, and a burst of them
# would cost as much in TLS handshakes, on both sides, as in answers.
AT_ONCE = 32
_URGENT = "Lease"  # who waits long to renew one is taken for dead
_LONGEST_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """One HTTP request, with the operation that its errors name.

    ``most`` are the bytes that its answer may have; None for any.
    """

    operation: Operation
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str = "application/json"
    most: int | None = None
    accept: str = ""  # what the session asks for, if empty


class Sender:
    """The connections to one API server."""

    def __init__(
        self,
        config: ClientConfig,
        metrics: "RequestMetrics | None" = None,
        at_once: int = AT_ONCE,
    ) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._config, self._metrics = config, metrics
        self._host = urlsplit(config.server).netloc
        self._session: aiohttp.ClientSession | None = None
        self._files = Renewed(config.credentials.files)
        self._retired: list[aiohttp.ClientSession] = []
        self._authorized: dict[str, str] = {}
        self._readable = True  # the token file
        self._closed = False
        self._reached = True

    async def close(self) -> None:
        """Close all connections; later requests fail."""
        self._closed = True
        sessions, self._retired = [*self._retired, self._session], []
        self._session = None
        for session in filter(None, sessions):
            await session.close()

    async def send(self, request: ClientRequest) -> bytes:
        """Return the body of a successful response; repeat the request where that is safe."""
        began = time.monotonic()
        try:
            return await self._tried(request)
        finally:
            if self._metrics is not None:
                self._metrics.ended(request.method, self._host, time.monotonic() - began)

    async def _tried(self, request: ClientRequest) -> bytes:
        for attempt in range(1, _TRIES):
            code = None
            try:
                return await self._once(request)
            except UnreachableError:
                if request.method != "GET":
                    raise
                pause = _PAUSE * 2**attempt
            except ApiError as err:
                if err.retry_after is None:
                    raise
                pause, code = err.retry_after, err.code
            await asyncio.sleep(min(pause, _LONGEST_PAUSE))
            if self._metrics is not None:
                self._metrics.retried(request.method, self._host, code)
        return await self._once(request)

    async def _once(self, request: ClientRequest) -> bytes:
        if request.operation.kind == _URGENT:
            return await self._exchange(request)
        async with self._turns:
            return await self._exchange(request)

    async def _exchange(self, request: ClientRequest) -> bytes:
        async with self.answer(request) as response:
            if request.most is None:
                body = await response.read()
            else:
                body = await _bounded(request, response, request.most)
        if self._metrics is not None:
            self._metrics.read(request.method, self._host, len(body))
        return body

    @asynccontextmanager
    async def answer(
        self, request: ClientRequest, limits: aiohttp.ClientTimeout | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a successful response; raises ApiError for a refusal, else UnreachableError."""
        if self._closed:
            raise UnreachableError(f"{request.operation}: the client is closed")
        session = await self._opened()
        headers = self._authorization()
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        if request.accept:
            headers["Accept"] = request.accept
        answered = False
        try:
            async with AsyncExitStack() as stack:
                exchange = session.request(
                    request.method,
                    f"{self._config.server}{request.path}",
                    params=request.query,
                    data=request.body,
                    headers=headers,
                    allow_redirects=False,
                    server_hostname=self._config.server_name,
                    timeout=limits or session.timeout,
                )
                response = await stack.enter_async_context(exchange)
                self._found()
                self._count(request, response.status)
                answered = True
                if response.status >= HTTPStatus.BAD_REQUEST:
                    raise ApiError(request.operation, _status(response, await response.read()))
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            if not answered:
                self._count(request, None)
            raise self._lost(request, err) from err

    def _authorization(self) -> dict[str, str]:
        """Return the Authorization header, that of before while there is no token to read.

        As client-go: whatever writes the file may just replace it.
        """
        try:
            self._authorized, self._readable = bearer(self._config.credentials), True
        except KubeconfigError as err:
            if not self._authorized:
                raise ClientError(str(err)) from err
            if self._readable:
                logger.warning("%s; the old token stays in use", err)
            self._readable = False
        return dict(self._authorized)

    async def _opened(self) -> aiohttp.ClientSession:
        """Return the session; it is another one after the client's certificate was renewed.

        What is under way goes on over the old one, which the next renewal closes.
        """
        if self._session is not None and self._files.changed():
            await self._renew(self._session)
        if self._session is None:
            self._session = open_session(self._config)
        return self._session

    async def _renew(self, old: aiohttp.ClientSession) -> None:
        try:
            credentials = self._config.credentials.reread()
            fresh = open_session(replace(self._config, credentials=credentials))
        except (OSError, KubeconfigError) as err:
            logger.warning("client certificate: %s; the old one stays in use", err)
            return
        older, self._retired, self._session = self._retired, [old], fresh
        for session in older:
            await session.close()

    def _count(self, request: ClientRequest, code: int | None) -> None:
        if self._metrics is not None:
            size = len(request.body or b"")
            self._metrics.answered(request.method, self._host, code, size)

    def _found(self) -> None:
        if not self._reached:
            logger.info("API server %s: answers again", self._config.server)
        self._reached = True

    def _lost(self, request: ClientRequest, err: Exception) -> UnreachableError:
        """Return the error of a request without an answer; log each outage once."""
        cause = _cause(err)
        if self._reached and not self._closed:
            logger.warning("API server %s: %s; trying again", self._config.server, cause)
        self._reached = False
        return UnreachableError(f"{request.operation} at {self._config.server}: {cause}")


async def _bounded(request: ClientRequest, response: aiohttp.ClientResponse, most: int) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > most:
            raise OversizeError(f"{request.operation}: the answer has more than {most} bytes")
    return bytes(body)


def _cause(err: Exception) -> str:
    if isinstance(err, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return "the connection broke"
    if isinstance(err, TimeoutError):
        return str(err) or "timeout"
    return str(err) or type(err).__name__


def decoded(request: ClientRequest, body: bytes) -> dict[str, Any]:
    """Return the JSON object of a response; raises ClientError for anything else."""
    try:
        wire = decode(body)
    except orjson.JSONDecodeError as err:
        raise ClientError(f"{request.operation}: the answer is not JSON: {body[:80]!r}") from err
    if not isinstance(wire, dict):
        raise ClientError(f"{request.operation}: the answer is not an object: {body[:80]!r}")
    return wire


def _status(response: aiohttp.ClientResponse, body: bytes) -> "Status":
    """Return the Status of a refusal; plain text, as proxies send it, becomes a Status."""
    try:
        status = read_status(decode(body))
    except (orjson.JSONDecodeError, UnreadableError):
        text = body[:200].decode("utf-8", "replace").strip()
        status = read_status({"message": text or response.reason, "reason": response.reason})
    found: dict[str, Any] = {"code": response.status}
    after = response.headers.get("Retry-After", "")
    if after.isdigit() and status.details is None:
        found["details"] = {"retry_after_seconds": int(after)}
    return type(status).model_validate(status.model_dump() | found)
