"""What every wiring of a container has in common: gateways, names, addresses, the answer; pure."""

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
    """The operations, in their order, and the answer that they make true.

    ``host`` is the host's end of the interface, ``bridge`` the bridge it is in, or the host's own
    link in a VLAN of it; ``ips`` are the
    interface's own addresses, ``mtu`` its largest packet.
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
    """Raise InvalidConfigurationError when the attachment, or its name, is there already."""
    if state.pod_taken or state.host_taken:
        raise InvalidConfigurationError(
            f"interface {request.ifname} already exists in container {request.container_id}",
            "a second ADD needs a DEL before it",
        )


def is_gateway(conf: NetConf) -> bool:
    """Whether the host is the containers' gateway."""
    return conf.is_gateway or conf.is_default_gateway or conf.wiring == "ptp"


def with_gateways(lease: Result, conf: NetConf) -> Result:
    """The lease with the gateways that the host is, and the default routes through them."""
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


def pod_mac(request: Request, lease: Result) -> str:
    """The MAC that was asked for, or one made of the first address."""
    if request.asked_mac:
        return request.asked_mac
    identity = str(lease.ips[0].address.ip) if lease.ips else "/".join(request.attachment)
    return names.pod_mac(identity)


def forwarding(ips: tuple[IPConfig, ...]) -> Iterator[Op]:
    """Let the host pass packets on between its links."""
    versions = {item.address.version for item in ips}
    if 4 in versions:
        yield ops.WriteSysctl(Side.HOST, "net/ipv4/ip_forward", "1")
    if 6 in versions:
        yield ops.WriteSysctl(Side.HOST, "net/ipv6/conf/all/forwarding", "1")


def pod_interface(request: Request, lease: Result) -> Iterator[Op]:
    """Inside the container.

    The kernel announces the addresses, whenever the link comes up again or its MAC is set, with a
    gratuitous ARP (RFC 5227) and, by ndisc_notify, an unsolicited neighbour advertisement (RFC 4861
    section 7.2.6).
    """
    name, conf = request.ifname, request.conf
    versions = {item.address.version for item in lease.ips}
    if 6 in versions:
        yield sysctl(Side.POD, "net/ipv6/conf/lo/disable_ipv6", "0")
        yield sysctl(Side.POD, f"net/ipv6/conf/{name}/disable_ipv6", "0")
        # whoever sets the link down and up again means its addresses to stay, as IPv4's do
        yield sysctl(Side.POD, f"net/ipv6/conf/{name}/keep_addr_on_down", "1")
        yield sysctl(Side.POD, f"net/ipv6/conf/{name}/ndisc_notify", "1")
        yield sysctl(Side.POD, f"net/ipv6/conf/{name}/accept_dad", str(int(conf.enabledad)))
    # routed, the container's neighbours are beyond the gateway, and not on its link
    on_link = conf.wiring != "ptp"
    for item in lease.ips:
        yield ops.AddAddress(Side.POD, name, item.address, conf.enabledad, on_link)
    yield ops.SetUp(Side.POD, name, announces=4 in versions)


def detected(request: Request, lease: Result) -> Iterator[Op]:
    """With duplicate address detection a container starts when its addresses can be used."""
    found = tuple(item.address for item in lease.ips if item.address.version == 6)
    if request.conf.enabledad and found:
        yield ops.AwaitAddresses(request.ifname, found)


def through_gateway(route: Route, ips: tuple[IPConfig, ...]) -> Route:
    """A route without ``gw`` goes through the gateway of its family's first address."""
    if route.gw is not None or route.scope is not None:
        return route
    gateways = [item.gateway for item in ips if item.address.version == route.dst.version]
    return replace(route, gw=next((gateway for gateway in gateways if gateway), None))


def answer(request: Request, lease: Result, made: tuple[Interface, ...]) -> Result:
    """The result: what was there before, and what is new; the addresses are the container's."""
    previous = request.previous or Result()
    inside = next((i for i, item in enumerate(made) if item.sandbox), 0)
    here = len(previous.interfaces) + inside
    dns = [item for item in (request.conf.dns.made(), lease.dns, previous.dns) if item != Dns()]
    return Result(
        interfaces=(*previous.interfaces, *made),
        ips=(*previous.ips, *(replace(item, interface=here) for item in lease.ips)),
        routes=(*previous.routes, *lease.routes),
        dns=dns[0] if dns else Dns(),
    )


def no_dad(conf: NetConf, host: str) -> Op:
    """Spare the host's end the second that duplicate address detection takes, unless asked for.

    Until a router's link-local address has passed it, the kernel asks for no neighbours on behalf
    of packets that it passes on (ndisc_solicit in net/ipv6/ndisc.c), so they would be lost.
    """
    return sysctl(Side.HOST, f"net/ipv6/conf/{host}/accept_dad", str(int(conf.enabledad)))


def sysctl(side: Side, key: str, value: str) -> Op:
    """Set what a kernel or a container without IPv6 does not have."""
    return ops.WriteSysctl(side, key, value, optional=True)
