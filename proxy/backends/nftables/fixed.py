"""The part of the table that no Service changes: hooks, and sets and maps for the Services."""

from collections.abc import Iterator

from proxy.backends.nftables.objects import (
    CLIENTS,
    CLUSTER_IPS,
    HAIRPIN,
    Chain,
    SetOrMap,
    TableObject,
)
from proxy.backends.nftables.render import NftablesRenderer
from proxy.model.values import LOOPBACK, Family, NodeView

# The NAT hooks run where iptables' do. The firewall runs before them, on untranslated addresses.
_DNAT, _SNAT, _FILTER, _FIREWALL = -100, 100, 0, -110
_REMEMBERED = 1 << 20  # at most so many clients with affinity, which take some 100 MB


def fixed(renderer: NftablesRenderer, node: NodeView) -> tuple[TableObject, ...]:
    """Return sets and maps first, then chains in the order of their jumps."""
    return (
        *_stores(renderer),
        *_refusing(renderer, node),
        *_balancing(renderer),
        *_masquerading(renderer),
    )


def _stores(renderer: NftablesRenderer) -> Iterator[SetOrMap]:
    """Yield sets and maps.

    The first is the one that a restart keeps, so that listings stay alike.
    """
    ip = renderer.ip
    clients = f"typeof numgen random mod 1 . {ip} saddr; flags dynamic,timeout; size {_REMEMBERED};"
    yield SetOrMap("set", CLIENTS, clients)
    for side, key in (("", renderer.address_key), ("port-", renderer.port_key)):
        for name in ("services", "inside", "outside", "refused"):
            yield SetOrMap("map", f"{side}{name}", f"typeof {key} : verdict;")
    yield SetOrMap("set", "filtered", f"typeof {renderer.address_key};")
    allowed = f"typeof {renderer.address_key} . {ip} saddr; flags interval;"
    yield SetOrMap("set", "allowed", allowed)
    yield SetOrMap("set", CLUSTER_IPS, f"typeof {ip} daddr;")
    yield SetOrMap("set", HAIRPIN, f"typeof {ip} saddr . {ip} daddr;")


def _refusing(renderer: NftablesRenderer, node: NodeView) -> Iterator[Chain]:
    """Yield chains for packets that still have a Service's address: balancing found no endpoint."""
    unserved = (f"{renderer.ip} daddr @{CLUSTER_IPS} goto refuse", *_unallocated(renderer, node))
    ports = to_node_ports(renderer, "vmap @port-refused")
    yield Chain("refuse", ("meta l4proto tcp reject with tcp reset", "reject"))
    yield Chain("refusals", (f"{renderer.address_key} vmap @refused", *ports, *unserved))
    admitted = f"{renderer.address_key} . {renderer.ip} saddr != @allowed drop"
    yield Chain("firewall", (f"{renderer.address_key} @filtered {admitted}",))
    for hook in ("prerouting", "output"):
        at = _hook("filter", hook, _FIREWALL)
        yield Chain(f"firewall-{hook}", ("ct state new jump firewall",), at)
    for hook in ("input", "forward", "output"):
        rules = (*_guard(renderer, hook), "ct state new jump refusals")
        yield Chain(f"filter-{hook}", rules, _hook("filter", hook, _FILTER))


def _unallocated(renderer: NftablesRenderer, node: NodeView) -> Iterator[str]:
    """Yield rules that drop packets to ClusterIPs of no Service, which would leave by a route."""
    for network in node.service_ranges:
        if network.version == renderer.family:
            yield f"{renderer.ip} daddr {network} drop"


def _guard(renderer: NftablesRenderer, hook: str) -> Iterator[str]:
    if hook == "forward" and not renderer.settings.tcp_be_liberal:
        # Conntrack does not translate such a segment, and the client would answer with a reset
        # (k/k#74839).
        yield "ct state invalid drop"
    if hook == "input" and renderer.family is Family.V4 and renderer.settings.localhost_node_ports:
        # route_localnet lets neighbors reach the node's loopback (CVE-2020-8558).
        stranger = f"ip daddr {LOOPBACK[Family.V4]} ip saddr != {LOOPBACK[Family.V4]}"
        yield f"{stranger} ct state != {{ established, related }} ct status & dnat == 0 drop"


def _balancing(renderer: NftablesRenderer) -> Iterator[Chain]:
    for side, key in (("", renderer.address_key), ("port-", renderer.port_key)):
        yield Chain(f"{side}by-origin", tuple(_by_origin(renderer, side, key)))
    ports = to_node_ports(renderer, "vmap @port-services")
    yield Chain("services", (f"{renderer.address_key} vmap @services", *ports))
    for hook in ("prerouting", "output"):
        yield Chain(f"nat-{hook}", ("jump services",), _hook("nat", hook, _DNAT))


def _by_origin(renderer: NftablesRenderer, side: str, key: str) -> Iterator[str]:
    """externalTrafficPolicy Local: clients on this node are served as if through the balancer."""
    if pods := renderer.from_pods():
        yield f"{pods} {key} vmap @{side}inside"
    yield f"fib saddr type local {renderer.mark}"
    yield f"fib saddr type local {key} vmap @{side}inside"
    yield f"{key} vmap @{side}outside"


def _masquerading(renderer: NftablesRenderer) -> Iterator[Chain]:
    mark, ip = f"{renderer.settings.mark:#x}", renderer.ip
    marked = f"meta mark & {mark} == {mark} meta mark set meta mark ^ {mark}"
    rules = (
        f"{marked} masquerade fully-random",
        f"ct status dnat {ip} saddr . {ip} daddr @{HAIRPIN} masquerade fully-random",
    )
    yield Chain("nat-postrouting", rules, _hook("nat", "postrouting", _SNAT))


def to_node_ports(renderer: NftablesRenderer, rest: str) -> Iterator[str]:
    """Yield rules for packets to node addresses that serve NodePorts; ``rest`` follows the key."""
    settings, loopback = renderer.settings, LOOPBACK[renderer.family]
    served = settings.is_node_port_address(loopback.network_address)
    here = "" if served else f"{renderer.ip} daddr != {loopback} "
    networks = settings.node_port_networks_of(renderer.family)
    if networks is None:
        yield f"{here}fib daddr type local {renderer.port_key} {rest}"
        return
    for network in networks:
        within = f"{renderer.ip} daddr {network}"
        yield f"{here}{within} fib daddr type local {renderer.port_key} {rest}"


def _hook(sort: str, hook: str, priority: int) -> str:
    return f"type {sort} hook {hook} priority {priority}; policy accept;"
