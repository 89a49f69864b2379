"""Renders a portal as rules: pure text that iptables-restore reads.

A rule is its arguments without ``-A CHAIN``. Text of an API object enters a rule only as a parsed
address, a number, a hash, or through ``comment``.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct

from proxy.backends.iptables import names
from proxy.backends.iptables.accounting import LOOPBACK_ACCEPTED
from proxy.backends.iptables.names import ChainName, Table
from proxy.desired.fate import admits_node
from proxy.desired.portals import FrontendKind, Portal
from proxy.model.naming import plain
from proxy.model.settings import ProxySettings
from proxy.model.values import LOOPBACK, Address, Family, Network, NodeView, Protocol, Target

Rules = tuple[str, ...]

_COMMENT_LIMIT = 200  # the kernel takes 255 bytes (XT_MAX_COMMENT_LEN)


class SharedLine(NamedTuple):
    """A rule in a shared chain. Rules of a lower kind of frontend come first."""

    kind: FrontendKind
    rule: str


class RenderedRules(Struct, frozen=True):
    """The rules of a portal or of a Service: its own chains, and its lines in shared chains.

    ``cluster_ips`` are its ClusterIPs, of which one shared chain has all.
    """

    own: Mapping[ChainName, Rules]
    shared: Mapping[ChainName, tuple[SharedLine, ...]]
    cluster_ips: frozenset[Address] = frozenset()


def comment(text: str) -> str:
    """Return a comment match whose text cannot end the quotes or the line."""
    return f'-m comment --comment "{plain(text, _COMMENT_LIMIT)}"'


def counting(counter: str, settings: ProxySettings) -> str:
    """Return the match that raises one of the kernel's counters; nothing if it is not there."""
    here = counter in settings.packet_counters
    return f"-m nfacct --nfacct-name {counter} " if here else ""


def render(portal: Portal, settings: ProxySettings, node: NodeView) -> RenderedRules:
    """Return the rules of one portal."""
    own = dict(_own_chains(portal, settings, node)) if portal.anywhere else {}
    shared: dict[ChainName, list[SharedLine]] = {}
    for chain, line in _shared_rules(portal, settings):
        shared.setdefault(chain, []).append(line)
    return RenderedRules(
        {ChainName(Table.NAT, name): rules for name, rules in own.items()},
        {chain: tuple(lines) for chain, lines in shared.items()},
        frozenset((portal.cluster_ip,)),
    )


# The shared chains select the packets of this portal.


def _shared_rules(
    portal: Portal, settings: ProxySettings
) -> Iterator[tuple[ChainName, SharedLine]]:
    yield _internal(portal)
    balancer = names.firewall_chain(portal) if _filters(portal) else names.external_chain(portal)
    for address in portal.load_balancer_ips:
        capture = _capture(portal, address, "loadbalancer IP", balancer)
        yield from _external(portal, address, SharedLine(FrontendKind.LOAD_BALANCER, capture))
        if _filters(portal):
            yield (
                names.FIREWALL,
                SharedLine(FrontendKind.LOAD_BALANCER, _firewalled(portal, address)),
            )
    for address in portal.external_ips:
        capture = _capture(portal, address, "external IP", names.external_chain(portal))
        yield from _external(portal, address, SharedLine(FrontendKind.EXTERNAL_IP, capture))
    if portal.node_port:
        yield from _node_port(portal, settings)
    if portal.health_check_port:
        yield names.HEALTH_PORTS, SharedLine(FrontendKind.NODE_PORT, _health_port(portal))


def _internal(portal: Portal) -> tuple[ChainName, SharedLine]:
    if not portal.internal:
        return names.NO_INTERNAL, SharedLine(
            FrontendKind.CLUSTER_IP, _refuse(portal, _to(portal.cluster_ip))
        )
    capture = _capture(portal, portal.cluster_ip, "cluster IP", _internal_chain(portal))
    return names.SERVICES, SharedLine(FrontendKind.CLUSTER_IP, capture)


def _external(
    portal: Portal, address: Address, capture: SharedLine
) -> Iterator[tuple[ChainName, SharedLine]]:
    """Outside traffic without endpoints is refused; this node's own is still captured."""
    if portal.anywhere:
        yield names.SERVICES, capture
    if not portal.external:
        yield names.NO_EXTERNAL, SharedLine(capture.kind, _refuse(portal, _to(address)))


