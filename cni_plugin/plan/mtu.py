"""The default MTU: one that passes all ways that containers' packets may take; pure."""

from collections.abc import Iterable

from cni_plugin.spec.kernel_state import KernelRoute, Link

# Kinds of links that encapsulate packets (ip-link(8)). Not ``tun``, which is often one user's VPN.
TUNNELS = frozenset(
    {
        "vxlan",
        "geneve",
        "gtp",
        "bareudp",
        "wireguard",
        "ipip",
        "sit",
        "ip6tnl",
        "gre",
        "gretap",
        "ip6gre",
        "ip6gretap",
        "erspan",
        "ip6erspan",
        "vti",
        "vti6",
        "xfrm",
    }
)


def outside_mtu(links: Iterable[Link], routes: Iterable[KernelRoute]) -> int:
    """The smallest MTU of the uplinks and of the tunnels with a route; 0 if there are none.

    An uplink is a default route's link. Tunnels with a route are the way to Pods of other nodes, in
    podwire's node network and in others.
    """
    uplinks, routed = set(), set()
    for route in routes:
        routed.add(route.link)
        if not route.dst.prefixlen:
            uplinks.add(route.link)
    mtus = (
        link.mtu
        for link in links
        if link.index in uplinks or (link.index in routed and link.kind in TUNNELS)
    )
    return min((mtu for mtu in mtus if mtu), default=0)
