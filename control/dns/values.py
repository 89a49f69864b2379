"""Services and endpoints as the DNS server sees them: what of the API's objects is in an answer."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from control.api.cluster import Namespace
from control.api.pod import Pod
from control.api.service import EndpointSlice, Service, SliceEndpoint

SERVICE_NAME = "kubernetes.io/service-name"
_TOLERATE = "service.alpha.kubernetes.io/tolerate-unready-endpoints"
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Port:
    """A port; an unnamed one has the name ""."""

    name: str
    protocol: str
    number: int


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """A Service. One without addresses is headless, unless it is ``external``."""

    key: Key
    uid: str
    resource_version: str
    addresses: tuple[str, ...]
    external_name: str  # "" if there is none, or if it is an address
    external: bool
    ports: tuple[Port, ...]
    unready: bool  # publish addresses that are not ready


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address behind a Service."""

    address: str
    hostname: str
    ready: bool


@dataclass(frozen=True, slots=True)
class SliceEntry:
    """An EndpointSlice."""

    key: Key
    uid: str
    resource_version: str
    service: Key
    endpoints: tuple[Endpoint, ...]
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class NamespaceEntry:
    """A Namespace, of which only the name counts."""

    key: Key
    uid: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class PodEntry:
    """A Pod; without an address it has no record."""

    key: Key
    uid: str
    resource_version: str
    address: str


def read_pod(pod: Pod) -> PodEntry:
    """Return a Pod's part in answers; one that is being deleted has none."""
    meta = pod.metadata
    address = "" if meta.deletion_timestamp else _canonical(pod.status.pod_ip or "")
    return PodEntry(pod.key, meta.uid, meta.resource_version, address)


def read_service(service: Service) -> ServiceEntry:
    """Return a Service's part in answers."""
    spec, meta = service.spec, service.metadata
    external = (spec.external_name or "") if spec.type == "ExternalName" else ""
    given = [] if spec.type == "ExternalName" else spec.cluster_ips or [spec.cluster_ip or ""]
    return ServiceEntry(
        service.key,
        meta.uid,
        meta.resource_version,
        tuple(_addresses(given)),
        "" if _canonical(external.rstrip(".")) else external,
        spec.type == "ExternalName",
        tuple(Port(port.name, port.protocol, port.port) for port in spec.ports),
        bool(spec.publish_not_ready_addresses) or meta.annotations.get(_TOLERATE) == "true",
    )


def read_slice(part: EndpointSlice, *, pod_names: bool = False) -> SliceEntry:
    """Return an EndpointSlice's part in answers; slices of FQDNs have none.

    With ``pod_names`` an endpoint without a hostname has the name of its Pod.
    """
    meta = part.metadata
    known = part.address_type in ("IPv4", "IPv6")
    return SliceEntry(
        part.key,
        meta.uid,
        meta.resource_version,
        (meta.namespace or "", meta.labels.get(SERVICE_NAME, "")),
        tuple(e for each in part.endpoints for e in _endpoints(each, pod_names)) if known else (),
        tuple(Port(p.name or "", p.protocol or "TCP", p.port or 0) for p in part.ports),
    )


def read_namespace(namespace: Namespace) -> NamespaceEntry:
    """Return a Namespace's name."""
    meta = namespace.metadata
    return NamespaceEntry(namespace.key, meta.uid, meta.resource_version)


def _endpoints(each: SliceEndpoint, pod_names: bool) -> list[Endpoint]:
    ready = each.conditions.ready is not False
    name = each.hostname or ""
    if not name and pod_names and each.target_ref:
        name = each.target_ref.name or ""
    return [Endpoint(address, name, ready) for address in _addresses(each.addresses)]


def _addresses(given: list[str]) -> list[str]:
    """Return the valid addresses in canonical form; "" and "None" are none."""
    return [found for text in given if (found := _canonical(text))]


def _canonical(text: str, parse: Callable[[str], object] = ip_address) -> str:
    try:
        return str(parse(text))
    except ValueError:
        return ""
