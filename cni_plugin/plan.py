"""What ADD has to do, decided without doing any of it; pure.

The bridge plugin's behaviour is the reference's (containernetworking/plugins,
plugins/main/bridge), but for what docs/cni.md lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_interface, ip_network

from cni_plugin import names, ops
from cni_plugin.config import NetConf
from cni_plugin.errors import InvalidConfiguration
from cni_plugin.ops import Op, Side
from cni_plugin.request import Request
from cni_plugin.result import Address, Cidr, Interface, IPConfig, Result, Route
from cni_plugin.state import Seen

_DEFAULT_MTU = 1500
_ANYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True, slots=True)
class Plan:
    """The operations, in their order, and the answer that they make true."""

    ops: tuple[Op, ...]
    result: Result


def check_conf(conf: NetConf) -> None:
    """Raise InvalidConfiguration for options that exclude each other."""
    if conf.hairpin_mode and conf.promisc_mode:
        raise InvalidConfiguration("hairpinMode and promiscMode exclude each other")
    if conf.disable_container_interface and conf.ipam.type:
        raise InvalidConfiguration("disableContainerInterface leaves no interface for ipam")


def check_absent(request: Request, seen: Seen) -> None:
    """Raise InvalidConfiguration when the attachment, or its name, is there already."""
    if seen.pod_taken or seen.host_taken:
        raise InvalidConfiguration(
            f"interface {request.ifname} already exists in container {request.container_id}",
            "a second ADD needs a DEL before it",
        )


def is_gateway(conf: NetConf) -> bool:
    """Whether the bridge has the containers' gateway addresses."""
    return conf.is_gateway or conf.is_default_gateway


def plan_add(request: Request, lease: Result, seen: Seen) -> Plan:
    """How to make the attachment that ``request`` asks for, with the addresses of ``lease``."""
    lease = with_gateways(lease, request.conf)
    facts = _Facts(
        host=names.host_ifname(*request.attachment),
        mtu=_mtu(request.conf, seen),
        pod_mac=_pod_mac(request, lease),
        bridge_mac=seen.bridge.mac
        if seen.bridge
        else names.bridge_mac(request.conf.bridge, seen.boot_id),
    )
    steps = (
        *_bridge(request.conf, lease, seen, facts),
        *_veth(request, facts),
        *_pod(request, lease),
        *_settle(request, lease, facts),
    )
    return Plan(steps, _answer(request, lease, facts))


@dataclass(frozen=True, slots=True)
class _Facts:
    host: str
    mtu: int
    pod_mac: str
    bridge_mac: str


def with_gateways(lease: Result, conf: NetConf) -> Result:
    """The lease with the gateways that the bridge is, and the default routes through them."""
    ips = lease.ips
    if is_gateway(conf):
        ips = tuple(replace(item, gateway=item.gateway or first_host(item.address)) for item in ips)
    routes = lease.routes
    if conf.is_default_gateway:
        routes = (*routes, *_default_routes(ips, routes))
    return replace(lease, ips=ips, routes=routes)


def first_host(address: Cidr) -> Address:
    """The first address of a subnet: the gateway when IPAM names none."""
    return address.network[1] if address.network.num_addresses > 1 else address.ip


def _default_routes(ips: tuple[IPConfig, ...], routes: tuple[Route, ...]) -> Iterator[Route]:
    there = {route.dst.version for route in routes if route.gw and not route.dst.prefixlen}
    for item in ips:
        if item.address.version not in there:
            there.add(item.address.version)
            yield Route(_ANYWHERE[item.address.version], item.gateway)


def _mtu(conf: NetConf, seen: Seen) -> int:
    """The configured MTU, or the bridge's, or that of the host's way out."""
    return conf.mtu or (seen.bridge.mtu if seen.bridge else 0) or seen.uplink_mtu or _DEFAULT_MTU


def _pod_mac(request: Request, lease: Result) -> str:
    conf = request.conf
    asked = conf.runtime_config.mac or conf.args.cni.mac or request.args.mac
    if asked:
        return asked.lower()
    identity = str(lease.ips[0].address.ip) if lease.ips else "/".join(request.attachment)
    return names.pod_mac(identity)


def bridge_addresses(lease: Result, conf: NetConf) -> tuple[Cidr, ...]:
    """The addresses that the bridge must have."""
    if not is_gateway(conf):
        return ()
    return tuple(
        ip_interface(f"{item.gateway}/{item.address.network.prefixlen}")
        for item in lease.ips
        if item.gateway
    )


