"""Ask a webhook: POST an object to a URL or to a Service's server, and read the answer.

Source: k8s.io/apiserver/pkg/util/webhook, and client-go's errors for answers that are none.
"""

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import orjson
from msgspec import Struct

from control.server.remote.client import Fetched, Outgoing, ask, session_with, tls_context
from control.server.remote.services import RemoteError, targets
from control.server.state.server import ServerState
from control.server.streams.proxy.carry import backend_session
from control.server.wire.body import marks

Wire = Mapping[str, Any]
# Bytes: the largest object, as a patch in base64, and as much again.
MOST_BYTES = 8 * 1024 * 1024
# Values of an answer, which take some 0.2 s to read: an object of 3 MB seldom has as many.
_MOST_VALUES = 500_000
_PORT = 443
_HEADERS = {
    "Accept": "application/json, */*",
    "Content-Type": "application/json",
    "User-Agent": "kube-apiserver-admission",
}
_READ = 64 * 1024  # bytes of a refusal
_SHOWN = 1024  # bytes of an answer that a message repeats


class Address(Struct, frozen=True):
    """Where a webhook is: a URL, or a path of a Service's port. ``authority`` is PEM."""

    url: str = ""
    namespace: str = ""
    service: str = ""
    port: int = _PORT
    path: str = ""
    authority: bytes = b""

    @property
    def host(self) -> str:
        """The name that the certificate of a Service's server must have."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def shown(self) -> str:
        """The URL as messages have it."""
        return self.url or f"https://{self.host}:{self.port}{self.path}"


def read_address(wire: Wire) -> Address:
    """Read a valid ``clientConfig``."""
    try:
        authority = b64decode(wire.get("caBundle") or "", validate=True)
    except (binascii.Error, ValueError):
        authority = b"no PEM"  # stored by somebody else: no certificate is right
    service = wire.get("service")
    if not service:
        return Address(wire.get("url") or "", authority=authority)
    path = service.get("path") or "/"
    return Address(
        "",
        service.get("namespace") or "",
        service.get("name") or "",
        service.get("port") or _PORT,
        path if path.startswith("/") else f"/{path}",
        authority,
    )


async def post(state: ServerState, address: Address, body: bytes, seconds: int) -> bytes:
    """Return the body of the answer to an object; raises RemoteError."""
    url = _timed(address.shown, seconds)
    try:
        async with asyncio.timeout(seconds):
            answer = await _posted(state, address, body, seconds)
    except TimeoutError as err:
        raise RemoteError(f'Post "{url}": context deadline exceeded') from err
    except RemoteError as err:
        raise RemoteError(f'Post "{url}": {err}') from err
    if not 200 <= answer.code < 300:
        raise RemoteError(_refused(answer), answer.code)
    if marks(answer.body) > _MOST_VALUES:
        raise RemoteError(f'Post "{url}": its answer has more than {_MOST_VALUES} values')
    return answer.body


async def _posted(state: ServerState, address: Address, body: bytes, seconds: int) -> Fetched:
    tls = tls_context("webhook", address.authority)
    if address.url:
        outgoing = Outgoing("POST", _timed(address.url, seconds), _HEADERS, body)
        async with backend_session(tls) as session:
            return await ask(session, outgoing, MOST_BYTES)
    url = _timed(f"https://{targets(state, address)[0]}{address.path}", seconds)
    headers = _HEADERS | {"Host": address.host}
    outgoing = Outgoing("POST", url, headers, body, address.host)
    async with session_with(state, address, tls) as session:
        return await ask(session, outgoing, MOST_BYTES)


def _timed(url: str, seconds: int) -> str:
    return f"{url}{'&' if '?' in url else '?'}timeout={seconds}s"


def _refused(answer: Fetched) -> str:
    """Return what client-go says of an answer that is a failure."""
    try:
        status = orjson.loads(answer.body[:_READ])
    except orjson.JSONDecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status" and status.get("message"):
        return str(status["message"])
    if answer.code == 404:
        return "the server could not find the requested resource"
    text = answer.body[:_SHOWN].decode(errors="replace").strip() or "unknown"
    shown = orjson.dumps(text).decode()
    return f"an error on the server ({shown}) has prevented the request from succeeding"
