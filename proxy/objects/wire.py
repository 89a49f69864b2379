"""EndpointSlices as the proxy reads them, checked as ``control.api.service`` checks them.

There are more endpoints than other objects. pydantic reads a plain dict in a third of the time that
a model takes.
"""

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from control.api import kinds
from control.api.base import wire_name
from control.api.kinds import Kind
from control.api.meta import Object

_PLAIN = ConfigDict(alias_generator=wire_name, strict=True, extra="ignore")


@with_config(_PLAIN)
class ObjectReference(TypedDict, total=False):
    """A reference to an object."""

    api_version: str | None
    kind: str | None
    namespace: str | None
    name: str | None
    uid: str | None
    resource_version: str | None
    field_path: str | None


@with_config(_PLAIN)
class EndpointConditions(TypedDict, total=False):
    """An endpoint's conditions. Absent ``ready`` and ``serving`` mean True."""

    ready: bool | None
    serving: bool | None
    terminating: bool | None


@with_config(_PLAIN)
class ForZone(TypedDict):
    """A zone (or node) that an endpoint should serve."""

    name: str


@with_config(_PLAIN)
class EndpointHints(TypedDict, total=False):
    """The zones and nodes that should prefer an endpoint (KEP-2433, KEP-4444)."""

    for_zones: list[ForZone]
    for_nodes: list[ForZone]


@with_config(_PLAIN)
class SliceEndpoint(TypedDict, total=False):
    """One endpoint of a Service. Its addresses are interchangeable; the first is used."""

    addresses: list[str]
    conditions: EndpointConditions
    hostname: str | None
    target_ref: ObjectReference | None
    node_name: str | None
    zone: str | None
    hints: EndpointHints | None
    deprecated_topology: dict[str, str]


@with_config(_PLAIN)
class SlicePort(TypedDict, total=False):
    """A port that every endpoint of the slice serves. Its name is the Service port's."""

    name: str | None
    protocol: str | None
    port: int | None
    app_protocol: str | None


class EndpointSlice(Object):
    """discovery.k8s.io/v1 EndpointSlice."""

    address_type: str = ""
    endpoints: list[SliceEndpoint] = []
    ports: list[SlicePort] = []


_API = kinds.ENDPOINT_SLICE
ENDPOINT_SLICE = Kind(_API.group, _API.version, _API.name, _API.plural, EndpointSlice)
