"""The MTU when none is configured: what passes wherever containers may send; pure."""

from collections.abc import Iterable

from cni_plugin.spec.kernel_state import KernelRoute, Link

# Links that put a packet into another one, by the kinds that ip-link(8) has for them. Not ``tun``:
# that is as often one user's VPN as a way to Pods.
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
    """The smallest MTU of the uplinks and of the tunnels that lead on; 0 without any.

    An uplink is a default route's link. A tunnel counts when a route goes through it, which is how
    Pods of other nodes are reached, by podwire's node network as by others.
    """
    uplinks, ways = set(), set()
    for route in routes:
        ways.add(route.link)
        if not route.dst.prefixlen:
            uplinks.add(route.link)
    leading = (
        link.mtu
        for link in links
        if link.index in uplinks or (link.index in ways and link.kind in TUNNELS)
    )
    return min((mtu for mtu in leading if mtu), default=0)
