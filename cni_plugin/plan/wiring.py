"""The parts that the modes share: gateways, addresses, routes and the result; pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network

from cni_plugin.plan import ops
from cni_plugin.plan.ops import Op, Side
from cni_plugin.spec import names
from cni_plugin.spec.config import NetConf
from cni_plugin.spec.errors import InvalidConfigurationError
from cni_plugin.spec.kernel_state import StateBeforeAdd
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Address, Cidr, Dns, Interface, IPConfig, Result, Route

DEFAULT_MTU = 1500
_ANYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True, slots=True)
class Plan:
    """The operations in their order, and the result that ADD returns after them.

    ``host`` is the host's end of the interface, empty if it has none. ``bridge`` is its bridge, or
    the host's link in a VLAN of the bridge; empty if there is none. ``ips`` are the interface's
    addresses, ``mtu`` is its MTU.
    """

    ops: tuple[Op, ...]
    result: Result
    host: str = ""
    bridge: str = ""
    ips: tuple[IPConfig, ...] = ()
    mtu: int = DEFAULT_MTU


def check_conf(conf: NetConf) -> None:
    """Raise InvalidConfigurationError for options that exclude each other."""
    if conf.hairpin_mode and conf.promisc_mode:
        raise InvalidConfigurationError("hairpinMode and promiscMode exclude each other")
    if conf.disable_container_interface and conf.ipam.type:
        raise InvalidConfigurationError("disableContainerInterface leaves no interface for ipam")
    if conf.wiring == "ptp" and not conf.ipam.type:
        raise InvalidConfigurationError("ptp needs ipam")


def check_absent(request: Request, state: StateBeforeAdd) -> None:
    """Raise InvalidConfigurationError if the attachment, or its interface's name, exists."""
    if state.pod_taken or state.host_taken:
        raise InvalidConfigurationError(
            f"interface {request.ifname} already exists in container {request.container_id}",
            "a second ADD needs a DEL before it",
        )


def is_gateway(conf: NetConf) -> bool:
    """Return true if the host is the containers' gateway."""
    return conf.is_gateway or conf.is_default_gateway or conf.wiring == "ptp"


def with_gateways(lease: Result, conf: NetConf) -> Result:
    """The lease with the host as gateway, and with the default routes through it."""
    ips = lease.ips
    if is_gateway(conf):
        ips = tuple(replace(item, gateway=item.gateway or first_host(item.address)) for item in ips)
    routes = lease.routes
    if conf.is_default_gateway:
        routes = (*routes, *_default_routes(ips, routes))
    return replace(lease, ips=ips, routes=routes)


def first_host(address: Cidr) -> Address:
    """The first address of a subnet: the gateway if IPAM names none."""
    return address.network[1] if address.network.num_addresses > 1 else address.ip


def _default_routes(ips: tuple[IPConfig, ...], routes: tuple[Route, ...]) -> Iterator[Route]:
    routed = {route.dst.version for route in routes if route.gw and not route.dst.prefixlen}
    for item in ips:
        if item.address.version not in routed:
            routed.add(item.address.version)
            yield Route(_ANYWHERE[item.address.version], item.gateway)


def pod_mac(request: Request, lease: Result) -> str:
    """The requested MAC address, or one made of the first IP address."""
    if request.requested_mac:
        return request.requested_mac
    identity = str(lease.ips[0].address.ip) if lease.ips else "/".join(request.attachment)
    return names.pod_mac(identity)


def forwarding(ips: tuple[IPConfig, ...]) -> Iterator[Op]:
    """Switch forwarding on, for the IP versions of the addresses."""
    versions = {item.address.version for item in ips}
    if 4 in versions:
        yield ops.WriteSysctl(Side.HOST, "net/ipv4/ip_forward", "1")
    if 6 in versions:
        yield ops.WriteSysctl(Side.HOST, "net/ipv6/conf/all/forwarding", "1")


def pod_interface(request: Request, lease: Result) -> Iterator[Op]:
    """Configure the container's interface.

    Whenever the link comes up or its MAC is set, the kernel announces the addresses: with a
    gratuitous ARP (RFC 5227), and because of ndisc_notify with an unsolicited neighbor
    advertisement (RFC 4861 section 7.2.6).
    """
    name, conf = request.ifname, request.conf
    versions = {item.address.version for item in lease.ips}
    if 6 in versions:
        yield sysctl(Side.POD, "net/ipv6/conf/lo/disable_ipv6", "0")
        yield sysctl(Side.POD, f"net/ipv6/conf/{name}/disable_ipv6", "0")
        # keep IPv6 addresses while the link is down, as the kernel keeps IPv4 addresses
        yield sysctl(Side.POD, f"net/ipv6/conf/{name}/keep_addr_on_down", "1")
        yield sysctl(Side.POD, f"net/ipv6/conf/{name}/ndisc_notify", "1")
        yield sysctl(Side.POD, f"net/ipv6/conf/{name}/accept_dad", str(int(conf.enabledad)))
    # in mode ptp the rest of the subnet is behind the gateway, not on the container's link
    on_link = conf.wiring != "ptp"
    for item in lease.ips:
        yield ops.AddAddress(Side.POD, name, item.address, conf.enabledad, on_link)
    yield ops.SetUp(Side.POD, name, announces=4 in versions)


def await_addresses(request: Request, lease: Result) -> Iterator[Op]:
    """With duplicate address detection, wait until the container can use its addresses."""
    found = tuple(item.address for item in lease.ips if item.address.version == 6)
    if request.conf.enabledad and found:
        yield ops.AwaitAddresses(request.ifname, found)


def through_gateway(route: Route, ips: tuple[IPConfig, ...]) -> Route:
    """The route with a gateway. By default that is the gateway of its family's first address."""
    if route.gw is not None or route.scope is not None:
        return route
    gateways = [item.gateway for item in ips if item.address.version == route.dst.version]
    return replace(route, gw=next((gateway for gateway in gateways if gateway), None))


def add_result(request: Request, lease: Result, made: tuple[Interface, ...]) -> Result:
    """The previous result with the new interfaces, addresses and routes added.

    ``made`` are the new interfaces. The new addresses are those of the container's interface.
    """
    previous = request.previous or Result()
    inside = next((i for i, item in enumerate(made) if item.sandbox), 0)
    here = len(previous.interfaces) + inside
    configured, found = request.conf.dns.made(), [lease.dns, previous.dns]
    dns = [item for item in found if item != Dns()] if configured is None else [configured]
    return Result(
        interfaces=(*previous.interfaces, *made),
        ips=(*previous.ips, *(replace(item, interface=here) for item in lease.ips)),
        routes=(*previous.routes, *lease.routes),
        dns=dns[0] if dns else Dns(),
    )


def no_dad(conf: NetConf, host: str) -> Op:
    """Switch duplicate address detection off on a link of the host, unless ``enabledad`` is set.

    It takes a second. During that time the kernel solicits no neighbors for forwarded packets
    (ndisc_solicit in net/ipv6/ndisc.c), so these would be lost.
    """
    return sysctl(Side.HOST, f"net/ipv6/conf/{host}/accept_dad", str(int(conf.enabledad)))


def sysctl(side: Side, key: str, value: str) -> Op:
    """Write a sysctl that is missing in a kernel or a container without IPv6."""
    return ops.WriteSysctl(side, key, value, optional=True)
