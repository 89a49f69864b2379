"""Requests to extension servers: where they are, TLS, who speaks, and bounded answers."""

import random
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from control.api.kinds import ENDPOINT_SLICE, SERVICE
from control.server.state.extensions import Extension
from control.server.state.server import FrontProxy, ServerState
from control.server.streams.proxy.backend import Backend, is_allowed, reachable
from control.server.streams.proxy.carry import backend_session
from control.server.wire.errors import StatusError
from control.server.wire.info import storage_key, storage_prefix
from control.server.wire.request import User
from control.tls import CertificateError, load_identity

Wire = Mapping[str, Any]
_ILLEGAL = re.compile(rb"[^!#$&'*+\-.^_`|~0-9A-Za-z]")
_SERVICE_LABEL = "kubernetes.io/service-name"
_BY_ADDRESS = ("", "ClusterIP", "NodePort", "LoadBalancer")


class ExtensionError(Exception):
    """An extension server cannot be asked, or gives no usable answer."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer of an extension server, whole."""

    code: int
    media: str
    body: bytes
    tag: str = ""


def service_of(state: ServerState, extension: Extension) -> Wire | None:
    """Return the Service of an extension; None if there is none."""
    key = storage_key(SERVICE, extension.namespace, extension.service)
    item = state.cache.of(SERVICE).get(key)
    return item.wire if item else None


def slices_of(state: ServerState, extension: Extension) -> list[Wire]:
    """Return the EndpointSlices of an extension's Service."""
    prefix = storage_prefix(ENDPOINT_SLICE, extension.namespace)
    found = (item.wire for item in state.cache.of(ENDPOINT_SLICE).items(prefix))
    return [each for each in found if _is_of(each, extension.service)]


def _is_of(wire: Wire, service: str) -> bool:
    return (wire["metadata"].get("labels") or {}).get(_SERVICE_LABEL) == service


def port_name(service: Wire, number: int) -> str | None:
    """Return the name of a Service's port; None if the Service has no such port."""
    for port in service["spec"].get("ports") or ():
        if port.get("port") == number:
            return port.get("name") or ""
    return None


def targets(state: ServerState, extension: Extension) -> list[str]:
    """Return HOST:PORT of every ready endpoint in a random order, the Service's family first.

    As an API server with upstream's --enable-aggregator-routing: it needs no kube-proxy beside it.
    Raises ExtensionError if there is none.
    """
    name, service = extension.service, service_of(state, extension)
    if service is None:
        raise ExtensionError(f'service "{name}" not found')
    kind = service["spec"].get("type") or ""
    if kind == "ExternalName":
        return [_authority(service["spec"].get("externalName") or "", extension.port)]
    if kind not in _BY_ADDRESS:
        raise ExtensionError(f'unsupported service type "{kind}"')
    port = port_name(service, extension.port)
    if port is None:
        raise ExtensionError(f'no service port {extension.port} found for service "{name}"')
    family = (service["spec"].get("ipFamilies") or ("",))[0]
    slices = slices_of(state, extension)
    random.shuffle(slices)
    slices.sort(key=lambda it: it.get("addressType") != family)
    found = dict.fromkeys(each for it in slices for each in _of_slice(it, port))
    if not found:
        raise ExtensionError(f'no endpoints available for service "{name}"')
    return list(found)


def _of_slice(wire: Wire, name: str) -> Iterator[str]:
    ports = [it for it in wire.get("ports") or () if (it.get("name") or "") == name]
    number = ports[0].get("port") if ports else None
    if number is None:
        return
    endpoints = list(wire.get("endpoints") or ())
    random.shuffle(endpoints)
    for endpoint in endpoints:
        ready = (endpoint.get("conditions") or {}).get("ready")
        address = next(iter(endpoint.get("addresses") or ()), "")
        if ready in (None, True) and is_allowed(address):
            yield _authority(address, number)


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tls_of(proxy: FrontProxy, extension: Extension) -> ssl.SSLContext:
    """Make a TLS context for requests to an extension server; raises ExtensionError.

    It is made anew for each request, so that a renewed certificate is used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if extension.unverified:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        elif extension.authority:
            context.load_verify_locations(cadata=extension.authority.decode("ascii"))
        else:
            context.load_default_certs()
        if proxy.client is not None:
            load_identity(context, *proxy.client)
    except (CertificateError, ssl.SSLError, ValueError) as err:
        raise ExtensionError(
            f"APIService {extension.name}: caBundle or certificate: {err}"
        ) from err
    return context


@asynccontextmanager
async def session_with(
    state: ServerState, extension: Extension
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with an extension server; raises ExtensionError."""
    service = service_of(state, extension)
    if service is not None and service["spec"].get("type") == "ExternalName":
        await _check_name(service["spec"].get("externalName") or "")
    async with backend_session(tls_of(state.config.front_proxy, extension)) as session:
        yield session


async def _check_name(host: str) -> None:
    """Refuse a name of what only this machine can reach; raises ExtensionError."""
    try:
        await reachable(Backend("https", host))
    except StatusError as err:
        raise ExtensionError(str(err)) from err


def _escaped(sign: re.Match[bytes]) -> bytes:
    return f"%{sign[0][0]:02X}".encode()


def identity(user: User) -> list[tuple[str, str]]:
    """Return the headers that say for whom this server asks, as client-go's auth proxy."""
    found = [("X-Remote-User", user.name)]
    if user.uid:
        found.append(("X-Remote-Uid", user.uid))
    found += [("X-Remote-Group", group) for group in user.groups]
    for key, values in user.extra.items():
        name = _ILLEGAL.sub(_escaped, key.encode("utf-8", "replace"))
        found += [(f"X-Remote-Extra-{name.decode()}", value) for value in values]
    return found


async def fetch(
    session: aiohttp.ClientSession,
    extension: Extension,
    url: str,
    headers: list[tuple[str, str]],
    most: int,
) -> Fetched:
    """GET a URL of an extension server, of at most ``most`` bytes; raises ExtensionError."""
    try:
        async with session.get(
            URL(url, encoded=True),
            headers=headers,
            allow_redirects=False,
            server_hostname=None if extension.unverified else extension.host,
        ) as answer:
            body = bytearray()
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > most:
                    raise ExtensionError(f"its answer has more than {most} bytes")
            media = answer.headers.get("Content-Type", "")
            return Fetched(answer.status, media, bytes(body), answer.headers.get("ETag", ""))
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as err:
        raise ExtensionError(str(err) or "no answer in time") from err
