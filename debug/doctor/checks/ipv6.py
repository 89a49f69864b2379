"""Checks of what IPv6 alone has: whether links have it at all, and routers' advertisements."""

from collections.abc import Iterator

from debug.doctor.look import Look, NodeLook, found, ok
from debug.kernel.values import Link
from debug.model import Finding, Level

_LEAST_MTU = 1280  # bytes; the kernel takes IPv6 from links with less (RFC 8200, section 5)
_BY_ADVERTISEMENT = 9  # RTPROT_RA


def has_ipv6(node: NodeLook) -> bool:
    """Return True if a node's Pods have IPv6 addresses."""
    return any(cidr.version == 6 for cidr in node.peer.cidrs)


def disabled(look: Look) -> Iterator[Finding]:
    """Links on the way of IPv6 packets have IPv6: nobody switched it off, the MTU allows it."""
    check = "ipv6-disabled"
    for node in look.nodes:
        if not has_ipv6(node):
            yield ok(check, node.name, "its Pods have no IPv6")
            continue
        reasons = [(about, why) for about, link in _links(node) if (why := _why_not(node, link))]
        for about, why in reasons:
            yield found(
                check,
                Level.FAIL,
                node.name,
                f"{about} has no IPv6: {why}",
                why,
                about=about,
                cause="a sysctl that switches IPv6 off, or an MTU below what IPv6 asks for",
                consequence="IPv6 packets of Pods are lost here; IPv4 goes on, so names with both "
                "kinds of addresses answer late",
                fix=f"sysctl -w net.ipv6.conf.LINK.disable_ipv6=0; MTU of {_LEAST_MTU} or more",
            )
        if not reasons:
            yield ok(check, node.name, "links of nodes and Pods have IPv6")


def _links(node: NodeLook) -> Iterator[tuple[str, Link]]:
    """Links on the way of Pods' packets. A bridge without IPv6 has lost its address of it, too."""
    ports = {link.master for link in node.space.links if link.kind == "veth"}
    bridges = (link for link in node.space.links if link.kind == "bridge" and link.index in ports)
    for link in (node.uplink, *bridges, *node.tunnels):
        if link is not None:
            yield f"link {link.name}", link
    for key, state in node.spaces:
        for link in state.links:
            if link.kind == "veth":
                yield f"Pod {'/'.join(key)}", link


def _why_not(node: NodeLook, link: Link) -> str:
    """Say why a link has no IPv6; empty if it has, as far as it was read."""
    if 0 < link.mtu < _LEAST_MTU:
        return f"MTU of {link.name}: {link.mtu}, less than {_LEAST_MTU}"
    if node.space.link(link.index) is not link:
        return ""  # a Pod's, whose settings are not the node's
    for name in ("all", link.name):
        setting = f"net/ipv6/conf/{name}/disable_ipv6"
        if node.sysctl(setting) == "1":
            return f"/proc/sys/{setting}: 1"
    return ""


def accept_ra(look: Look) -> Iterator[Finding]:
    """A node that forwards and has its default route by advertisements goes on to hear them.

    Where forwarding is on, accept_ra 1 means no (Documentation/networking/ip-sysctl.rst).
    """
    check = "ipv6-accept-ra"
    for node in look.nodes:
        links = {one.index: one for one in node.space.links}
        deaf = [
            links[one.link]
            for one in node.space.routes
            if one.destination == "::/0" and one.protocol == _BY_ADVERTISEMENT and one.link in links
            if node.sysctl("net/ipv6/conf/all/forwarding") == "1"
            if node.sysctl(f"net/ipv6/conf/{links[one.link].name}/accept_ra") in ("0", "1")
        ]
        for link in deaf:
            setting = f"net/ipv6/conf/{link.name}/accept_ra"
            yield found(
                check,
                Level.WARN,
                node.name,
                f"the IPv6 default route by {link.name} is not renewed any more",
                f"/proc/sys/{setting}: {node.sysctl(setting)}, while the node forwards",
                f"main table: ::/0 dev {link.name} proto ra",
                about=f"link {link.name}",
                cause="forwarding was switched on, which makes the kernel pass over advertisements",
                consequence="the route ends with its lifetime, and IPv6 reaches only the own links",
                fix=f"sysctl -w net.ipv6.conf.{link.name}.accept_ra=2, or a static default route",
            )
        if not deaf:
            yield ok(check, node.name, "no IPv6 default route waits for advertisements in vain")
