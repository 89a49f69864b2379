"""The table columns of Services, Endpoints, EndpointSlices and Nodes. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from control.api.columns.base import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    Cell,
    Column,
    Columns,
    Wire,
    age_of,
    labels_text,
    name_of,
    wide,
)

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE = "kubernetes.io/role"
_MAX_ENDPOINTS = 3


def _service(service: Wire, now: datetime) -> Sequence[Cell]:
    spec = service.get("spec", {})
    ips = [ip for ip in spec.get("clusterIPs", []) if ip] or [spec.get("clusterIP") or NONE]
    return (
        name_of(service),
        spec.get("type", ""),
        ips[0],
        _external(service),
        _ports(spec),
        age_of(service, now),
        labels_text(spec.get("selector")),
    )


def _external(service: Wire) -> str:
    """Return the addresses of a Service outside of the cluster."""
    spec = service.get("spec", {})
    ips = spec.get("externalIPs", [])
    kind = spec.get("type")
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind != "LoadBalancer":
        return ",".join(ips) or NONE
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    balanced = sorted({item.get("ip") or item.get("hostname", "") for item in ingress})
    return ",".join([*balanced, *ips]) or "<pending>"


def _ports(spec: Wire) -> str:
    shown = [
        f"{port.get('port')}{f':{node}' if (node := port.get('nodePort')) else ''}"
        f"/{port.get('protocol', 'TCP')}"
        for port in spec.get("ports", [])
    ]
    return ",".join(shown) or NONE


SERVICE = Columns(
    (
        NAME,
        Column("Type", description="How the Service is exposed."),
        Column("Cluster-IP", description="The address inside of the cluster."),
        Column("External-IP", description="Addresses outside of the cluster."),
        Column("Port(s)", description="Ports, with their node ports."),
        AGE,
        wide("Selector"),
    ),
    _service,
)


def _endpoints(endpoints: Wire, now: datetime) -> Sequence[Cell]:
    shown = list(_pairs(endpoints))
    text = ",".join(shown[:_MAX_ENDPOINTS])
    if len(shown) > _MAX_ENDPOINTS:
        text += f" + {len(shown) - _MAX_ENDPOINTS} more..."
    return name_of(endpoints), text or NONE, age_of(endpoints, now)


def _pairs(endpoints: Wire) -> Iterator[str]:
    for subset in endpoints.get("subsets", []):
        addresses = [address.get("ip", "") for address in subset.get("addresses", [])]
        ports = [port.get("port") for port in subset.get("ports", [])]
        if not ports:
            yield from addresses
        for port in ports:
            yield from (f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip in addresses)


ENDPOINTS = Columns((NAME, Column("Endpoints"), AGE), _endpoints)


def _endpoint_slice(endpoint_slice: Wire, now: datetime) -> Sequence[Cell]:
    ports = [str(port.get("port") or "*") for port in endpoint_slice.get("ports", [])]
    addresses = [
        address
        for endpoint in endpoint_slice.get("endpoints", [])
        for address in endpoint.get("addresses", [])
    ]
    return (
        name_of(endpoint_slice),
        endpoint_slice.get("addressType", ""),
        _few(ports) if ports else "<unset>",
        _few(addresses) if addresses else "<unset>",
        age_of(endpoint_slice, now),
    )


def _few(items: list[str]) -> str:
    text = ",".join(items[:_MAX_ENDPOINTS])
    more = len(items) - _MAX_ENDPOINTS
    return f"{text} + {more} more..." if more > 0 else text


ENDPOINT_SLICE = Columns(
    (NAME, Column("AddressType"), Column("Ports"), Column("Endpoints"), AGE), _endpoint_slice
)


def _node(node: Wire, now: datetime) -> Sequence[Cell]:
    info = node.get("status", {}).get("nodeInfo", {})
    return (
        name_of(node),
        _node_status(node),
        _roles(node),
        age_of(node, now),
        info.get("kubeletVersion", ""),
        _address(node, "InternalIP"),
        _address(node, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        _kernel(info),
        info.get("containerRuntimeVersion") or UNKNOWN,
    )


def _kernel(info: Wire) -> str:
    machine = info.get("architecture")
    return (info.get("kernelVersion") or UNKNOWN) + (f" ({machine})" if machine else "")


def _node_status(node: Wire) -> str:
    conditions = node.get("status", {}).get("conditions", [])
    ready = next((c for c in conditions if c.get("type") == "Ready"), None)
    word = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    cordoned = node.get("spec", {}).get("unschedulable")
    return f"{word},SchedulingDisabled" if cordoned else word


def _roles(node: Wire) -> str:
    labels = node["metadata"].get("labels", {})
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    roles |= {labels.get(_ROLE, "")}
    return ",".join(sorted(role for role in roles if role)) or NONE


def _address(node: Wire, kind: str) -> str:
    addresses = node.get("status", {}).get("addresses", [])
    return next((str(a["address"]) for a in addresses if a.get("type") == kind), NONE)


NODE = Columns(
    (
        NAME,
        Column("Status", description="The node's readiness to run Pods."),
        Column("Roles", description="The roles in the node's labels."),
        AGE,
        Column("Version", description="The version of the node's agent."),
        wide("Internal-IP"),
        wide("External-IP"),
        wide("OS-Image"),
        wide("Kernel-Version"),
        wide("Container-Runtime"),
    ),
    _node,
)
