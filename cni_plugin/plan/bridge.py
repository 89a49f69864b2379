"""The mode bridge: a veth pair whose host end is a port of a bridge; pure.

It behaves like the reference's bridge plugin (containernetworking/plugins, plugins/main/bridge).
docs/cni/reference.md lists the differences.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_interface

from cni_plugin.plan import ops
from cni_plugin.plan.ops import Op, Side
from cni_plugin.plan.vlan import ensure_gateway, filter_vlans, gateway_link, join_port
from cni_plugin.plan.wiring import (
    DEFAULT_MTU,
    Plan,
    add_result,
    await_addresses,
    forwarding,
    is_gateway,
    no_dad,
    pod_interface,
    pod_mac,
    sysctl,
    through_gateway,
    with_gateways,
)
from cni_plugin.spec import names
from cni_plugin.spec.config import NetConf
from cni_plugin.spec.errors import InvalidConfigurationError
from cni_plugin.spec.kernel_state import StateBeforeAdd
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Cidr, Interface, Result


@dataclass(frozen=True, slots=True)
class _Parameters:
    host: str
    mtu: int
    pod_mac: str
    bridge_mac: str
    bridge_runs: bool


def plan_bridge(request: Request, lease: Result, state: StateBeforeAdd) -> Plan:
    """Configure the bridge, then make the veth pair, then configure the container's interface."""
    conf = request.conf
    lease = with_gateways(lease, conf)
    parameters = _Parameters(
        host=request.names.host_link,
        mtu=_mtu(conf, state),
        pod_mac=pod_mac(request, lease),
        bridge_mac=state.bridge.mac
        if state.bridge
        else names.bridge_mac(conf.bridge, state.boot_id),
        bridge_runs=state.bridge is not None and state.bridge.running,
    )
    return Plan(
        ops=(
            *_bridge(conf, lease, state, parameters),
            *_veth(request, parameters),
            *_pod(request, lease),
            *_settle(request, lease, parameters),
        ),
        result=add_result(request, lease, _interfaces(request, parameters, state)),
        host=parameters.host,
        bridge=gateway_link(conf),
        ips=lease.ips,
        mtu=parameters.mtu,
    )


def _mtu(conf: NetConf, state: StateBeforeAdd) -> int:
    """The configured MTU, or the bridge's, or that of the host's uplinks."""
    return conf.mtu or (state.bridge.mtu if state.bridge else 0) or state.outside_mtu or DEFAULT_MTU


def gateway_addresses(lease: Result, conf: NetConf) -> tuple[Cidr, ...]:
    """The addresses that the host's gateway link must have."""
    if not is_gateway(conf):
        return ()
    return tuple(
        ip_interface((item.gateway.packed, item.address.network.prefixlen))
        for item in lease.ips
        # a prevResult may have a gateway of the other IP version: it is no address of this subnet
        if item.gateway and item.gateway.version == item.address.version
    )


def _bridge(
    conf: NetConf, lease: Result, state: StateBeforeAdd, parameters: _Parameters
) -> Iterator[Op]:
    if state.bridge is None:
        yield ops.CreateBridge(conf.bridge, parameters.bridge_mac, parameters.mtu)
        # no router on the bridge may change the host's routes
        yield sysctl(Side.HOST, f"net/ipv6/conf/{conf.bridge}/accept_ra", "0")
        yield no_dad(conf, conf.bridge)
    elif state.bridge.kind != "bridge":
        raise InvalidConfigurationError(f"link {conf.bridge} is there, and is no bridge")
    elif not state.bridge.up:
        yield ops.SetUp(Side.HOST, conf.bridge)
    if conf.promisc_mode and not (state.bridge and state.bridge.promiscuous):
        yield ops.SetLink(Side.HOST, conf.bridge, promiscuous=True)
    yield from filter_vlans(conf, state)
    yield from ensure_gateway(conf, state)
    yield from _addresses(conf, lease, state)
    if is_gateway(conf):
        yield from forwarding(lease.ips)


