"""Where a Service leads to: the ready endpoints behind one of its ports.

As an API server with upstream's --enable-aggregator-routing: it needs no kube-proxy beside it.
Source: k8s.io/apiserver/pkg/util/proxy.
"""

import random
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from control.api.kinds import ENDPOINT_SLICE, SERVICE
from control.server.state.server import ServerState
from control.server.streams.proxy.backend import is_allowed
from control.server.wire.info import storage_key, storage_prefix

Wire = Mapping[str, Any]
_SERVICE_LABEL = "kubernetes.io/service-name"
_BY_ADDRESS = ("", "ClusterIP", "NodePort", "LoadBalancer")


class RemoteError(Exception):
    """A server that extends this one cannot be asked, or gives no usable answer.

    ``code`` is that of its answer if that is a refusal, else 503.
    """

    def __init__(self, why: str, code: int = 503) -> None:
        super().__init__(why)
        self.code = code


class ServicePort(Protocol):
    """A port of a Service."""

    @property
    def namespace(self) -> str:
        """The Service's namespace."""

    @property
    def service(self) -> str:
        """The Service's name."""

    @property
    def port(self) -> int:
        """The number of its port."""


def service_of(state: ServerState, at: ServicePort) -> Wire | None:
    """Return the Service of a port; None if there is none."""
    key = storage_key(SERVICE, at.namespace, at.service)
    item = state.cache.of(SERVICE).get(key)
    return item.wire if item else None


def slices_of(state: ServerState, at: ServicePort) -> list[Wire]:
    """Return the EndpointSlices of a port's Service."""
    prefix = storage_prefix(ENDPOINT_SLICE, at.namespace)
    found = (item.wire for item in state.cache.of(ENDPOINT_SLICE).items(prefix))
    return [each for each in found if _is_of(each, at.service)]


def _is_of(wire: Wire, service: str) -> bool:
    return (wire["metadata"].get("labels") or {}).get(_SERVICE_LABEL) == service


def port_name(service: Wire, number: int) -> str | None:
    """Return the name of a Service's port; None if the Service has no such port."""
    for port in service["spec"].get("ports") or ():
        if port.get("port") == number:
            return port.get("name") or ""
    return None


def targets(state: ServerState, at: ServicePort) -> list[str]:
    """Return HOST:PORT of every ready endpoint in a random order, the Service's family first.

    Raises RemoteError if there is none.
    """
    name, service = at.service, service_of(state, at)
    if service is None:
        raise RemoteError(f'service "{name}" not found')
    kind = service["spec"].get("type") or ""
    if kind == "ExternalName":
        return [_authority(service["spec"].get("externalName") or "", at.port)]
    if kind not in _BY_ADDRESS:
        raise RemoteError(f'unsupported service type "{kind}"')
    port = port_name(service, at.port)
    if port is None:
        raise RemoteError(f'no service port {at.port} found for service "{name}"')
    family = (service["spec"].get("ipFamilies") or ("",))[0]
    slices = slices_of(state, at)
    random.shuffle(slices)
    slices.sort(key=lambda it: it.get("addressType") != family)
    found = dict.fromkeys(each for it in slices for each in _of_slice(it, port))
    if not found:
        raise RemoteError(f'no endpoints available for service "{name}"')
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