def _bridge(conf: NetConf, lease: Result, seen: Seen, facts: _Facts) -> Iterator[Op]:
    if seen.bridge is None:
        yield ops.CreateBridge(conf.bridge, facts.bridge_mac, facts.mtu)
        # the host's routes over its own bridge are ours to make, no router's
        yield _sysctl(Side.HOST, f"net/ipv6/conf/{conf.bridge}/accept_ra", "0")
    elif seen.bridge.kind != "bridge":
        raise InvalidConfiguration(f"link {conf.bridge} is there, and is no bridge")
    elif not seen.bridge.up:
        yield ops.SetUp(Side.HOST, conf.bridge)
    if conf.promisc_mode and not (seen.bridge and seen.bridge.promiscuous):
        yield ops.SetPromiscuous(Side.HOST, conf.bridge)
    wanted = bridge_addresses(lease, conf)
    missing = [address for address in wanted if address not in seen.bridge_addresses]
    if missing and seen.bridge is not None:
        yield ops.PinMac(conf.bridge, seen.bridge.mac)
    for address in missing:
        yield from _replace_conflicts(conf, address, wanted, seen.bridge_addresses)
        yield ops.AddAddress(Side.HOST, conf.bridge, address)
    yield from _forwarding(wanted)


def _replace_conflicts(
    conf: NetConf, address: Cidr, wanted: tuple[Cidr, ...], there: tuple[Cidr, ...]
) -> Iterator[Op]:
    """One gateway a subnet: another address that stands in its place goes, or is an error."""
    for other in there:
        if other in wanted or other.version != address.version:
            continue
        if address.version == 6 and not address.network.overlaps(other.network):
            continue
        if not conf.force_address:
            raise InvalidConfiguration(
                f"bridge {conf.bridge} has address {other}, not {address}",
                "forceAddress replaces it",
            )
        yield ops.RemoveAddress(Side.HOST, conf.bridge, other)


def _forwarding(wanted: tuple[Cidr, ...]) -> Iterator[Op]:
    versions = {address.version for address in wanted}
    if 4 in versions:
        yield ops.WriteSysctl(Side.HOST, "net/ipv4/ip_forward", "1")
    if 6 in versions:
        yield ops.WriteSysctl(Side.HOST, "net/ipv6/conf/all/forwarding", "1")


def _veth(request: Request, facts: _Facts) -> Iterator[Op]:
    conf = request.conf
    yield ops.CreateVeth(
        host=facts.host,
        host_mac=names.host_mac(*request.attachment),
        pod=request.ifname,
        pod_mac=facts.pod_mac,
        mtu=facts.mtu,
        bridge=conf.bridge,
    )
    alias = names.host_alias(*request.attachment)
    yield ops.SetPort(facts.host, conf.hairpin_mode, conf.port_isolation, alias)


def _pod(request: Request, lease: Result) -> Iterator[Op]:
    """Inside the container: addresses before the link is up, so that it announces them."""
    name, conf = request.ifname, request.conf
    if conf.disable_container_interface:
        return
    if any(item.address.version == 6 for item in lease.ips):
        yield _sysctl(Side.POD, f"net/ipv6/conf/{name}/disable_ipv6", "0")
        yield _sysctl(Side.POD, f"net/ipv6/conf/{name}/ndisc_notify", "1")
        yield _sysctl(Side.POD, f"net/ipv6/conf/{name}/accept_dad", str(int(conf.enabledad)))
    if any(item.address.version == 4 for item in lease.ips):
        yield _sysctl(Side.POD, f"net/ipv4/conf/{name}/arp_notify", "1")
    for item in lease.ips:
        yield ops.AddAddress(Side.POD, name, item.address, dad=conf.enabledad)
    yield ops.SetUp(Side.POD, name)
    for route in lease.routes:
        yield ops.AddRoute(name, _through_gateway(route, lease.ips))


def _through_gateway(route: Route, ips: tuple[IPConfig, ...]) -> Route:
    """A route without ``gw`` goes through the gateway of its family's first address."""
    if route.gw is not None or route.scope is not None:
        return route
    gateways = [item.gateway for item in ips if item.address.version == route.dst.version]
    return replace(route, gw=next((gateway for gateway in gateways if gateway), None))


def _settle(request: Request, lease: Result, facts: _Facts) -> Iterator[Op]:
    if request.conf.disable_container_interface:
        return
    if is_gateway(request.conf):
        for item in lease.ips:
            yield ops.ForgetNeighbour(request.conf.bridge, item.address.ip)
    yield ops.AwaitForwarding(facts.host)


def _answer(request: Request, lease: Result, facts: _Facts) -> Result:
    previous = request.previous or Result()
    conf = request.conf
    pod = Interface(request.ifname, facts.pod_mac, request.netns, facts.mtu)
    made = (
        Interface(conf.bridge, facts.bridge_mac),
        Interface(facts.host, names.host_mac(*request.attachment), mtu=facts.mtu),
        *(() if conf.disable_container_interface else (pod,)),
    )
    here = len(previous.interfaces) + len(made) - 1
    dns = conf.dns.made()
    return Result(
        interfaces=(*previous.interfaces, *made),
        ips=(*previous.ips, *(replace(item, interface=here) for item in lease.ips)),
        routes=(*previous.routes, *lease.routes),
        dns=dns if dns != type(dns)() else lease.dns if lease.dns != type(dns)() else previous.dns,
    )


def _sysctl(side: Side, key: str, value: str) -> Op:
    # a kernel or a container without IPv6 has none of these
    return ops.WriteSysctl(side, key, value, optional=True)
