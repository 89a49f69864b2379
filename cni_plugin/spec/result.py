"""The result of ADD, and its form in each version of the specification; pure.

Source: CNI specification, section 5 "Result types", of versions 0.1.0 to 1.1.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any

from cni_plugin.spec.errors import DecodingError, IncompatibleVersionError
from cni_plugin.spec.versions import at_least

Address = IPv4Address | IPv6Address
Cidr = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface. ``sandbox`` is the path of its namespace, empty on the host."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0
    socket_path: str = ""
    pci_id: str = ""


@dataclass(frozen=True, slots=True)
class IPConfig:
    """An address with its prefix length. ``interface`` is an index of the result's interfaces."""

    address: Cidr
    gateway: Address | None = None
    interface: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A route in the container. Without ``gw`` it uses the gateway of the container's address."""

    dst: Network
    gw: Address | None = None
    mtu: int | None = None
    advmss: int | None = None
    priority: int | None = None
    table: int | None = None
    scope: int | None = None


@dataclass(frozen=True, slots=True)
class Dns:
    """Settings of name resolution, for the runtime."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """The result in the form of the newest version."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IPConfig, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = field(default_factory=Dns)


def render(result: Result, version: str) -> Json:
    """The result in the form of ``version``.

    Raises IncompatibleVersionError if the form has no place for it.
    """
    if not at_least(version, "0.3.0"):
        return _render_legacy(result, version)
    document: Json = {"cniVersion": version}
    if result.interfaces:
        document["interfaces"] = [_interface(item, version) for item in result.interfaces]
    if result.ips:
        document["ips"] = [_ip(item, version) for item in result.ips]
    if result.routes:
        document["routes"] = [_route(item, version) for item in result.routes]
    return document | {"dns": _dns(result.dns)}


def _interface(item: Interface, version: str) -> Json:
    document: Json = {"name": item.name, "mac": item.mac, "sandbox": item.sandbox}
    if at_least(version, "1.1.0"):
        document |= {"mtu": item.mtu, "socketPath": item.socket_path, "pciID": item.pci_id}
    return {key: value for key, value in document.items() if value or key == "name"}


def _ip(item: IPConfig, version: str) -> Json:
    document: Json = {"address": str(item.address)}
    if not at_least(version, "1.0.0"):
        document["version"] = str(item.address.version)
    if item.gateway is not None:
        document["gateway"] = str(item.gateway)
    if item.interface is not None:
        document["interface"] = item.interface
    return document


def _route(item: Route, version: str) -> Json:
    document: Json = {"dst": str(item.dst)}
    if item.gw is not None:
        document["gw"] = str(item.gw)
    if at_least(version, "1.1.0"):
        extra = {name: getattr(item, name) for name in _ROUTE_NUMBERS}
        document |= {name: value for name, value in extra.items() if value is not None}
    return document


def _dns(item: Dns) -> Json:
    document: Json = {
        "nameservers": list(item.nameservers),
        "domain": item.domain,
        "search": list(item.search),
        "options": list(item.options),
    }
    return {key: value for key, value in document.items() if value}


def _render_legacy(result: Result, version: str) -> Json:
    """0.1.0 and 0.2.0: one address of each IP version, with its routes; no interfaces."""
    document: Json = {"cniVersion": version}
    for item in result.ips:
        key = f"ip{item.address.version}"
        if key in document:
            raise IncompatibleVersionError(
                f"cniVersion {version} has room for one IPv{item.address.version} address only"
            )
        routes = [route for route in result.routes if route.dst.version == item.address.version]
        document[key] = {"ip": str(item.address)}
        if item.gateway is not None:
            document[key]["gateway"] = str(item.gateway)
        if routes:
            document[key]["routes"] = [_route(route, version) for route in routes]
    return document | {"dns": _dns(result.dns)}


_ROUTE_NUMBERS = ("mtu", "advmss", "priority", "table", "scope")


def parse(document: Mapping[str, Any], version: str) -> Result:
    """Parse a result in the form of ``version``. Raises DecodingError."""
    try:
        if not at_least(version, "0.3.0"):
            return _parse_legacy(document)
        return Result(
            tuple(_parse_interface(item) for item in document.get("interfaces") or ()),
            tuple(_parse_ip(item) for item in document.get("ips") or ()),
            tuple(_parse_route(item) for item in document.get("routes") or ()),
            _parse_dns(document.get("dns") or {}),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as err:
        raise DecodingError(f"result of cniVersion {version} cannot be read: {err!r}") from err


def _parse_interface(item: Mapping[str, Any]) -> Interface:
    return Interface(
        name=str(item["name"]),
        mac=str(item.get("mac") or ""),
        sandbox=str(item.get("sandbox") or ""),
        mtu=int(item.get("mtu") or 0),
        socket_path=str(item.get("socketPath") or ""),
        pci_id=str(item.get("pciID") or ""),
    )


def _parse_ip(item: Mapping[str, Any]) -> IPConfig:
    index = item.get("interface")
    return IPConfig(
        address=ip_interface(str(item["address"])),
        gateway=_parse_address(item.get("gateway")),
        # libcni 0.3.0 wrote -1 for "none"
        interface=None if index is None or int(index) < 0 else int(index),
    )


def _parse_address(text: object) -> Address | None:
    return ip_address(str(text)) if text else None


def _parse_route(item: Mapping[str, Any]) -> Route:
    numbers = {name: int(item[name]) for name in _ROUTE_NUMBERS if item.get(name) is not None}
    return Route(
        dst=ip_network(str(item["dst"]), strict=False),
        gw=_parse_address(item.get("gw")),
        **numbers,
    )


def _parse_dns(item: Mapping[str, Any]) -> Dns:
    return Dns(
        nameservers=tuple(map(str, item.get("nameservers") or ())),
        domain=str(item.get("domain") or ""),
        search=tuple(map(str, item.get("search") or ())),
        options=tuple(map(str, item.get("options") or ())),
    )


def _parse_legacy(document: Mapping[str, Any]) -> Result:
    found = [document[key] for key in ("ip4", "ip6") if document.get(key)]
    return Result(
        ips=tuple(
            IPConfig(ip_interface(str(item["ip"])), _parse_address(item.get("gateway")))
            for item in found
        ),
        routes=tuple(_parse_route(route) for item in found for route in item.get("routes") or ()),
        dns=_parse_dns(document.get("dns") or {}),
    )
