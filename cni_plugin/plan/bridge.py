"""A veth pair whose host end is a port of a bridge; pure.

The behaviour is that of the reference's bridge plugin (containernetworking/plugins,
plugins/main/bridge), but for what docs/cni/reference.md lists.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_interface

from cni_plugin.plan import ops
from cni_plugin.plan.ops import Op, Side
from cni_plugin.plan.vlan import ensure_gateway, gateway_link, join_port, keep_apart
from cni_plugin.plan.wiring import (
    DEFAULT_MTU,
    Plan,
    answer,
    detected,
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
class _Facts:
    host: str
    mtu: int
    pod_mac: str
    bridge_mac: str
    bridge_runs: bool


def plan_bridge(request: Request, lease: Result, state: StateBeforeAdd) -> Plan:
    """Make the bridge what it has to be, then the pair, then the container's interface."""
    conf = request.conf
    lease = with_gateways(lease, conf)
    facts = _Facts(
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
            *_bridge(conf, lease, state, facts),
            *_veth(request, facts),
            *_pod(request, lease),
            *_settle(request, lease, facts),
        ),
        result=answer(request, lease, _interfaces(request, facts, state)),
        host=facts.host,
        bridge=gateway_link(conf),
        ips=lease.ips,
        mtu=facts.mtu,
    )


def _mtu(conf: NetConf, state: StateBeforeAdd) -> int:
    """The configured MTU, or the bridge's, or that of the host's ways out."""
    return conf.mtu or (state.bridge.mtu if state.bridge else 0) or state.outside_mtu or DEFAULT_MTU


def gateway_addresses(lease: Result, conf: NetConf) -> tuple[Cidr, ...]:
    """The addresses that the host must have, on its gateway link."""
    if not is_gateway(conf):
        return ()
    return tuple(
        ip_interface((item.gateway.packed, item.address.network.prefixlen))
        for item in lease.ips
        if item.gateway
    )


def _bridge(conf: NetConf, lease: Result, state: StateBeforeAdd, facts: _Facts) -> Iterator[Op]:
    if state.bridge is None:
        yield ops.CreateBridge(conf.bridge, facts.bridge_mac, facts.mtu)
        # the host's routes over its own bridge are ours to make, no router's
        yield sysctl(Side.HOST, f"net/ipv6/conf/{conf.bridge}/accept_ra", "0")
        yield no_dad(conf, conf.bridge)
    elif state.bridge.kind != "bridge":
        raise InvalidConfigurationError(f"link {conf.bridge} is there, and is no bridge")
    elif not state.bridge.up:
        yield ops.SetUp(Side.HOST, conf.bridge)
    if conf.promisc_mode and not (state.bridge and state.bridge.promiscuous):
        yield ops.SetLink(Side.HOST, conf.bridge, promiscuous=True)
    yield from keep_apart(conf, state)
    yield from ensure_gateway(conf, state)
    yield from _addresses(conf, lease, state)
    if is_gateway(conf):
        yield from forwarding(lease.ips)


def _addresses(conf: NetConf, lease: Result, state: StateBeforeAdd) -> Iterator[Op]:
    wanted, there = gateway_addresses(lease, conf), state.gateway_addresses
    missing = [address for address in wanted if address not in there]
    if missing and state.bridge is not None:
        # without this a bridge that somebody else made changes its MAC with its ports
        yield ops.SetLink(Side.HOST, conf.bridge, mac=state.bridge.mac)
    for address in missing:
        yield from _replace_conflicts(conf, address, wanted, there)
        yield ops.AddAddress(Side.HOST, gateway_link(conf), address)


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
            raise InvalidConfigurationError(
                f"bridge {gateway_link(conf)} has address {other}, not {address}",
                "forceAddress replaces it",
            )
        yield ops.RemoveAddress(Side.HOST, gateway_link(conf), other)


def _veth(request: Request, facts: _Facts) -> Iterator[Op]:
    conf = request.conf
    yield ops.CreateVeth(
        host=facts.host,
        host_mac=request.names.host_mac,
        pod=request.ifname,
        pod_mac=facts.pod_mac,
        mtu=facts.mtu,
        bridge=conf.bridge,
    )
    alias = request.names.alias
    yield ops.SetPort(
        name=facts.host,
        hairpin=conf.hairpin_mode,
        isolated=conf.isolates_ports,
        locked=conf.macspoofchk,
        alias=alias,
    )
    yield from join_port(conf, facts.host)
    if conf.macspoofchk:
        # in all of its VLANs, hence after it joined them
        yield ops.KnowSender(facts.host, facts.pod_mac)


def _pod(request: Request, lease: Result) -> Iterator[Op]:
    if request.conf.disable_container_interface:
        return
    yield from pod_interface(request, lease)
    for route in lease.routes:
        yield ops.AddRoute(Side.POD, request.ifname, through_gateway(route, lease.ips))


def _settle(request: Request, lease: Result, facts: _Facts) -> Iterator[Op]:
    """Let everybody know who has the addresses now, as soon as the bridge lets it through."""
    conf, addresses = request.conf, tuple(item.address.ip for item in lease.ips)
    if conf.disable_container_interface:
        return
    if is_gateway(conf):
        for address in addresses:
            yield ops.ForgetNeighbour(gateway_link(conf), address)
    yield ops.AwaitForwarding(facts.host)
    if not facts.bridge_runs:  # its first port gives it a carrier
        yield ops.AwaitRunning(conf.bridge)
    if addresses:
        # a MAC that is set is announced, also when it is the same (NETDEV_CHANGEADDR in
        # net/ipv4/devinet.c and net/ipv6/ndisc.c); what was announced before did not get through
        yield ops.SetLink(Side.POD, request.ifname, mac=facts.pod_mac)
    yield from detected(request, lease)


def _interfaces(request: Request, facts: _Facts, state: StateBeforeAdd) -> tuple[Interface, ...]:
    conf = request.conf
    pod = Interface(request.ifname, facts.pod_mac, request.netns, facts.mtu)
    # a link in a VLAN has the MAC of the link below it
    gateway = Interface(
        gateway_link(conf), state.gateway.mac if state.gateway else facts.bridge_mac
    )
    return (
        Interface(conf.bridge, facts.bridge_mac),
        Interface(facts.host, request.names.host_mac, mtu=facts.mtu),
        *(() if conf.disable_container_interface else (pod,)),
        *(() if gateway.name == conf.bridge else (gateway,)),
    )
