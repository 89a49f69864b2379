"""Where a proxied request goes: a Pod, an endpoint of a Service, or a node."""

import asyncio
import random
import socket
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from msgspec import Struct

from control.api import kinds
from control.api.node import Node
from control.server.state.server import ServerState
from control.server.streams.target import node_address, node_port
from control.server.wire import errors
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo, storage_key

Wire = Mapping[str, Any]
_SCHEMES = ("", "http", "https")
_NOT_ALLOWED = "address not allowed"


class Backend(Struct, frozen=True):
    """A server; ``port`` is empty for the scheme's own, ``is_agent`` asks a node's agent."""

    scheme: str
    host: str  # an IP address, or a node's name
    port: str = ""
    is_agent: bool = False

    @property
    def authority(self) -> str:
        """Return ``host:port`` as a URL has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


def backend_of(state: ServerState, info: RequestInfo) -> Backend:
    """Return where a request goes; raises StatusError (400, 404, 503)."""
    scheme, name, port = _split(info)
    if info.kind is kinds.POD:
        return _of_pod(_object(state, kinds.POD, info.namespace, name), scheme, port)
    if info.kind is kinds.SERVICE:
        return _of_service(state, info, scheme, name, port)
    return _of_node(_object(state, kinds.NODE, "", name), scheme, port)


def is_allowed(address: str) -> bool:
    """Return True for an address that is no loopback, link-local, multicast or no address at all.

    As Go's IsGlobalUnicast: no request may reach what only the API server's own host can.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if (inner := getattr(found, "ipv4_mapped", None)) is not None:
        found = inner
    refused = found.is_loopback, found.is_link_local, found.is_multicast, found.is_unspecified
    return not any(refused) and str(found) != "255.255.255.255"


async def reachable(target: Backend) -> None:
    """Refuse a name that leads to an address that is not allowed; raises StatusError (400)."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            target.host, None, type=socket.SOCK_STREAM
        )
    except OSError as err:
        raise errors.bad_request(f"lookup {target.host}: {err.strerror}") from err
    if not all(is_allowed(str(address[0])) for *_, address in found):
        raise errors.bad_request(_NOT_ALLOWED)


def _split(info: RequestInfo) -> tuple[str, str, str]:
    """Return the scheme, name and port of ``name``, ``name:port`` or ``scheme:name:port``."""
    parts = info.name.split(":")
    scheme = parts[0] if len(parts) == 3 else ""
    name = parts[1] if len(parts) == 3 else parts[0]
    if len(parts) > 3 or scheme not in _SCHEMES or not name:
        what = info.kind.name.lower()
        raise errors.bad_request(f"invalid {what} request {_quoted(info.name)}")
    return scheme or "http", name, parts[-1] if len(parts) > 1 else ""


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _object(state: ServerState, kind: kinds.Kind, namespace: str, name: str) -> Wire:
    item = state.cache.of(kind).get(storage_key(kind, namespace, name))
    if item is None:
        raise errors.not_found(kind, name)
    return item.wire


def _of_pod(pod: Wire, scheme: str, port: str) -> Backend:
    if not port:
        ports = (each.get("ports") for each in pod["spec"]["containers"])
        first = next((each[0] for each in ports if each), None)
        port = str(first["containerPort"]) if first else ""
    address = next(iter(_addresses(pod)), "")
    if not is_allowed(address):
        raise errors.bad_request(_NOT_ALLOWED)
    return Backend(scheme, address, port)


def _addresses(pod: Wire) -> list[str]:
    status = pod.get("status") or {}
    return [each.get("ip", "") for each in status.get("podIPs") or ()]


def _of_service(
    state: ServerState, info: RequestInfo, scheme: str, name: str, port: str
) -> Backend:
    """Return one endpoint by chance, which has to be an address of a Pod of this namespace."""
    if port.isascii() and port.isdigit():
        port = _port_name(_object(state, kinds.SERVICE, info.namespace, name), name, int(port))
    endpoints = _object(state, kinds.ENDPOINTS, info.namespace, name)
    for address, number in _shuffled(endpoints, port):
        if _is_of_pod(state, info.namespace, address):
            if not is_allowed(ip := address.get("ip", "")):
                raise errors.unavailable(f"error trying to reach service: {_NOT_ALLOWED}")
            return Backend(scheme, ip, str(number))
    which = info.name if endpoints.get("subsets") else name
    raise errors.unavailable(f"no endpoints available for service {_quoted(which)}")


def _port_name(service: Wire, name: str, number: int) -> str:
    for port in service["spec"].get("ports") or ():
        if port.get("port") == number:
            return port.get("name") or ""
    raise errors.unavailable(f"no service port {number} found for service {_quoted(name)}")


def _shuffled(endpoints: Wire, port: str) -> Iterator[tuple[Wire, int]]:
    """Yield every address with the number of a port, in a random order."""
    subsets = list(endpoints.get("subsets") or ())
    random.shuffle(subsets)
    for subset in subsets:
        numbers = [
            each["port"] for each in subset.get("ports") or () if (each.get("name") or "") == port
        ]
        addresses = list(subset.get("addresses") or ())
        random.shuffle(addresses)
        yield from ((address, numbers[0]) for address in addresses if numbers)


def _is_of_pod(state: ServerState, namespace: str, address: Wire) -> bool:
    """Return True if an endpoint is a Pod: who may write Endpoints may not reach other servers."""
    of = address.get("targetRef") or {}
    if of.get("namespace") != namespace:
        return False
    pod = state.cache.of(kinds.POD).get(storage_key(kinds.POD, namespace, of.get("name", "")))
    return pod is not None and address.get("ip") in _addresses(pod.wire)


def _of_node(wire: Wire, scheme: str, port: str) -> Backend:
    node = Node.parse(dict(wire))
    try:
        address, agent = node_address(node), str(node_port(node))
    except StatusError as err:
        raise errors.bad_request("no addresses for hostname") from err
    if port in ("", agent):
        return Backend("https", address, agent, is_agent=True)
    return Backend(scheme, address, port)