def _addresses(conf: NetConf, lease: Result, state: StateBeforeAdd) -> Iterator[Op]:
    wanted, there = gateway_addresses(lease, conf), state.gateway_addresses
    missing = [address for address in wanted if address not in there]
    if missing and state.bridge is not None:
        # pin the MAC: without this, the MAC of a bridge of another program changes with its ports
        yield ops.SetLink(Side.HOST, conf.bridge, mac=state.bridge.mac)
    for address in missing:
        yield from _replace_conflicts(conf, address, wanted, there)
        yield ops.AddAddress(Side.HOST, gateway_link(conf), address)


def _replace_conflicts(
    conf: NetConf, address: Cidr, wanted: tuple[Cidr, ...], there: tuple[Cidr, ...]
) -> Iterator[Op]:
    """Remove another gateway address of the same subnet; without forceAddress it is an error."""
    for other in there:
        if other in wanted or other.version != address.version:
            continue
        if address.version == 6 and not address.network.overlaps(other.network):
            continue
        if not conf.force_address:
            raise InvalidConfigurationError(
                f"bridge {gateway_link(conf)} has address {other}, not {address}",
                "forceAddress replaces it",
            )
        yield ops.RemoveAddress(Side.HOST, gateway_link(conf), other)


def _veth(request: Request, parameters: _Parameters) -> Iterator[Op]:
    conf = request.conf
    yield ops.CreateVeth(
        host=parameters.host,
        host_mac=request.names.host_mac,
        pod=request.ifname,
        pod_mac=parameters.pod_mac,
        mtu=parameters.mtu,
        bridge=conf.bridge,
    )
    alias = request.names.alias
    yield ops.SetPort(
        name=parameters.host,
        hairpin=conf.hairpin_mode,
        isolated=conf.isolates_ports,
        locked=conf.macspoofchk,
        alias=alias,
    )
    yield from join_port(conf, parameters.host)
    if conf.macspoofchk:
        # after joining the VLANs: the entry is for all VLANs of the port
        yield ops.KnowSender(parameters.host, parameters.pod_mac)


def _pod(request: Request, lease: Result) -> Iterator[Op]:
    conf = request.conf
    if conf.disable_container_interface:
        return
    if is_gateway(conf):
        # Before the link is up: packets that wait there were let pass to the address' last holder.
        for item in lease.ips:
            yield ops.ForgetNeighbor(gateway_link(conf), item.address.ip)
    yield from pod_interface(request, lease)
    for route in lease.routes:
        yield ops.AddRoute(Side.POD, request.ifname, through_gateway(route, lease.ips))


def _settle(request: Request, lease: Result, parameters: _Parameters) -> Iterator[Op]:
    """Announce the addresses as soon as the bridge forwards frames of the port."""
    conf, addresses = request.conf, tuple(item.address.ip for item in lease.ips)
    if conf.disable_container_interface:
        return
    yield ops.AwaitForwarding(parameters.host)
    if not parameters.bridge_runs:  # the first port gives a bridge its carrier
        yield ops.AwaitRunning(conf.bridge)
    if addresses:
        # The kernel announces a MAC that is set, also if it does not change (NETDEV_CHANGEADDR in
        # net/ipv4/devinet.c and net/ipv6/ndisc.c). The bridge dropped its earlier announcement.
        yield ops.SetLink(Side.POD, request.ifname, mac=parameters.pod_mac)
    yield from await_addresses(request, lease)


def _interfaces(
    request: Request, parameters: _Parameters, state: StateBeforeAdd
) -> tuple[Interface, ...]:
    conf = request.conf
    pod = Interface(request.ifname, parameters.pod_mac, request.netns, parameters.mtu)
    # a link in a VLAN has the MAC of the link below it
    gateway = Interface(
        gateway_link(conf), state.gateway.mac if state.gateway else parameters.bridge_mac
    )
    return (
        Interface(conf.bridge, parameters.bridge_mac),
        Interface(parameters.host, request.names.host_mac, mtu=parameters.mtu),
        pod,  # also with disableContainerInterface, which leaves it down
        *(() if gateway.name == conf.bridge else (gateway,)),
    )
