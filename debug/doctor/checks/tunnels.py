"""Checks of the way to other nodes: MTU, routes, the tunnel and its tables."""

from collections.abc import Iterator
from ipaddress import ip_network

from control.node_network.plan import PORT, PROTOCOL, Overlay, Uplink, plan
from debug.doctor.look import Look, NodeLook, found, ok, peer_of, unknown, unread
from debug.doctor.rules import blocks_port
from debug.kernel.values import Link, Route
from debug.model import Finding, Level

_HEADERS = {4: 50, 6: 70}  # outer IP, UDP, VXLAN, inner Ethernet


def mtu(look: Look) -> Iterator[Finding]:
    """No device promises more than what carries it: the black hole of tunnels (flannel#1011)."""
    for node in look.nodes:
        problems = [*_mtu(node), *_of_switch(look, node)]
        yield from problems
        if not problems:
            sizes = (f"{link.name} {link.mtu}" for link in _measured(node))
            yield ok(
                "mtu-black-hole", node.name, "every MTU fits into what carries it", ", ".join(sizes)
            )


def _measured(node: NodeLook) -> list[Link]:
    return [link for link in (node.uplink, *node.tunnels, node.bridge) if link]


def _mtu(node: NodeLook) -> Iterator[Finding]:
    room, carrier = _room(node)
    for tunnel in node.tunnels:
        over = _HEADERS[6 if ":" in tunnel.local else 4]
        if node.uplink and tunnel.mtu + over > node.uplink.mtu:
            sum_ = f"{tunnel.mtu} + {over} > {node.uplink.mtu}"
            yield _too_long(node, f"link {tunnel.name}", f"tunnel {tunnel.name} over", sum_)
    if room is None:
        return
    if node.bridge and node.bridge.mtu > room:
        sum_ = f"{node.bridge.mtu} > {room}"
        yield _too_long(node, f"link {node.bridge.name}", f"bridge {node.bridge.name} to", sum_)
    for key, state in node.spaces:
        for link in state.links:
            if link.kind == "veth" and link.up and link.mtu > room:
                about = f"Pod {'/'.join(key)}"
                sum_ = f"{link.mtu} > {room} (of {carrier})"
                yield _too_long(node, about, f"{link.name} of {about} to", sum_)


def _of_switch(look: Look, node: NodeLook) -> Iterator[Finding]:
    """A lab's switch takes what its nodes send."""
    for link in look.switch.links if look.switch else ():
        is_other_end = node.uplink and (link.index, link.peer) == (
            node.uplink.peer,
            node.uplink.index,
        )
        if is_other_end and node.uplink and link.mtu < node.uplink.mtu:
            sum_ = f"{node.uplink.mtu} > {link.mtu} (port {link.name} of the switch)"
            yield _too_long(node, f"link {node.uplink.name}", f"{node.uplink.name} to", sum_)


def _room(node: NodeLook) -> tuple[int | None, str]:
    """Return the longest packet that reaches other nodes, and the link that says so."""
    carried = [link for link in node.tunnels if link.up] or ([node.uplink] if node.uplink else [])
    least = min(carried, key=lambda link: link.mtu, default=None)
    return (least.mtu, least.name) if least else (None, "")


def _too_long(node: NodeLook, about: str, what: str, arithmetic: str) -> Finding:
    uplink = node.uplink
    return found(
        "mtu-black-hole",
        Level.FAIL,
        node.name,
        f"packets of {what} the next link are too long for it: {arithmetic}",
        f"MTU: {arithmetic}",
        f"uplink {uplink.name}: MTU {uplink.mtu}" if uplink else "uplink: unknown",
        about=about,
        cause="the underlay's MTU is smaller than when the device was made, or someone set it",
        consequence="short packets pass and long ones vanish: connections open, then hang",
        fix="set the MTU of tunnel, bridge and Pods to the uplink's, less the tunnel's "
        "headers (50 bytes over IPv4, 70 over IPv6); Pods get it when they are made again",
    )


