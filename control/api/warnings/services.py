"""What is warned of in Services, and of addresses in any object. Pure.

Sources: k8s.io/kubernetes/pkg/api/service/warnings.go, pkg/util/validation/ip.go of
k8s.io/apimachinery.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

_HINTS = "service.kubernetes.io/topology-aware-hints"
_MODE = "service.kubernetes.io/topology-mode"
Wire = Mapping[str, Any]


def of_service(wire: Wire) -> Iterator[str]:
    """Yield the warnings about a Service."""
    spec = wire.get("spec", {})
    if _HINTS in (wire["metadata"].get("annotations") or {}):
        yield f"annotation {_HINTS} is deprecated, please use {_MODE} instead"
    is_named = spec.get("type") == "ExternalName"
    is_headless = spec.get("type", "ClusterIP") == "ClusterIP" and spec.get("clusterIP") == "None"
    external = spec.get("externalIPs") or ()
    if not is_headless and not is_named:
        yield from _of_addresses("spec.clusterIPs", spec.get("clusterIPs") or ())
    if is_headless:
        yield from _of_headless(spec)
    yield from _of_addresses("spec.externalIPs", external)
    if external and not is_headless and not is_named:
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if address := spec.get("loadBalancerIP"):
        yield from of_address("spec.loadBalancerIP", address)
    for index, text in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        yield from of_range(f"spec.loadBalancerSourceRanges[{index}]", text.strip())
    if is_named and external:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if not is_named and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _of_headless(spec: Wire) -> Iterator[str]:
    if spec.get("loadBalancerIP"):
        yield "spec.loadBalancerIP is ignored for headless services"
    if spec.get("externalIPs"):
        yield "spec.externalIPs is ignored for headless services"
    if spec.get("sessionAffinity", "None") != "None":
        yield "spec.SessionAffinity is ignored for headless services"


def _of_addresses(path: str, addresses: Any) -> Iterator[str]:
    for index, text in enumerate(addresses):
        yield from of_address(f"{path}[{index}]", text)


def of_address(path: str, text: str) -> Iterator[str]:
    """Yield what is unusual in an address."""
    try:
        address = ip_address(text)
    except ValueError:
        return  # a load balancer's address is not validated, in upstream too
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        yield (
            f'{path}: non-standard IP address "{text}" will be considered invalid in a future'
            f' Kubernetes release: use "{address.ipv4_mapped}"'
        )
    elif isinstance(address, IPv6Address) and str(address) != text:
        yield f'{path}: IPv6 address "{text}" should be in RFC 5952 canonical format ("{address}")'


def of_range(path: str, text: str) -> Iterator[str]:
    """Yield what is unusual in a range of addresses."""
    try:
        network = ip_network(text)
    except ValueError:
        return
    if isinstance(network, IPv6Network) and str(network) != text:
        form = f'should be in RFC 5952 canonical format ("{network}")'
        yield f'{path}: IPv6 CIDR value "{text}" {form}'
