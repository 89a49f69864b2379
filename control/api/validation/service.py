"""Validate Services. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from control.api import field
from control.api.defaults.service import (
    HEADLESS,
    externally_accessible,
    needs_health_check,
)
from control.api.field import FieldError
from control.api.service import LoadBalancerIngress, Service, ServicePort, ServiceSpec
from control.api.validation import text
from control.api.validation.meta import invalid_each, validate_labels

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_FAMILIES = ("IPv4", "IPv6")
_TRAFFIC = ("Cluster", "Local")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_RANGES = "spec.LoadBalancerSourceRanges"  # upstream names the field so
_AFFINITY_MAX = 86400
_KUBELET_PORT = 10250


def validate_service(service: Service) -> list[FieldError]:
    """Check a Service whose fields are allocated."""
    spec = service.spec
    found = _type(spec)
    found += _ports(spec)
    found += validate_labels("spec.selector", spec.selector)
    found += _affinity(spec)
    found += validate_addresses(spec.wire())
    for at, address in enumerate(spec.external_ips):
        found += invalid_each(f"spec.externalIPs[{at}]", address, text.usable_ip(address))
    found += _load_balancer(spec)
    return found + _traffic(spec)


def _is_headless(spec: ServiceSpec) -> bool:
    return spec.cluster_ips[:1] == [HEADLESS]


def _type(spec: ServiceSpec) -> list[FieldError]:
    if spec.type not in _TYPES:
        return [field.not_supported("spec.type", spec.type, _TYPES)]
    if spec.type == "ExternalName":
        return _external_name(spec)
    if spec.type != "ClusterIP" and _is_headless(spec):
        why = f"may not be set to 'None' for {spec.type} services"
        return [field.invalid("spec.clusterIPs[0]", HEADLESS, why)]
    return []


def _external_name(spec: ServiceSpec) -> list[FieldError]:
    why = "may not be set for ExternalName services"
    given = {
        "clusterIPs": spec.cluster_ips,
        "ipFamilies": spec.ip_families,
        "ipFamilyPolicy": spec.ip_family_policy,
    }
    found = [field.forbidden(f"spec.{name}", why) for name, value in given.items() if value]
    name = (spec.external_name or "").removesuffix(".")
    if not name:
        return [*found, field.required("spec.externalName")]
    return found + invalid_each("spec.externalName", name, text.dns_subdomain(name))


def _ports(spec: ServiceSpec) -> list[FieldError]:
    if not spec.ports and not _is_headless(spec) and spec.type != "ExternalName":
        return [field.required("spec.ports")]
    found: list[FieldError] = []
    names: set[str] = set()
    for at, port in enumerate(spec.ports):
        found += _port(f"spec.ports[{at}]", port, names, named=len(spec.ports) > 1)
        if spec.type == "LoadBalancer" and port.port == _KUBELET_PORT:
            why = f"may not expose port {port.port} externally since it is used by kubelet"
            found.append(field.invalid(f"spec.ports[{at}]", port.port, why))
        if spec.type == "ClusterIP" and port.node_port:
            why = "may not be used when `type` is 'ClusterIP'"
            found.append(field.forbidden(f"spec.ports[{at}].nodePort", why))
    return found + list(_duplicate_ports(spec))


def _port(path: str, port: ServicePort, names: set[str], *, named: bool) -> list[FieldError]:
    found = []
    if named and not port.name:
        found.append(field.required(f"{path}.name"))
    elif port.name:
        found += invalid_each(f"{path}.name", port.name, text.dns_label(port.name))
        if port.name in names:
            found.append(field.duplicate(f"{path}.name", port.name))
        names.add(port.name)
    found += invalid_each(f"{path}.port", port.port, text.port_number(port.port))
    if port.protocol not in _PROTOCOLS:
        found.append(field.not_supported(f"{path}.protocol", port.protocol, _PROTOCOLS))
    found += validate_port_or_name(f"{path}.targetPort", port.target_port)
    if port.app_protocol is not None:
        messages = text.qualified_name(port.app_protocol)
        found += invalid_each(f"{path}.appProtocol", port.app_protocol, messages)
    return found


def validate_port_or_name(path: str, value: int | str | None) -> list[FieldError]:
    """Check a port number or the name of a container port."""
    if isinstance(value, str):
        return invalid_each(path, value, text.port_name(value))
    return invalid_each(path, value, text.port_number(value or 0))


def _duplicate_ports(spec: ServiceSpec) -> Iterator[FieldError]:
    ports: set[tuple[str, int]] = set()
    node_ports: set[tuple[str, int]] = set()
    for at, port in enumerate(spec.ports):
        key = (port.protocol, port.port)
        if key in ports:
            value = {"protocol": port.protocol, "port": port.port}
            yield field.duplicate(f"spec.ports[{at}]", value)
        ports.add(key)
        if not port.node_port:
            continue
        if (port.protocol, port.node_port) in node_ports:
            yield field.duplicate(f"spec.ports[{at}].nodePort", port.node_port)
        node_ports.add((port.protocol, port.node_port))


def _affinity(spec: ServiceSpec) -> list[FieldError]:
    path = "spec.sessionAffinityConfig"
    if spec.session_affinity not in ("ClientIP", "None"):
        known = ("ClientIP", "None")
        return [field.not_supported("spec.sessionAffinity", spec.session_affinity, known)]
    config = spec.session_affinity_config
    if spec.session_affinity == "None":
        why = "must not be set when session affinity is None"
        return [field.forbidden(path, why)] if config else []
    client = config.client_ip if config else None
    if client is None or client.timeout_seconds is None:
        return [field.required(path, "when session affinity type is ClientIP")]
    if not 0 < client.timeout_seconds <= _AFFINITY_MAX:
        why = f"must be greater than 0 and less than {_AFFINITY_MAX}"
        return [field.invalid(f"{path}.clientIP.timeoutSeconds", client.timeout_seconds, why)]
    return []


def validate_addresses(spec: Mapping[str, Any]) -> list[FieldError]:
    """Check that clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy agree, if given."""
    if spec.get("type") == "ExternalName":
        return []
    policy, families = spec.get("ipFamilyPolicy"), spec.get("ipFamilies", [])
    ips, first = spec.get("clusterIPs", []), spec.get("clusterIP", "")
    found = []
    if policy and policy not in _POLICIES:
        found.append(field.not_supported("spec.ipFamilyPolicy", policy, _POLICIES))
    found += _families(families)
    if ips and first != ips[0]:
        why = "first value must match `clusterIP`"
        found.append(field.invalid("spec.clusterIPs", ips, why))
    return found + (_cluster_ips(ips, families) if not found else [])


def _families(families: list[str]) -> list[FieldError]:
    found = []
    for at, family in enumerate(families):
        if family not in _FAMILIES:
            found.append(field.not_supported(f"spec.ipFamilies[{at}]", family, _FAMILIES))
        elif family in families[:at]:
            found.append(field.duplicate(f"spec.ipFamilies[{at}]", family))
    return found


def _cluster_ips(ips: list[str], families: list[str]) -> list[FieldError]:
    if HEADLESS in ips:
        why = "'None' must be the first and only value"
        return [] if ips == [HEADLESS] else [field.invalid("spec.clusterIPs", ips, why)]
    found = []
    for at, address in enumerate(ips):
        found += invalid_each(
            f"spec.clusterIPs[{at}]", address, text.ip(address) if address else []
        )
    if found:
        return found
    if len(ips) > 2:
        return [field.invalid("spec.clusterIPs", ips, "may only hold up to 2 values")]
    versions = [f"IPv{ip_address(address).version}" if address else "" for address in ips]
    if len(ips) == 2 and versions[0] == versions[1]:
        why = "may specify no more than one IP for each IP family"
        return [field.invalid("spec.clusterIPs", ips, why)]
    return [
        field.invalid(
            f"spec.clusterIPs[{at}]",
            ips[at],
            f"expected an {family} value as indicated by `ipFamilies[{at}]`",
        )
        for at, (version, family) in enumerate(zip(versions, families, strict=False))
        if version and version != family
    ]


def _load_balancer(spec: ServiceSpec) -> list[FieldError]:
    why = "may only be used when `type` is 'LoadBalancer'"
    found = []
    if spec.type == "LoadBalancer":
        if spec.allocate_load_balancer_node_ports is None:
            found.append(field.required("spec.allocateLoadBalancerNodePorts"))
    elif spec.allocate_load_balancer_node_ports is not None:
        found.append(field.forbidden("spec.allocateLoadBalancerNodePorts", why))
    if spec.load_balancer_class and spec.type != "LoadBalancer":
        found.append(field.forbidden("spec.loadBalancerClass", why))
    elif (name := spec.load_balancer_class) is not None and spec.type == "LoadBalancer":
        found += invalid_each("spec.loadBalancerClass", name, text.qualified_name(name))
    if spec.load_balancer_source_ranges and spec.type != "LoadBalancer":
        found.append(field.forbidden(_RANGES, why))
    for at, source in enumerate(spec.load_balancer_source_ranges):
        found += invalid_each(f"{_RANGES}[{at}]", source, text.cidr(source.strip()))
    return found


def _traffic(spec: ServiceSpec) -> list[FieldError]:
    wire = spec.wire()
    external, internal = spec.external_traffic_policy, spec.internal_traffic_policy
    found = []
    if not externally_accessible(wire):
        if external:
            why = "may only be set for externally-accessible services"
            found.append(field.invalid("spec.externalTrafficPolicy", external, why))
    elif external not in _TRAFFIC:
        found.append(field.not_supported("spec.externalTrafficPolicy", external, _TRAFFIC))
    if spec.health_check_node_port and not needs_health_check(wire):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        found.append(field.invalid("spec.healthCheckNodePort", spec.health_check_node_port, why))
    if spec.type != "ExternalName" and internal not in _TRAFFIC:
        found.append(field.not_supported("spec.internalTrafficPolicy", internal, _TRAFFIC))
    distribution = spec.traffic_distribution
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        path = "spec.trafficDistribution"
        found.append(field.not_supported_in_order(path, distribution, _DISTRIBUTIONS))
    return found


def validate_service_status(service: Service) -> list[FieldError]:
    """Check the addresses of a Service's load balancer."""
    balancer = service.status.load_balancer
    ingress = balancer.ingress if balancer else []
    path = "status.loadBalancer.ingress"
    if ingress and service.spec.type != "LoadBalancer":
        why = "may only be used when `spec.type` is LoadBalancer"
        return [field.forbidden(path, why)]
    found: list[FieldError] = []
    for at, address in enumerate(ingress):
        found += _ingress(f"{path}[{at}]", address)
    return found