def routes(look: Look) -> Iterator[Finding]:
    """Each other node's Pod range has a route to that node, and no other program's route wins."""
    for node in look.nodes:
        if node.api is None:
            yield unknown(
                "routes", node.name, "the nodes' Pod ranges are not known without the API"
            )
            continue
        problems = list(_routes(look, node))
        yield from problems
        if not problems:
            mine = (
                f"{one.destination} via {one.gateway}" for one in node.space.routes if _ours(one)
            )
            yield ok("routes", node.name, "every node's Pods have a route", *mine)


def _ours(route: Route) -> bool:
    return route.protocol == PROTOCOL


def _routes(look: Look, node: NodeLook) -> Iterator[Finding]:
    pieces = [(route, ip_network(route.destination, strict=False)) for route in node.space.routes]
    for other in look.cluster.nodes:
        if other.metadata.name == node.name:
            continue
        peer = peer_of(other)
        for cidr in peer.cidrs:
            if peer.address(cidr.version) is None:
                continue
            inside = [
                (route, net)
                for route, net in pieces
                if net.version == cidr.version and route.table == 254 and _covers(cidr, net)
            ]
            whole = [route for route, net in inside if net == cidr]
            if not any(route.kind == "unicast" for route in whole):
                yield _no_route(
                    node, other.metadata.name, str(cidr), str(peer.address(cidr.version))
                )
            yield from (
                _foreign(node, route, other.metadata.name)
                for route, net in inside
                if not _ours(route) and not _is_alike(route, whole)
            )


def _covers(cidr: object, net: object) -> bool:
    return net.subnet_of(cidr)  # type: ignore[attr-defined, no-any-return]  # of one version


def _is_alike(route: Route, whole: list[Route]) -> bool:
    """True for a route of another network program that is the only one to the whole range."""
    return whole == [route] and route.kind == "unicast"


def _no_route(node: NodeLook, peer: str, cidr: str, address: str) -> Finding:
    every = "::/0" if ":" in cidr else "0.0.0.0/0"
    default = next((one for one in node.space.routes if one.destination == every), None)
    instead = f"default via {default.gateway}" if default else "no route at all"
    return found(
        "routes",
        Level.FAIL,
        node.name,
        f"no route to {cidr}, the Pods of {peer}",
        f"main table: nothing for {cidr}; {instead} is taken",
        about=f"route {cidr}",
        cause="the agent does not run, a link went down and up, or another program removed it",
        consequence=f"this node and its Pods do not reach the Pods of {peer}",
        fix=f"see that the agent runs; by hand: ip route add {cidr} via {address} proto {PROTOCOL}",
    )


def _foreign(node: NodeLook, route: Route, peer: str) -> Finding:
    link = node.space.link(route.link)
    device = f"dev {link.name}" if link else ""
    where = f"via {route.gateway}" if route.gateway else device
    kind = "" if route.kind == "unicast" else f"{route.kind} "
    to_bridge = link is not None and link.kind == "bridge"
    return found(
        "duplicate-pod-cidr" if to_bridge else "foreign-route",
        Level.FAIL,
        node.name,
        f"a foreign route takes packets to Pods of {peer}: {kind}{route.destination} {where}",
        f"main table: {kind}{route.destination} {where} proto {route.protocol}",
        about=f"route {route.destination}",
        cause="another network plugin, a VPN or a routing daemon has a more specific route",
        consequence=f"packets to those Pods of {peer} go elsewhere",
        fix=f"ip route del {kind}{route.destination} {where}",
    )