def _node_port(portal: Portal, settings: ProxySettings) -> Iterator[tuple[ChainName, SharedLine]]:
    if portal.anywhere:
        port = _port(portal.protocol, portal.node_port)
        jump = f"{port} {comment(portal.name)} -j {names.external_chain(portal)}"
        yield names.NODE_PORTS, SharedLine(FrontendKind.NODE_PORT, jump)
    if not portal.external:
        for here in this_node(portal.family, settings):
            refusal = _refuse(portal, here, portal.node_port)
            yield names.NO_EXTERNAL, SharedLine(FrontendKind.NODE_PORT, refusal)


def _health_port(portal: Portal) -> str:
    port = _port(Protocol.TCP, portal.health_check_port)
    return f"{port} {comment(f'{portal.name} health check node port')} -j ACCEPT"


def _capture(portal: Portal, address: Address, what: str, chain: str) -> str:
    return f"{_to(address)} {_serving(portal)} {comment(f'{portal.name} {what}')} -j {chain}"


def _refuse(portal: Portal, destination: str, number: int = 0) -> str:
    """Return the rule that rejects or drops packets without an endpoint.

    A client learns of a rejection at once. TCP is rejected by a reset, because the kernel limits
    the rate of ICMP errors: the eighth client in a second would wait.
    """
    why = "has no local endpoints" if portal.anywhere else "has no endpoints"
    reset = " --reject-with tcp-reset" if portal.protocol is Protocol.TCP else ""
    target = "DROP" if portal.anywhere else f"REJECT{reset}"
    port = _port(portal.protocol, number or portal.number)
    return f"{destination} {port} {comment(f'{portal.name} {why}')} -j {target}"


def _firewalled(portal: Portal, address: Address) -> str:
    why = f"{portal.name} traffic not accepted by {names.firewall_chain(portal)}"
    return f"{_to(address)} {_serving(portal)} {comment(why)} -j DROP"


# A portal's own chains choose the endpoint and decide about masquerading.


def _own_chains(
    portal: Portal, settings: ProxySettings, node: NodeView
) -> Iterator[tuple[str, Rules]]:
    masquerade = tuple(_masquerade_internal(portal, settings))
    for name, targets, is_internal in _pools(portal):
        lead = masquerade if is_internal else ()
        yield name, (*lead, *_balance(portal, targets))
    if portal.is_external:
        yield names.external_chain(portal), tuple(_enter_external(portal, settings))
    if _filters(portal):
        yield names.firewall_chain(portal), tuple(_admit(portal, node))
    for target in portal.used:
        yield names.endpoint_chain(portal, target), _send(portal, target)


def _pools(portal: Portal) -> Iterator[tuple[str, tuple[Target, ...], bool]]:
    """Yield the balancing chains in use: name, targets, and True if ClusterIP traffic enters."""
    internal, external = portal.internal_local, portal.external_local and portal.is_external
    if portal.cluster and (portal.is_external or not internal):
        yield names.cluster_chain(portal), portal.cluster, not internal
    if portal.local and (internal or external):
        yield names.local_chain(portal), portal.local, internal


def _internal_chain(portal: Portal) -> str:
    return names.local_chain(portal) if portal.internal_local else names.cluster_chain(portal)


def _masquerade_internal(portal: Portal, settings: ProxySettings) -> Iterator[str]:
    """Masquerade off-cluster clients of the ClusterIP.

    Their endpoint may be on another node, whose replies would not come back through this one.
    """
    outsiders = _from_pods(portal.family, settings, "! ")
    if settings.masquerade_all or outsiders:
        match = "" if settings.masquerade_all else f"{outsiders} "
        to = f"{_to(portal.cluster_ip)} {_serving(portal)} {comment(f'{portal.name} cluster IP')}"
        yield f"{match}{to} -j {names.MARK_MASQ.name}"


