"""What should be installed on a node: pure, by the functions of those who install it."""

from ipaddress import ip_network
from typing import Any

from control.node_network.plan import (
    DEVICE,
    NetworkPlan,
    Overlay,
    Uplink,
    plan,
    pod_mtu,
)
from control.node_network.render import nft_script
from debug.doctor.look import Look, NodeLook, peer_of
from debug.views.decided import tracked
from proxy.backends.ebpf.contents import MapContents
from proxy.backends.ebpf.installed.tables import Entries, Tables
from proxy.backends.ebpf.layout import (
    PRESENT,
    pack_address,
    pack_frontend,
    pack_settings,
    unpack_options,
)
from proxy.backends.iptables.ruleset import ChainChanges, IptablesRuleset
from proxy.backends.nftables.ruleset import NftablesRuleset
from proxy.backends.nftables.transaction import table_name
from proxy.config import pods_of
from proxy.desired.claims import ClaimResolver, WinnerChange
from proxy.desired.desired import Desired
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, Network, NodeView

Served = tuple[Desired, NodeView]
_SECTIONS = {"iptables": "iptables", "nftables": "nftables", "ebpf": "nftables"}


def settings(node: NodeLook) -> ProxySettings:
    """The proxy's settings, as its configuration tells them."""
    facts = node.machine.proxy if node.machine else None
    config: dict[str, Any] = facts.config if facts else {}
    section = config.get(_SECTIONS.get(node.mode, ""), {}) or {}
    general = config.get("iptables", {}) or {}
    by_node = config.get("detectLocalMode") == "NodeCIDR"
    pods = node.peer.cidrs if by_node else ranges(config.get("clusterCIDR", ""))
    named = [word for word in config.get("nodePortAddresses") or [] if "/" in word]
    return ProxySettings(
        pods=pods_of(tuple(pods)),
        masquerade_all=bool(section.get("masqueradeAll")),
        mark_bit=int(section.get("masqueradeBit") or 14),
        localhost_node_ports=bool(general.get("localhostNodePorts", True)),
        node_port_networks=tuple(map(ip_network, named)) or None,
        tcp_be_liberal=bool((config.get("conntrack") or {}).get("tcpBeLiberal")),
    )


def ranges(text: str) -> tuple[Network, ...]:
    """The ranges of a list with commas."""
    return tuple(ip_network(part, strict=False) for part in text.split(",") if part)


def services(look: Look, node: NodeLook) -> Served:
    """The desired state of all Services on a node, and the node as its proxy sees it."""
    tracker = tracked(look.cluster, node.name)
    cidrs = sorted({text for one in look.cluster.ranges for text in one.spec.cidrs})
    tracker.set_service_ranges(tuple(ip_network(text) for text in cidrs))
    return tracker.desired(), tracker.node


def nft_tables(node: NodeLook, served: Served) -> str:
    """The text that makes the proxy's tables of mode nftables, which mode ebpf has too."""
    want, view = served
    found = settings(node)
    claims = ClaimResolver(found)
    claims.update(want)
    text = []
    for family in found.families:
        ours = (won for won in claims.winners() if won[0].family is family)
        change = NftablesRuleset(family, found).restart(ours, view)
        text += [f"add table {table_name(family)}\n", change.text(family)]
    return "".join(text)


def service_tables(node: NodeLook, served: Served, have: Tables) -> tuple[Tables, dict[bytes, str]]:
    """The tables of mode ebpf's programs, and the Service of each frontend, by its key.

    Which options the programs have, and the node's cookie, is read from the present settings.
    """
    want, view = served
    found = settings(node)
    cookie, options = unpack_options(dict(have["settings"])[bytes(4)])
    claims = ClaimResolver(found)
    claims.update(want)
    won = list(claims.winners())
    made = MapContents(options).advance(WinnerChange(at, None, claim) for at, claim in won)
    names = ("frontends", "endpoints", "seats", "members", "ranges")
    tables: dict[str, Entries] = {name: tuple(getattr(made, name).items()) for name in names}
    ours = (one for one in view.addresses if found.is_node_port_address(one))
    tables["node_addresses"] = tuple((pack_address(one), PRESENT) for one in ours)
    tables["settings"] = ((bytes(4), pack_settings(found, options, cookie)),)
    owners = {
        pack_frontend(at.family, at.address, at.port, at.protocol): _owner(claim.portal.name)
        for at, claim in won
    }
    return tables, owners


def _owner(name: str) -> str:
    return f"Service {name.partition(':')[0]}"


def iptables_rules(node: NodeLook, served: Served, family: Family) -> bytes:
    """The input for iptables-restore that makes the proxy's rules of one family."""
    want, view = served
    ruleset = IptablesRuleset(family, settings(node))
    ruleset.update(want, view)
    put = {**ruleset.common(), **ruleset.own_chains(ruleset.keys())}
    return ChainChanges(put, jumps=ruleset.jumps).text()


def network(look: Look, node: NodeLook) -> NetworkPlan | None:
    """What the agent's node network wants; None if podwire's agent does not run it."""
    overlay = overlay_of(node)
    if overlay is None or node.uplink is None:
        return None
    facts = node.machine.proxy if node.machine else None
    cluster = ranges(str(facts.config.get("clusterCIDR", ""))) if facts else ()
    peers = [peer_of(other) for other in look.cluster.nodes]
    return plan(node.peer, peers, overlay, Uplink(node.uplink.name, node.uplink.mtu), cluster)


def overlay_of(node: NodeLook) -> Overlay | None:
    """How nodes reach each other's Pods. The CNI file's MTU tells it if the tunnel is gone."""
    cni = node.machine.cni if node.machine else None
    if cni is None or cni.name != "podwire" or node.uplink is None:
        return None
    uplink = Uplink(node.uplink.name, node.uplink.mtu)
    if node.space.named(DEVICE) or cni.mtu == pod_mtu(node.peer, "vxlan", uplink):
        return "vxlan"
    return "routes"


def masquerading(found: NetworkPlan) -> str:
    """The text that makes the node network's table."""
    return nft_script(found.masquerade)
