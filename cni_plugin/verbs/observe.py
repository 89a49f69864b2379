"""Reads the state that ADD's plan depends on, and the state that CHECK compares."""

from cni_plugin.linux import vlans
from cni_plugin.linux.namespace import Namespace
from cni_plugin.plan.check import AttachmentState, BridgeVlans
from cni_plugin.plan.mtu import outside_mtu
from cni_plugin.plan.others import LOOPBACK
from cni_plugin.plan.vlan import gateway_link, wants_vlans
from cni_plugin.plan.wiring import Plan
from cni_plugin.spec.config import NetConf
from cni_plugin.spec.kernel_state import Link, StateBeforeAdd
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Cidr, Result

_FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


def before_add(
    request: Request, host_ns: Namespace, pod_ns: Namespace, boot_id: str
) -> StateBeforeAdd:
    """The state that ADD's plan depends on."""
    conf, name = request.conf, request.ifname
    bridge = host_ns.link(conf.bridge) if conf.wiring == "bridge" else None
    inside = pod_ns.link(name)
    peer = _peer(request, host_ns, inside) if conf.wiring == "chained" else None
    gateway = _gateway(conf, host_ns, bridge)
    return StateBeforeAdd(
        bridge=bridge,
        gateway=gateway,
        gateway_addresses=_addresses(host_ns, gateway),
        filters_vlans=wants_vlans(conf) and vlans.filters(host_ns.socket, conf.bridge),
        host_taken=host_ns.link(request.names.host_link) is not None,
        pod_taken=inside is not None,
        outside_mtu=_outside_mtu(conf, host_ns, bridge),
        boot_id=boot_id,
        pod_has_ipv6=conf.wiring == "loopback" and _has_ipv6(pod_ns),
        peer=peer.name if peer else "",
        peer_bridge=_bridge_of(host_ns, peer),
        peer_mtu=peer.mtu if peer else 0,
    )


def _outside_mtu(conf: NetConf, host_ns: Namespace, bridge: Link | None) -> int:
    if bridge or conf.mtu or conf.wiring not in {"bridge", "ptp"}:
        return 0  # not needed; to list all links and routes takes long
    return outside_mtu(host_ns.links(), host_ns.routes())


def _has_ipv6(pod_ns: Namespace) -> bool:
    return pod_ns.sysctl(f"net/ipv6/conf/{LOOPBACK}/disable_ipv6") == "0"


def _gateway(conf: NetConf, host_ns: Namespace, bridge: Link | None) -> Link | None:
    name = gateway_link(conf)
    return bridge if name == conf.bridge else host_ns.link(name)


def _peer(request: Request, host_ns: Namespace, inside: Link | None) -> Link | None:
    """The host's end of an interface that another plugin made.

    It must also be in that plugin's result: the index alone may be of a link in a third namespace.
    """
    listed = {item.name for item in (request.previous or Result()).interfaces if not item.sandbox}
    if inside is None or inside.kind != "veth":
        return None
    links = (link for link in map(host_ns.link, sorted(listed)) if link is not None)
    return next((link for link in links if link.index == inside.peer), None)


def _bridge_of(host_ns: Namespace, link: Link | None) -> str:
    if link is None or not link.master:
        return ""
    masters = [item for item in host_ns.links() if item.index == link.master]
    return masters[0].name if masters and masters[0].kind == "bridge" else ""


def wired_by(request: Request, previous: Result, host_ns: Namespace, pod_ns: Namespace) -> Plan:
    """The interface that an earlier ADD made, from its result: a plan without operations."""
    indexes = {i for i, item in enumerate(previous.interfaces) if item.name == request.ifname}
    ips = tuple(item for item in previous.ips if item.interface in indexes | {None})
    if request.conf.wiring == "chained":
        peer = _peer(request, host_ns, pod_ns.link(request.ifname))
        return Plan((), previous, peer.name if peer else "", _bridge_of(host_ns, peer), ips)
    bridge = gateway_link(request.conf) if request.conf.wiring == "bridge" else ""
    return Plan((), previous, request.names.host_link, bridge, ips)


def for_check(request: Request, host_ns: Namespace, pod_ns: Namespace) -> AttachmentState:
    """The state that CHECK compares with the result."""
    bridge, inside = host_ns.link(request.conf.bridge), pod_ns.link(request.ifname)
    end = host_ns.link(request.names.host_link)
    gateway = _gateway(request.conf, host_ns, bridge)
    return AttachmentState(
        pod=inside,
        host=end,
        bridge=bridge,
        loopback=pod_ns.link(LOOPBACK),
        pod_addresses=_addresses(pod_ns, inside),
        gateway=gateway,
        gateway_addresses=_addresses(host_ns, gateway),
        host_addresses=_addresses(host_ns, end),
        routes=pod_ns.routes(),
        host_routes=host_ns.routes() if request.conf.wiring == "ptp" else (),
        forwarding=frozenset(
            version for version, key in _FORWARDING.items() if host_ns.sysctl(key) == "1"
        ),
        vlans=_vlans(request.conf, host_ns, bridge, end),
    )


def _vlans(
    conf: NetConf, host_ns: Namespace, bridge: Link | None, end: Link | None
) -> BridgeVlans | None:
    if not wants_vlans(conf) or bridge is None or end is None or end.master != bridge.index:
        return None
    return BridgeVlans(
        filtered=vlans.filters(host_ns.socket, bridge.name),
        bridge=vlans.memberships(host_ns.socket, bridge.index),
        port=vlans.memberships(host_ns.socket, end.index),
    )


def _addresses(namespace: Namespace, link: Link | None) -> tuple[Cidr, ...]:
    return () if link is None else namespace.addresses(link.index)
