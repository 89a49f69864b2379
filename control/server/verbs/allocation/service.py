"""Allocate the families, addresses and node ports of a Service."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random
from typing import Any

from control.api import field
from control.api.defaults.service import (
    HEADLESS,
    carry_over,
    needs_cluster_ip,
    needs_health_check,
    needs_node_ports,
)
from control.api.kinds import SERVICE
from control.api.validation.service import validate_addresses
from control.server.state.server import Network, ServerState
from control.server.verbs.allocation.claims import claims_of, ip_claim, port_claim
from control.server.verbs.allocation.families import with_families
from control.server.verbs.allocation.pick import free_ip, free_port, usable
from control.server.verbs.allocation.ranges import ranges_of
from control.server.wire import errors
from control.server.wire.item import Wire

_random = Random()  # noqa: S311  # the choice need not be secret


def allocate(state: ServerState, new: Wire, old: Mapping[str, Any] | None) -> Wire:
    """Return the Service with all allocated fields set; raises StatusError (422, 500).

    The values are claimed when the Service is written.
    """
    name = new["metadata"]["name"]
    before = old.get("spec", {}) if old else None
    spec = _normalized(new["spec"]) if before is None else carry_over(new["spec"], before)
    if found := validate_addresses(spec):
        raise errors.invalid(SERVICE, name, found)
    families = tuple(f"IPv{network.version}" for network in state.config.service_cidrs)
    spec, found = with_families(spec, before, families)
    if found:
        raise errors.invalid(SERVICE, name, found)
    own = claims_of(SERVICE, old).keys
    spec = _Addresses(state, name, own, ranges_of(state)).fill(spec)
    return new | {"spec": _Ports(state, name, own).fill(spec)}


def _normalized(spec: Wire) -> Wire:
    """Set clusterIPs from a clusterIP that stands alone."""
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        return spec | {"clusterIPs": [spec["clusterIP"]]}
    return spec


class _Addresses:
    """Check the addresses that a Service requests, and choose the missing ones."""

    def __init__(
        self, state: ServerState, name: str, own: frozenset[str], ranges: tuple[Network, ...]
    ) -> None:
        self._held = state.cache.claims
        self._name = name
        self._own = own
        self._ranges = ranges

    def fill(self, spec: Wire) -> Wire:
        """Return the spec with all cluster IPs."""
        if not needs_cluster_ip(spec):
            return spec
        given = spec.get("clusterIPs", [])
        if given[:1] == [HEADLESS]:
            return spec | {"clusterIP": HEADLESS, "clusterIPs": [HEADLESS]}
        wanted = given + [""] * (len(spec["ipFamilies"]) - len(given))
        ips = [
            self._check(given, ip) if ip else self._choose(family)
            for ip, family in zip(wanted, spec["ipFamilies"], strict=False)
        ]
        return spec | {"clusterIP": ips[0], "clusterIPs": ips}

    def _check(self, given: list[str], ip: str) -> str:
        address = ip_address(ip)
        claim = ip_claim(str(address))
        if claim in self._own:
            return str(address)
        inside = [network for network in self._ranges if address in network]
        if not inside:
            why = "the provided network does not match the current range"
        elif not any(_is_usable(address, network) for network in inside):
            why = (
                f"the provided IP ({ip}) is not in the valid range."
                f" The range of valid IPs is {inside[0]}"
            )
        elif claim in self._held:
            why = "provided IP is already allocated"
        else:
            return str(address)
        error = field.invalid("spec.clusterIPs", given, f"failed to allocate IP {ip}: {why}")
        raise errors.invalid(SERVICE, self._name, [error])

    def _choose(self, family: str) -> str:
        for network in self._ranges:
            if f"IPv{network.version}" == family and (ip := self._free(network)):
                return ip
        raise errors.internal("failed to allocate a serviceIP: range is full")

    def _free(self, network: Network) -> str | None:
        return free_ip(network, lambda ip: ip_claim(ip) in self._held, _random)


def _is_usable(address: IPv4Address | IPv6Address, network: Network) -> bool:
    first, last = usable(network)
    return first <= int(address) <= last


class _Ports:
    """Check the node ports that a Service requests, and choose the missing ones."""

    def __init__(self, state: ServerState, name: str, own: frozenset[str]) -> None:
        self._held = state.cache.claims
        self._name = name
        self._own = own
        self._range = state.config.node_ports
        self._chosen: set[int] = set()

    def fill(self, spec: Wire) -> Wire:
        """Return the spec with all node ports."""
        made = spec
        if needs_node_ports(spec):
            made = made | {"ports": self._fill_ports(spec)}
        if needs_health_check(spec):
            given = spec.get("healthCheckNodePort", 0)
            port = self._check("spec.healthCheckNodePort", given) if given else self._choose()
            made = made | {"healthCheckNodePort": port}
        return made

    def _fill_ports(self, spec: Wire) -> list[Wire]:
        """Return the ports with node ports; the same port over TCP and UDP shares one."""
        ports = spec.get("ports", [])
        by_port = {p["port"]: p["nodePort"] for p in ports if p.get("nodePort") and p.get("port")}
        automatic = spec.get("allocateLoadBalancerNodePorts", True)
        filled = []
        for at, port in enumerate(ports):
            given = port.get("nodePort", 0)
            if given:
                self._check(f"spec.ports[{at}].nodePort", given)
            elif automatic:
                given = by_port.setdefault(port.get("port"), 0) or self._choose()
                by_port[port.get("port")] = given
            filled.append(port | {"nodePort": given} if given else port)
        return filled

    def _check(self, path: str, port: int) -> int:
        claim = port_claim(port)
        if claim in self._own:
            return port
        if port not in self._range:
            last = self._range.stop - 1
            why = (
                "provided port is not in the valid range."
                f" The range of valid ports is {self._range.start}-{last}"
            )
        elif claim in self._held:
            why = "provided port is already allocated"
        else:
            return port
        raise errors.invalid(SERVICE, self._name, [field.invalid(path, port, why)])

    def _choose(self) -> int:
        port = free_port(self._range, self._is_taken, _random)
        if port is None:
            raise errors.internal("failed to allocate a nodePort: range is full")
        self._chosen.add(port)
        return port

    def _is_taken(self, port: int) -> bool:
        return port in self._chosen or port_claim(port) in self._held