def tunnel(look: Look) -> Iterator[Finding]:
    """The tunnel leads each other node's MAC to that node, and no entry elsewhere."""
    for node in look.nodes:
        device = next((link for link in node.tunnels if link.name == "podwire-vxlan"), None)
        if device is None or node.uplink is None:
            yield ok("tunnel", node.name, "no tunnel of podwire's on this node")
            continue
        problems = list(_tunnel(look, node, device, node.uplink))
        yield from problems
        if not problems:
            entries = (
                f"{one.mac} -> {one.destination}"
                for one in node.space.forwarding
                if one.link == device.index and one.destination
            )
            yield ok("tunnel", node.name, f"{device.name} leads to every node", *entries)


def _tunnel(look: Look, node: NodeLook, device: Link, uplink: Link) -> Iterator[Finding]:
    overlay: Overlay = "vxlan"
    peers = [peer_of(other) for other in look.cluster.nodes]
    want = plan(node.peer, peers, overlay, Uplink(uplink.name, uplink.mtu)).tunnel
    if not device.up:
        yield _broken(
            node, device.name, "is down", "link state: down", f"ip link set {device.name} up"
        )
    if want is None:
        return
    have = {
        (one.mac, one.destination)
        for one in node.space.forwarding
        if one.link == device.index and one.destination
    }
    wanted = {(one.mac, str(one.node)) for one in want.forwarding}
    for mac, at in sorted(wanted - have):
        name = look.names.of(at) or at
        line = f"bridge fdb: no entry {mac} dst {at}"
        fix = f"bridge fdb replace {mac} dev {device.name} dst {at}"
        yield _broken(node, device.name, f"has no entry for {name}", line, fix)
    for mac, at in sorted(have - wanted):
        line = f"bridge fdb: {mac} dst {at}"
        fix = f"bridge fdb del {mac} dev {device.name} dst {at}"
        yield _broken(node, device.name, f"sends {mac} to {at}, which is wrong", line, fix)
    resolved = {(one.ip, one.mac) for one in node.space.neighbors if one.link == device.index}
    for one in sorted(want.neighbors, key=str):
        if (str(one.address), one.mac) not in resolved:
            line = f"neighbors of {device.name}: not {one.address} lladdr {one.mac}"
            fix = f"ip neigh replace {one.address} lladdr {one.mac} dev {device.name} nud permanent"
            yield _broken(node, device.name, f"does not resolve {one.address}", line, fix)


def _broken(node: NodeLook, device: str, what: str, line: str, fix: str) -> Finding:
    return found(
        "tunnel",
        Level.FAIL,
        node.name,
        f"tunnel {device} {what}",
        line,
        about=f"link {device}",
        cause="another program changed the tunnel, or the agent does not run",
        consequence="packets to Pods of other nodes go to the wrong node, or nowhere",
        fix=f"restart the agent, or by hand: {fix}",
    )


def overlay_port(look: Look) -> Iterator[Finding]:
    """No rule of the node drops the tunnel's packets, as firewalld's do (flannel#2388)."""
    for node in look.nodes:
        ports = {link.port or PORT for link in node.tunnels}
        if not ports:
            yield ok("overlay-filtered", node.name, "no tunnel on this node")
            continue
        if gap := unread("overlay-filtered", node, "nft"):
            yield gap
        if node.machine is None or node.machine.nft is None:
            continue
        for port in sorted(ports):
            blocked = list(blocks_port(node.machine, "udp", port))
            for where, line in blocked:
                yield found(
                    "overlay-filtered",
                    Level.FAIL,
                    node.name,
                    f"a rule drops the tunnel's packets to UDP port {port}",
                    f"{where}: {line}",
                    about=where,
                    cause="a firewall (firewalld, ufw, a cloud's image) admits known ports only",
                    consequence="Pods of other nodes cannot be reached; the node itself can",
                    fix=f"admit UDP port {port} from the other nodes: "
                    f"firewall-cmd --permanent --add-port={port}/udp && firewall-cmd --reload",
                )
            if not blocked:
                yield ok(
                    "overlay-filtered", node.name, f"no rule drops UDP port {port} in plain words"
                )
