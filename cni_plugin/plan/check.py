"""CHECK: the differences between an attachment's previous result and its state; pure.

The previous result is that of the chain's last plugin. So it also has the changes of later plugins.
Source: CNI specification 1.1.0, section 2, "CHECK".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from cni_plugin.plan.bridge import gateway_addresses
from cni_plugin.plan.vlan import gateway_link, port_vlans
from cni_plugin.plan.wiring import is_gateway
from cni_plugin.spec.config import NetConf
from cni_plugin.spec.kernel_state import KernelRoute, Link, PortVlans
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Cidr, Interface, IPConfig, Result
from cni_plugin.spec.versions import at_least


@dataclass(frozen=True, slots=True)
class BridgeVlans:
    """The VLANs of the bridge itself and of its port. ``filtered``: VLAN filtering is on."""

    filtered: bool
    bridge: PortVlans
    port: PortVlans


@dataclass(frozen=True, slots=True)
class AttachmentState:
    """The state of an attachment. A link that does not exist is None."""

    pod: Link | None
    host: Link | None
    bridge: Link | None
    loopback: Link | None
    pod_addresses: tuple[Cidr, ...]
    gateway: Link | None
    gateway_addresses: tuple[Cidr, ...]
    host_addresses: tuple[Cidr, ...]
    routes: tuple[KernelRoute, ...]
    host_routes: tuple[KernelRoute, ...]
    forwarding: frozenset[int]  # the IP versions that the host forwards
    vlans: BridgeVlans | None = None  # None unless the configuration has VLANs


def faults(request: Request, previous: Result, state: AttachmentState) -> Iterator[str]:
    """Describe every difference."""
    conf = request.conf
    if conf.wiring == "loopback":
        if state.loopback is None or not state.loopback.up:
            yield "loopback is down"
        return
    if conf.wiring == "chained":
        return  # the plugin that made the interface checks it
    listed = {item.name: item for item in previous.interfaces}
    yield from _host(request.names.host_link, state)
    if conf.wiring == "bridge":
        yield from _bridge(conf, listed.get(conf.bridge), state)
        yield from _port(request.names.host_link, conf, state)
        yield from _vlans(request.names.host_link, conf, state)
    if not conf.disable_container_interface:
        yield from _pod(request, previous, state)
    if is_gateway(conf):
        yield from _gateway(conf, previous, state)


def _bridge(conf: NetConf, listed: Interface | None, state: AttachmentState) -> Iterator[str]:
    link = state.bridge
    if link is None:
        yield f"bridge {conf.bridge} is missing"
        return
    if link.kind != "bridge":
        yield f"link {conf.bridge} is no bridge"
    if not link.up:
        yield f"bridge {conf.bridge} is down"
    if conf.promisc_mode and not link.promiscuous:
        yield f"bridge {conf.bridge} is not promiscuous"
    if listed is None:
        yield f"bridge {conf.bridge} is not in prevResult"
    elif listed.mac and listed.mac != link.mac:
        yield f"bridge {conf.bridge} has MAC {link.mac}, not {listed.mac}"


def _host(name: str, state: AttachmentState) -> Iterator[str]:
    link = state.host
    if link is None:
        yield f"host interface {name} is missing"
        return
    if not link.up:
        yield f"host interface {name} is down"
    if state.pod is not None and link.peer != state.pod.index:
        yield f"host interface {name} is not the container interface's other end"


def _port(name: str, conf: NetConf, state: AttachmentState) -> Iterator[str]:
    link = state.host
    if link is None:
        return
    if state.bridge is not None and link.master != state.bridge.index:
        yield f"host interface {name} is not in bridge {conf.bridge}"
    if link.hairpin is not None and link.hairpin != conf.hairpin_mode:
        yield f"host interface {name} has hairpin {_switch(link.hairpin)}"
    if link.locked is not None and link.locked != conf.macspoofchk:
        yield f"host interface {name} has its lock {_switch(link.locked)}"
    if link.isolated is not None and link.isolated != conf.isolates_ports:
        yield f"host interface {name} has isolation {_switch(link.isolated)}"


def _vlans(name: str, conf: NetConf, state: AttachmentState) -> Iterator[str]:
    wanted, actual = port_vlans(conf), state.vlans
    if actual is None:
        return  # no VLANs are configured, or a missing link is reported already
    if not actual.filtered:
        yield f"bridge {conf.bridge} does not keep VLANs apart"
    if wanted is None:
        return
    if actual.port.native != wanted.native:
        yield f"host interface {name} has native VLAN {actual.port.native}, not {wanted.native}"
    if wanted.tagged - actual.port.tagged:
        yield f"host interface {name} lacks VLAN {_listed(wanted.tagged - actual.port.tagged)}"
    unwanted = (actual.port.tagged | actual.port.untagged) - wanted.tagged - wanted.untagged
    if unwanted and not conf.preserve_default_vlan:
        yield f"host interface {name} is in VLAN {_listed(unwanted)} too"


def _listed(vlans: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(vlans)))


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _pod(request: Request, previous: Result, state: AttachmentState) -> Iterator[str]:
    name, link = request.ifname, state.pod
    index = next(
        (i for i, item in enumerate(previous.interfaces) if item.name == name and item.sandbox),
        None,
    )
    if index is None:
        yield f"interface {name} is not in prevResult"
        return
    if link is None:
        yield f"container interface {name} is missing"
        return
    if link.kind != "veth":
        yield f"container interface {name} is {link.kind or 'no veth'}"
    if not link.up:
        yield f"container interface {name} is down"
    listed = previous.interfaces[index]
    if listed.mac and listed.mac != link.mac:
        yield f"container interface {name} has MAC {link.mac}, not {listed.mac}"
    if listed.mtu and listed.mtu != link.mtu:
        yield f"container interface {name} has MTU {link.mtu}, not {listed.mtu}"
    for item in previous.ips:
        if item.interface in {None, index} and item.address not in state.pod_addresses:
            yield f"container interface {name} lacks address {item.address}"
    # older results have no scope, which lets a route do without a gateway
    scopes = at_least(request.version, "1.1.0")
    yield from _routes(previous, index, link, state.routes, scopes=scopes)


def _routes(
    previous: Result,
    index: int,
    link: Link,
    routes: tuple[KernelRoute, ...],
    *,
    scopes: bool,
) -> Iterator[str]:
    there = {(route.dst, route.gw) for route in routes if route.link == link.index}
    for route in previous.routes:
        gateways = _gateways(previous.ips, index, route.dst.version)
        gw = route.gw or (gateways[0] if gateways and route.scope is None else None)
        if gw is not None and gw not in gateways:
            continue  # the route of another plugin of the chain, through another interface
        direct = not scopes and route.gw is None and (route.dst, None) in there
        if (route.dst, gw) not in there and not direct:
            through = f" through {gw}" if gw else ""
            yield f"route to {route.dst}{through} is missing"


def _gateways(ips: tuple[IPConfig, ...], index: int, version: int) -> list[object]:
    return [
        item.gateway
        for item in ips
        if item.interface in {None, index} and item.address.version == version and item.gateway
    ]


def _gateway(conf: NetConf, previous: Result, state: AttachmentState) -> Iterator[str]:
    if conf.wiring == "bridge":
        yield from _vlan_gateway(conf, state)
        for address in gateway_addresses(previous, conf):
            if address not in state.gateway_addresses:
                yield f"bridge {gateway_link(conf)} lacks the gateway's address {address}"
    else:
        yield from _routed(previous, state)
    for version in sorted({item.address.version for item in previous.ips}):
        if version not in state.forwarding:
            yield f"the host does not forward IPv{version}"


def _vlan_gateway(conf: NetConf, state: AttachmentState) -> Iterator[str]:
    name, link = gateway_link(conf), state.gateway
    if name == conf.bridge:
        return
    if link is None or not link.up:
        yield f"the gateway's link {name} is {'missing' if link is None else 'down'}"
    own = state.vlans.bridge.tagged if state.vlans else frozenset()
    if link is not None and link.kind == "vlan" and conf.vlan not in own:
        yield f"bridge {conf.bridge} is not in VLAN {conf.vlan} itself"


def _routed(previous: Result, state: AttachmentState) -> Iterator[str]:
    own = {address.ip for address in state.host_addresses}
    link = state.host.index if state.host else 0
    there = {route.dst for route in state.host_routes if route.link == link}
    for item in previous.ips:
        if item.gateway is not None and item.gateway not in own:
            yield f"the host's end lacks the gateway's address {item.gateway}"
        if ip_network(item.address.ip) not in there:
            yield f"the host has no route to {item.address.ip}"
