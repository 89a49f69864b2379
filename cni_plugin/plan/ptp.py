"""The mode ptp: a veth pair without a bridge, and a route of the host to each container; pure.

It behaves like the reference's ptp plugin (containernetworking/plugins, plugins/main/ptp). The
host's end has the gateway's address and a route to the container. The container sends everything
through the gateway, also to its own subnet.
"""

from collections.abc import Iterator
from ipaddress import ip_interface, ip_network

from cni_plugin.linux import uapi
from cni_plugin.plan import ops
from cni_plugin.plan.ops import Op, Side
from cni_plugin.plan.wiring import (
    DEFAULT_MTU,
    Plan,
    add_result,
    await_addresses,
    forwarding,
    no_dad,
    pod_interface,
    pod_mac,
    through_gateway,
    with_gateways,
)
from cni_plugin.spec.kernel_state import StateBeforeAdd
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Address, Interface, Network, Result, Route


def plan_ptp(request: Request, lease: Result, state: StateBeforeAdd) -> Plan:
    """Make the veth pair, the addresses of its ends, and the routes on both sides."""
    lease = with_gateways(lease, request.conf)
    host, host_mac = request.names.host_link, request.names.host_mac
    mac, mtu = pod_mac(request, lease), request.conf.mtu or state.outside_mtu or DEFAULT_MTU
    steps = (
        ops.CreateVeth(host, host_mac, request.ifname, mac, mtu),
        ops.SetLink(Side.HOST, host, alias=request.names.alias),
        no_dad(request.conf, host),
        *pod_interface(request, lease),
        *_host_routes(host, lease),
        *_pod_routes(request.ifname, lease),
        *forwarding(lease.ips),
        ops.AwaitRunning(host),
        *await_addresses(request, lease),
    )
    interfaces = (
        Interface(host, host_mac, mtu=mtu),
        Interface(request.ifname, mac, request.netns, mtu),
    )
    return Plan(steps, add_result(request, lease, interfaces), host, "", lease.ips, mtu)


def host_network(address: Address) -> Network:
    """The network that has one address only."""
    return ip_network(address)


def _host_routes(host: str, lease: Result) -> Iterator[Op]:
    for item in lease.ips:
        if item.gateway is not None:
            yield ops.AddAddress(Side.HOST, host, ip_interface(item.gateway))
        yield ops.AddRoute(Side.HOST, host, Route(host_network(item.address.ip)))


def _pod_routes(ifname: str, lease: Result) -> Iterator[Op]:
    for item in lease.ips:
        if item.gateway is None:
            continue
        to_gateway = Route(host_network(item.gateway), scope=uapi.RT_SCOPE_LINK)
        yield ops.AddRoute(Side.POD, ifname, to_gateway)
        yield ops.AddRoute(Side.POD, ifname, Route(item.address.network, item.gateway))
    for route in lease.routes:
        yield ops.AddRoute(Side.POD, ifname, through_gateway(route, lease.ips))
