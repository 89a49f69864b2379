"""Validate Endpoints and EndpointSlices. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation and pkg/apis/discovery/validation
"""

from collections.abc import Callable, Sequence
from ipaddress import ip_address

from control.api import field
from control.api.field import FieldError
from control.api.service import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    ForZone,
    SliceEndpoint,
    SlicePort,
)
from control.api.validation import text
from control.api.validation.meta import IMMUTABLE, invalid_each

_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_MAX_ENDPOINTS = 1000
_MAX_PORTS = 20000
_MAX_ADDRESSES = 100
_MAX_HINTS = 8


def validate_endpoints(endpoints: Endpoints) -> list[FieldError]:
    """Check core/v1 Endpoints."""
    found: list[FieldError] = []
    for at, subset in enumerate(endpoints.subsets):
        path = f"subsets[{at}]"
        if not subset.addresses and not subset.not_ready_addresses:
            why = "must specify `addresses` or `notReadyAddresses`"
            found.append(field.required(path, why))
        found += _addresses(f"{path}.addresses", subset.addresses)
        found += _addresses(f"{path}.notReadyAddresses", subset.not_ready_addresses)
        for number, port in enumerate(subset.ports):
            found += _port(f"{path}.ports[{number}]", port, named=len(subset.ports) > 1)
    return found


def _addresses(path: str, addresses: Sequence[EndpointAddress]) -> list[FieldError]:
    found = []
    for at, address in enumerate(addresses):
        found += invalid_each(f"{path}[{at}].ip", address.ip, text.usable_ip(address.ip))
        if address.hostname:
            messages = text.dns_label(address.hostname)
            found += invalid_each(f"{path}[{at}].hostname", address.hostname, messages)
        if address.node_name is not None:
            messages = text.dns_subdomain(address.node_name)
            found += invalid_each(f"{path}[{at}].nodeName", address.node_name, messages)
    return found


def _port(path: str, port: EndpointPort, *, named: bool) -> list[FieldError]:
    found = []
    if named and not port.name:
        found.append(field.required(f"{path}.name"))
    elif port.name:
        found += invalid_each(f"{path}.name", port.name, text.dns_label(port.name))
    found += invalid_each(f"{path}.port", port.port, text.port_number(port.port))
    if port.protocol not in _PROTOCOLS:
        found.append(field.not_supported(f"{path}.protocol", port.protocol, _PROTOCOLS))
    return found + _app_protocol(path, port.app_protocol)


def validate_endpoint_slice(endpoint_slice: EndpointSlice) -> list[FieldError]:
    """Check a discovery.k8s.io/v1 EndpointSlice."""
    kind = endpoint_slice.address_type
    if not kind:
        return [field.required("addressType")]
    if kind not in _TYPES:
        return [field.not_supported("addressType", kind, _TYPES)]
    found = _slice_ports(endpoint_slice.ports)
    if len(endpoint_slice.endpoints) > _MAX_ENDPOINTS:
        return [field.too_many("endpoints", len(endpoint_slice.endpoints), _MAX_ENDPOINTS)]
    for at, endpoint in enumerate(endpoint_slice.endpoints):
        found += _endpoint(f"endpoints[{at}]", endpoint, kind)
    return found


def validate_endpoint_slice_update(new: EndpointSlice, old: EndpointSlice) -> list[FieldError]:
    """Refuse a change of the address type."""
    if new.address_type == old.address_type:
        return []
    return [field.invalid("addressType", new.address_type, IMMUTABLE)]


def _endpoint(path: str, endpoint: SliceEndpoint, kind: str) -> list[FieldError]:
    found: list[FieldError] = []
    if not endpoint.addresses:
        found.append(field.required(f"{path}.addresses", "must contain at least 1 address"))
    if len(endpoint.addresses) > _MAX_ADDRESSES:
        count = len(endpoint.addresses)
        found.append(field.too_many(f"{path}.addresses", count, _MAX_ADDRESSES))
    check = _ADDRESS_CHECKS[kind]
    for at, address in enumerate(endpoint.addresses):
        found += invalid_each(f"{path}.addresses[{at}]", address, check(address))
    if endpoint.hostname is not None:
        messages = text.dns_label(endpoint.hostname)
        found += invalid_each(f"{path}.hostname", endpoint.hostname, messages)
    if endpoint.node_name is not None:
        messages = text.dns_subdomain(endpoint.node_name)
        found += invalid_each(f"{path}.nodeName", endpoint.node_name, messages)
    if endpoint.hints is not None:
        found += _hints(f"{path}.hints.forZones", endpoint.hints.for_zones, text.label_value)
        found += _hints(f"{path}.hints.forNodes", endpoint.hints.for_nodes, text.dns_subdomain)
    return found


def _hints(path: str, hints: Sequence[ForZone], check: text.Check) -> list[FieldError]:
    """Check the places that should use an endpoint: a few, each once."""
    if len(hints) > _MAX_HINTS:
        return [field.too_many(path, len(hints), _MAX_HINTS)]
    found: list[FieldError] = []
    seen: set[str] = set()
    for at, hint in enumerate(hints):
        if hint.name in seen:
            found.append(field.duplicate(f"{path}[{at}].name", hint.name))
        seen.add(hint.name)
        found += invalid_each(f"{path}[{at}].name", hint.name, check(hint.name))
    return found


def _family_check(version: int) -> Callable[[str], list[str]]:
    def check(value: str) -> list[str]:
        messages = text.usable_ip(value)
        if not messages and ip_address(value).version != version:
            return [f"must be an IPv{version} address"]
        return messages or text.canonical_ip(value)

    return check


def _full_name(value: str) -> list[str]:
    """Check a name in DNS of two parts or more; a final dot may be there."""
    name = value.removesuffix(".")
    if messages := text.dns_subdomain(name):
        return [",".join(messages)]
    if "." not in name:
        return ["should be a domain with at least two segments separated by dots"]
    return [message for label in name.split(".") for message in text.dns_label(label)]


_ADDRESS_CHECKS = {"IPv4": _family_check(4), "IPv6": _family_check(6), "FQDN": _full_name}


def _slice_ports(ports: Sequence[SlicePort]) -> list[FieldError]:
    if len(ports) > _MAX_PORTS:
        return [field.too_many("ports", len(ports), _MAX_PORTS)]
    found: list[FieldError] = []
    names: set[str] = set()
    for at, port in enumerate(ports):
        path = f"ports[{at}]"
        name = port.name or ""
        if name:
            found += invalid_each(f"{path}.name", name, text.dns_label(name))
        if name in names:
            found.append(field.duplicate(f"{path}.name", name))
        names.add(name)
        if port.protocol not in _PROTOCOLS:
            found.append(field.not_supported(f"{path}.protocol", port.protocol, _PROTOCOLS))
        if port.port is not None:
            found += invalid_each(f"{path}.port", port.port, text.port_number(port.port))
        found += _app_protocol(path, port.app_protocol)
    return found


def _app_protocol(path: str, name: str | None) -> list[FieldError]:
    if name is None:
        return []
    return invalid_each(f"{path}.appProtocol", name, text.qualified_name(name))
