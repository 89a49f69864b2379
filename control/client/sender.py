"""Send HTTP requests, and repeat them where that is safe."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from control.api.wire import UnreadableError, decode
from control.client.errors import ApiError, ClientError, Operation, OversizeError, UnreachableError
from control.client.kubeconfig import ClientConfig
from control.client.stream import read_status
from control.client.transport import bearer, open_session

if TYPE_CHECKING:
    from control.api.meta import Status

logger = logging.getLogger(__name__)

# The maximum number of times that a request is sent. Reads are repeated after a lost connection.
# All requests are repeated if the server asks for it (429, or 503 with Retry-After), because then
# it has done nothing yet.
_TRIES = 4
_PAUSE = 0.1
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


class Sender:
    """The connections to one API server."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._reached = True

    async def close(self) -> None:
        """Close all connections; later requests fail."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: ClientRequest) -> bytes:
        """Return the body of a successful response; repeat the request where that is safe."""
        for attempt in range(1, _TRIES):
            try:
                return await self._once(request)
            except UnreachableError:
                if request.method != "GET":
                    raise
                pause = _PAUSE * 2**attempt
            except ApiError as err:
                if err.retry_after is None:
                    raise
                pause = err.retry_after
            await asyncio.sleep(min(pause, _LONGEST_PAUSE))
        return await self._once(request)

    async def _once(self, request: ClientRequest) -> bytes:
        async with self.answer(request) as response:
            if request.most is None:
                return await response.read()
            return await _bounded(request, response, request.most)

    @asynccontextmanager
    async def answer(
        self, request: ClientRequest, limits: aiohttp.ClientTimeout | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a successful response; raises ApiError for a refusal, else UnreachableError."""
        if self._closed:
            raise UnreachableError(f"{request.operation}: the client is closed")
        if self._session is None:
            self._session = open_session(self._config)
        headers = bearer(self._config.credentials)
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        try:
            async with AsyncExitStack() as stack:
                exchange = self._session.request(
                    request.method,
                    f"{self._config.server}{request.path}",
                    params=request.query,
                    data=request.body,
                    headers=headers,
                    allow_redirects=False,
                    server_hostname=self._config.server_name,
                    timeout=limits or self._session.timeout,
                )
                response = await stack.enter_async_context(exchange)
                self._found()
                if response.status >= HTTPStatus.BAD_REQUEST:
                    raise ApiError(request.operation, _status(response, await response.read()))
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise self._lost(request, err) from err

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