def _balance(portal: Portal, targets: tuple[Target, ...]) -> Iterator[str]:
    """Yield rules for affinity first, then for chance.

    Each target takes its share of the shares that the rules before it left.
    """
    shares = Counter(targets)
    named = {
        target: (
            comment(f"{portal.name} -> {target}"),
            names.endpoint_chain(portal, target),
        )
        for target in shares
    }
    if portal.affinity is not None:
        seconds = f"--rcheck --seconds {portal.affinity} --reap"
        for text, chain in named.values():
            yield f"{text} -m recent --name {chain} {seconds} -j {chain}"
    left = len(targets)
    for target, (text, chain) in named.items():
        odds = f"{shares[target] / left:.10f}"
        chance = (
            f" -m statistic --mode random --probability {odds}" if left > shares[target] else ""
        )
        yield f"{text}{chance} -j {chain}"
        left -= shares[target]


def _enter_external(portal: Portal, settings: ProxySettings) -> Iterator[str]:
    """Yield the rules for traffic from outside.

    Policy Local keeps the client's source and uses this node's endpoints. Traffic of this node's
    Pods and processes is treated as if it came back from the load balancer.
    """
    name, cluster = portal.name, names.cluster_chain(portal)
    at_loopback = portal.family is Family.V4 and settings.localhost_node_ports
    if portal.node_port and at_loopback and (count := counting(LOOPBACK_ACCEPTED, settings)):
        yield f"-d {LOOPBACK[Family.V4]} {count}".rstrip()
    if not portal.external_local:
        yield f"{comment(f'masquerade traffic for {name} external destinations')} -j KUBE-MARK-MASQ"
    else:
        if pods := _from_pods(portal.family, settings):
            yield f"{pods} {comment(f'pod traffic for {name} external destinations')} -j {cluster}"
        here = "-m addrtype --src-type LOCAL"
        masquerade = comment(f"masquerade LOCAL traffic for {name} external destinations")
        route = comment(f"route LOCAL traffic for {name} external destinations")
        yield f"{masquerade} {here} -j KUBE-MARK-MASQ"
        yield f"{route} {here} -j {cluster}"
    if portal.external:
        yield f"-j {names.local_chain(portal) if portal.external_local else cluster}"


def _filters(portal: Portal) -> bool:
    return bool(portal.anywhere and portal.load_balancer_ips and portal.sources is not None)


def _admit(portal: Portal, node: NodeView) -> Iterator[str]:
    """Yield rules that admit the source ranges. The filter table drops packets that none admits."""
    sources: list[Network | Address] = list(portal.sources or ())
    if admits_node(portal.sources or (), node.addresses):
        sources += portal.load_balancer_ips
    for source in sources:
        text = comment(f"{portal.name} loadbalancer IP")
        yield f"-s {source} {text} -j {names.external_chain(portal)}"
    yield comment(f"other traffic to {portal.name} will be dropped by KUBE-PROXY-FIREWALL")


def _send(portal: Portal, target: Target) -> Rules:
    text = comment(portal.name)
    remember = ""
    if portal.affinity is not None:
        remember = f" -m recent --name {names.endpoint_chain(portal, target)} --set"
    return (
        f"-s {target.host} {text} -j {names.MARK_MASQ.name}",  # hairpin
        f"{_serving_any(portal)} {text}{remember} -j DNAT --to-destination {target}",
    )


def this_node(family: Family, settings: ProxySettings) -> Rules:
    """Return matches for the node addresses that serve NodePorts."""
    local = "-m addrtype --dst-type LOCAL"
    networks = settings.node_port_networks_of(family)
    return (local,) if networks is None else tuple(f"-d {network} {local}" for network in networks)


def _to(address: Address) -> str:
    return f"-d {address}"


def _serving(portal: Portal) -> str:
    return _port(portal.protocol, portal.number)


def _serving_any(portal: Portal) -> str:
    protocol = portal.protocol.lower()
    return f"-p {protocol} -m {protocol}"


def _port(protocol: Protocol, number: int) -> str:
    return f"-p {protocol.lower()} -m {protocol.lower()} --dport {number}"


def _from_pods(family: Family, settings: ProxySettings, negate: str = "") -> str:
    """Return the match for packets of Pods; empty if Pods cannot be detected."""
    pods = settings.pods.get(family)
    if pods is None:
        return ""
    return f"{negate}-s {pods.network}" if pods.network else f"{negate}-i {pods.interface}"
