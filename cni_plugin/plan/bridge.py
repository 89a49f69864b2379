"""A veth pair whose host end is a port of a bridge; pure.

The behaviour is that of the reference's bridge plugin (containernetworking/plugins,
plugins/main/bridge), but for what docs/cni.md lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_interface

from cni_plugin import names, ops
from cni_plugin.config import NetConf
from cni_plugin.errors import InvalidConfiguration
from cni_plugin.ops import Op, Side
from cni_plugin.plan.wiring import (
    DEFAULT_MTU,
    Plan,
    answer,
    forwarding,
    is_gateway,
    no_dad,
    pod_interface,
    pod_mac,
    sysctl,
    through_gateway,
    with_gateways,
)
from cni_plugin.request import Request
from cni_plugin.result import Cidr, Interface, Result
from cni_plugin.state import Seen


@dataclass(frozen=True, slots=True)
class _Facts:
    host: str
    mtu: int
    pod_mac: str
    bridge_mac: str


def plan_bridge(request: Request, lease: Result, seen: Seen) -> Plan:
    """Make the bridge what it has to be, then the pair, then the container's interface."""
    conf = request.conf
    lease = with_gateways(lease, conf)
    facts = _Facts(
        host=names.host_ifname(*request.attachment),
        mtu=_mtu(conf, seen),
        pod_mac=pod_mac(request, lease),
        bridge_mac=seen.bridge.mac if seen.bridge else names.bridge_mac(conf.bridge, seen.boot_id),
    )
    return Plan(
        ops=(
            *_bridge(conf, lease, seen, facts),
            *_veth(request, facts),
            *_pod(request, lease),
            *_settle(request, lease, facts),
        ),
        result=answer(request, lease, _interfaces(request, facts)),
        host=facts.host,
        bridge=conf.bridge,
        ips=lease.ips,
        mtu=facts.mtu,
    )


def _mtu(conf: NetConf, seen: Seen) -> int:
    """The configured MTU, or the bridge's, or that of the host's way out."""
    return conf.mtu or (seen.bridge.mtu if seen.bridge else 0) or seen.uplink_mtu or DEFAULT_MTU


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
        yield sysctl(Side.HOST, f"net/ipv6/conf/{conf.bridge}/accept_ra", "0")
        yield no_dad(conf, conf.bridge)
    elif seen.bridge.kind != "bridge":
        raise InvalidConfiguration(f"link {conf.bridge} is there, and is no bridge")
    elif not seen.bridge.up:
        yield ops.SetUp(Side.HOST, conf.bridge)
    if conf.promisc_mode and not (seen.bridge and seen.bridge.promiscuous):
        yield ops.SetLink(Side.HOST, conf.bridge, promiscuous=True)
    yield from _addresses(conf, lease, seen)
    if is_gateway(conf):
        yield from forwarding(lease.ips)


def _addresses(conf: NetConf, lease: Result, seen: Seen) -> Iterator[Op]:
    wanted = bridge_addresses(lease, conf)
    missing = [address for address in wanted if address not in seen.bridge_addresses]
    if missing and seen.bridge is not None:
        # without this a bridge that somebody else made changes its MAC with its ports
        yield ops.SetLink(Side.HOST, conf.bridge, mac=seen.bridge.mac)
    for address in missing:
        yield from _replace_conflicts(conf, address, wanted, seen.bridge_addresses)
        yield ops.AddAddress(Side.HOST, conf.bridge, address)


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
    yield ops.SetPort(
        name=facts.host,
        hairpin=conf.hairpin_mode,
        isolated=conf.isolates_ports,
        locked=conf.macspoofchk,
        alias=alias,
    )
    if conf.macspoofchk:
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
            yield ops.ForgetNeighbour(conf.bridge, address)
    yield ops.AwaitForwarding(facts.host)
    if addresses:
        # a MAC that is set is announced, also when it is the same (NETDEV_CHANGEADDR in
        # net/ipv4/devinet.c and net/ipv6/ndisc.c); what was announced before did not get through
        yield ops.SetLink(Side.POD, request.ifname, mac=facts.pod_mac)


def _interfaces(request: Request, facts: _Facts) -> tuple[Interface, ...]:
    pod = Interface(request.ifname, facts.pod_mac, request.netns, facts.mtu)
    return (
        Interface(request.conf.bridge, facts.bridge_mac),
        Interface(facts.host, names.host_mac(*request.attachment), mtu=facts.mtu),
        *(() if request.conf.disable_container_interface else (pod,)),
    )