def _ingress(path: str, ingress: LoadBalancerIngress) -> list[FieldError]:
    found = []
    if ingress.ip:
        found += invalid_each(f"{path}.ip", ingress.ip, text.ip(ingress.ip))
    if ingress.ip_mode is not None and not ingress.ip:
        why = "may not be specified when `ip` is not set"
        found.append(field.forbidden(f"{path}.ipMode", why))
    elif ingress.ip_mode not in (None, "Proxy", "VIP"):
        found.append(field.not_supported(f"{path}.ipMode", ingress.ip_mode, ("Proxy", "VIP")))
    if ingress.hostname:
        name = ingress.hostname
        found += invalid_each(f"{path}.hostname", name, text.dns_subdomain(name))
        if not text.ip(name):
            why = "must be a DNS name, not an IP address"
            found.append(field.invalid(f"{path}.hostname", name, why))
    return found


def validate_service_update(new: Service, old: Service) -> list[FieldError]:
    """Refuse changes of cluster IPs, families and the load balancer class."""
    if "ExternalName" in (new.spec.type, old.spec.type):
        return []
    found = _unchanged("clusterIPs", new.spec.cluster_ips, old.spec.cluster_ips)
    found += _unchanged("ipFamilies", new.spec.ip_families, old.spec.ip_families)
    if old.spec.type == new.spec.type == "LoadBalancer":
        new_class, old_class = new.spec.load_balancer_class, old.spec.load_balancer_class
        if new_class != old_class:
            why = "may not change once set"
            found.append(field.invalid("spec.loadBalancerClass", new_class, why))
    return found


def _unchanged(name: str, new: list[str], old: list[str]) -> list[FieldError]:
    """Refuse changes of values; the second one may be added or removed."""
    noun = "clusterIP" if name == "clusterIPs" else "ipFamily"
    if old and not new:
        return [field.invalid(f"spec.{name}[0]", new, f"primary {noun} can not be unset")]
    return [
        field.invalid(f"spec.{name}[{at}]", new, "may not change once set")
        for at, (after, before) in enumerate(zip(new, old, strict=False))
        if after != before
    ]
