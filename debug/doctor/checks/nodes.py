"""Checks of nodes: their addresses, their Pod ranges, forwarding, reverse-path filters."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from ipaddress import ip_interface

from debug.doctor.look import Look, NodeLook, found, ok, peer_of, unknown
from debug.model import Finding, Level
from proxy.model.values import Address, Network


def duplicate_node_ip(look: Look) -> Iterator[Finding]:
    """Every node has an address of its own: each Vagrant VM has 10.0.2.15 (flannel#535)."""
    owners: dict[Address, list[str]] = defaultdict(list)
    for node in look.cluster.nodes:
        for address in peer_of(node).addresses:
            owners[address].append(node.metadata.name)
    for address, names in owners.items():
        if len(names) > 1:
            yield found(
                "duplicate-node-ip",
                Level.FAIL,
                "",
                f"nodes {', '.join(names)} have the same InternalIP {address}",
                *(f"Node {name}: InternalIP {address}" for name in names),
                about=f"Node {names[1]}",
                cause="each node announces the address of a network that only it is in, as "
                "VirtualBox's NAT network (10.0.2.15) is",
                consequence="packets to the other nodes' Pods are delivered on the node itself",
                fix="give each node the address of the shared network: --node-ip",
            )
    for seen in look.nodes:
        yield from _foreign_addresses(look, seen)
        yield from _own_address(seen)


def _foreign_addresses(look: Look, node: NodeLook) -> Iterator[Finding]:
    for other in look.cluster.nodes:
        peer = peer_of(other)
        for address in peer.addresses if peer.name != node.name else ():
            if address in node.local and address not in node.peer.addresses:
                yield found(
                    "duplicate-node-ip",
                    Level.FAIL,
                    node.name,
                    f"a link of this node has {address}, the InternalIP of {peer.name}",
                    f"addresses of links: {address}",
                    f"Node {peer.name}: InternalIP {address}",
                    about=f"Node {node.name}",
                    cause="the address was given twice: by hand, or by two DHCP servers",
                    consequence=f"packets to Pods of {peer.name} are delivered on this node",
                    fix=f"ip addr del {address} on one of them",
                )


def _own_address(node: NodeLook) -> Iterator[Finding]:
    lacking = [str(one) for one in node.peer.addresses if one not in node.local]
    evidence = f"addresses of links: {', '.join(sorted(map(str, node.local)))}"
    if lacking:
        yield found(
            "duplicate-node-ip",
            Level.FAIL,
            node.name,
            f"no link has the Node's InternalIP {', '.join(lacking)}",
            evidence,
            about=f"Node {node.name}",
            cause="the address was removed or changed after the agent had announced it",
            consequence="other nodes send this node's Pods packets that nobody takes",
            fix="add the address again, or restart the agent so that it announces the present one",
        )
    else:
        addresses = ", ".join(map(str, node.peer.addresses)) or "none announced"
        yield ok("duplicate-node-ip", node.name, f"InternalIP {addresses} is its own", evidence)


def duplicate_cidr(look: Look) -> Iterator[Finding]:
    """No two nodes share a Pod range, and no range overlaps a node's own network."""
    ranges = [
        (cidr, node.metadata.name) for node in look.cluster.nodes for cidr in peer_of(node).cidrs
    ]
    clashes = [
        (first, second)
        for number, first in enumerate(ranges)
        for second in ranges[number + 1 :]
        if _overlap(first[0], second[0])
    ]
    for (cidr, name), (other, owner) in clashes:
        yield found(
            "duplicate-pod-cidr",
            Level.FAIL,
            "",
            f"the Pod ranges of {name} and {owner} overlap",
            f"Node {name}: podCIDR {cidr}",
            f"Node {owner}: podCIDR {other}",
            about=f"Node {owner}",
            cause="two controllers allocate ranges, or one was given by hand",
            consequence="packets to some Pods go to the wrong node",
            fix=f"kubectl delete node {owner}; its agent registers it again with a free range",
        )
    if not clashes and ranges:
        yield ok(
            "duplicate-pod-cidr", "", "Pod ranges do not overlap", *(f"{n}: {c}" for c, n in ranges)
        )


def _overlap(first: Network, second: Network) -> bool:
    return first.version == second.version and first.overlaps(second)


def forwarding(look: Look) -> Iterator[Finding]:
    """Nodes forward packets of the families that their Pods have (k/k#39823)."""
    settings = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
    for node in look.nodes:
        for link in (node.uplink, node.bridge, *node.tunnels):
            if link and node.sysctl(f"net/ipv4/conf/{link.name}/forwarding") == "0":
                yield _no_forwarding(node, f"net/ipv4/conf/{link.name}/forwarding", "4", link.name)
        versions = sorted({cidr.version for cidr in node.peer.cidrs} or {4})
        for version in versions:
            name, value = settings[version], node.sysctl(settings[version])
            if value == "0":
                yield _no_forwarding(node, name, str(version))
            else:
                yield ok("forwarding-off", node.name, f"forwards IPv{version}", f"{name}: {value}")


def _no_forwarding(node: NodeLook, setting: str, version: str, link: str = "") -> Finding:
    where = f"what comes in by {link}" if link else f"no IPv{version} packets"
    return found(
        "forwarding-off",
        Level.FAIL,
        node.name,
        f"the node does not forward {where}" if link else f"the node forwards {where}",
        f"/proc/sys/{setting}: 0",
        about=f"link {link}" if link else f"Node {node.name}",
        cause="another program, or a file of /etc/sysctl.d, set it back",
        consequence="Pods reach nothing beyond their node, and nobody reaches them",
        fix=f"sysctl -w {setting.replace('/', '.')}=1",
    )


def wrong_neighbor(look: Look) -> Iterator[Finding]:
    """What a node has learned of another's MAC is that MAC."""
    uplinks = {str(ip): node for node in look.nodes for ip in node.peer.addresses}
    for node in look.nodes:
        learned = [
            (one, uplinks[one.ip])
            for one in node.space.neighbors
            if node.uplink and one.link == node.uplink.index and one.mac and one.ip in uplinks
        ]
        wrong = [
            (one, other) for one, other in learned if other.uplink and other.uplink.mac != one.mac
        ]
        for one, other in wrong:
            yield found(
                "wrong-neighbor",
                Level.FAIL,
                node.name,
                f"{one.ip} is {other.name}, whose MAC is not {one.mac}",
                f"neighbors: {one.ip} lladdr {one.mac} {one.state}",
                f"link {other.uplink.name if other.uplink else ''} of {other.name}: "
                f"{other.uplink.mac if other.uplink else ''}",
                about=f"Node {other.name}",
                cause="a permanent entry was left by a script, or another host has the address too",
                consequence=f"nothing on {other.name} answers this node, its Pods neither",
                fix=f"ip neigh del {one.ip} dev {node.uplink.name if node.uplink else ''}",
            )
        if not wrong:
            shown = (f"{one.ip} {one.mac}" for one, _ in learned)
            yield ok("wrong-neighbor", node.name, "MACs of nodes are theirs", *shown)


def rp_filter(look: Look) -> Iterator[Finding]:
    """No strict reverse-path filter stands where packets come by another way (cilium#13130)."""
    for node in look.nodes:
        strict = [link for link in _ways_in(node) if _filter_of(node, link) == 1]
        for link in strict:
            yield found(
                "strict-rp-filter",
                Level.FAIL,
                node.name,
                f"strict reverse-path filter at link {link}",
                f"net/ipv4/conf/all/rp_filter: {node.sysctl('net/ipv4/conf/all/rp_filter')}",
                f"net/ipv4/conf/{link}/rp_filter: "
                f"{node.sysctl(f'net/ipv4/conf/{link}/rp_filter')} (the larger counts)",
                about=f"link {link}",
                cause="the distribution's sysctl.d sets rp_filter 1 for new links",
                consequence="the kernel drops, without a rule, what comes in where it would not "
                "send the answer out: translated answers, a second uplink, a tunnel",
                fix=f"sysctl -w net.ipv4.conf.{link}.rp_filter=2 (and all.rp_filter=2 or 0)",
            )
        if not strict:
            everywhere = node.sysctl("net/ipv4/conf/all/rp_filter")
            yield ok(
                "strict-rp-filter", node.name, "no strict filter", f"all/rp_filter: {everywhere}"
            )


def _ways_in(node: NodeLook) -> list[str]:
    """The links where Pods' packets come in by ways that need not be the ways back."""
    links = (node.bridge, *node.tunnels, *([node.uplink] if _is_multihomed(node) else []))
    return [link.name for link in links if link]


def _is_multihomed(node: NodeLook) -> bool:
    """True if packets of peers may come by another link than their routes say."""
    links = Counter(route.link for route in node.space.routes if route.destination == "0.0.0.0/0")
    return len(links) > 1


def _filter_of(node: NodeLook, link: str) -> int:
    values = (node.sysctl(f"net/ipv4/conf/{name}/rp_filter") for name in ("all", link))
    return max(int(value) if value.isdecimal() else 0 for value in values)


def neighbors(look: Look) -> Iterator[Finding]:
    """The neighbor tables of both families have room (kops#4533)."""
    for node in look.nodes:
        for version in sorted({cidr.version for cidr in node.peer.cidrs} or {4}):
            yield _neighbors(node, version)


def _neighbors(node: NodeLook, version: int) -> Finding:
    """Tell of the table of IPv4 (ARP) or of IPv6 (NDP)."""
    family, table = {4: ("ipv4", "arp_cache"), 6: ("ipv6", "ndisc_cache")}[version]
    limit = node.sysctl(f"net/{family}/neigh/default/gc_thresh3")
    count = sum(
        one.state not in ("noarp", "permanent")
        for one in node.space.neighbors
        if (":" in one.ip) == (version == 6)
    )
    counted = node.machine.statistics if node.machine else {}
    full = counted.get(f"{table}/table_fulls")
    evidence = (
        f"neighbors of IPv{version}: {count} entries of {limit or 'unknown'} (gc_thresh3)",
        f"{table}/table_fulls: {'unknown' if full is None else full}",
    )
    if limit.isdecimal() and count >= int(limit) * 0.9:
        return found(
            "neighbor-overflow",
            Level.FAIL if full or count >= int(limit) else Level.WARN,
            node.name,
            f"the neighbor table of IPv{version} is (nearly) full",
            *evidence,
            about=f"Node {node.name}",
            cause="more Pods and hosts on one link than gc_thresh3 allows",
            consequence="new neighbors cannot be resolved: packets to them are dropped",
            fix=f"sysctl -w net.{family}.neigh.default.gc_thresh3=16384 (and thresh1, thresh2)",
        )
    if not limit.isdecimal():
        why = "the limit is readable in the machine's first network namespace only"
        return unknown("neighbor-overflow", node.name, why, *evidence)
    return ok("neighbor-overflow", node.name, f"there is room for IPv{version}", *evidence)


def ipv6_dad(look: Look) -> Iterator[Finding]:
    """No IPv6 address waits for, or failed, duplicate address detection (RFC 4862).

    A link-local address waits for a second or two after its link came up, as each Pod's does.
    """
    for node in look.nodes:
        places = [(f"Node {node.name}", node.space)]
        places += [(f"Pod {'/'.join(key)}", state) for key, state in node.spaces]
        bad = [
            (where, state.link(one.link), one)
            for where, state in places
            for one in state.addresses
            if one.duplicate or (one.tentative and not ip_interface(one.ip).is_link_local)
        ]
        for where, link, one in bad:
            name = link.name if link else str(one.link)
            state = "is another host's too" if one.duplicate else "is tentative"
            yield found(
                "ipv6-dad",
                Level.FAIL if one.duplicate else Level.WARN,
                node.name,
                f"{one.ip} at {name} of {where} {state}",
                f"{where}: link {name}: {one.ip}: {'dadfailed' if one.duplicate else 'tentative'}",
                about=where,
                cause="another host has the address, or the link has come up just now",
                consequence="the kernel neither sends from it nor answers for it",
                fix=f"find who else has it, then: ip -6 addr replace {one.ip} dev {name} nodad",
            )
        if not bad:
            yield ok("ipv6-dad", node.name, "no IPv6 address is tentative or duplicate")
