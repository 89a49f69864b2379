"""The default MTU: the links that it depends on."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugin.plan.mtu import TUNNELS, outside_mtu
from cni_plugin.spec.kernel_state import KernelRoute, Link

UP, TUNNEL, PODS, LAN = 1, 2, 3, 4


def link(index: int, mtu: int, kind: str = "") -> Link:
    return Link(
        index=index,
        name=f"l{index}",
        kind=kind,
        mac="",
        mtu=mtu,
        up=True,
        running=True,
        promiscuous=False,
        master=0,
        peer=0,
        alias="",
    )


def route(dst: str, index: int) -> KernelRoute:
    return KernelRoute(ip_network(dst), None, index, 254, 0)


LINKS = (link(UP, 1500), link(TUNNEL, 1450, "vxlan"), link(PODS, 1280, "bridge"), link(LAN, 1000))
DEFAULT, OVERLAY = route("0.0.0.0/0", UP), route("10.2.0.0/16", TUNNEL)


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([], 0),
        ([DEFAULT], 1500),
        # a tunnel without a route is of another program
        ([DEFAULT, OVERLAY], 1450),
        ([OVERLAY], 1450),
        ([route("::/0", UP), route("fd00:2::/64", TUNNEL)], 1450),
        # an Ethernet link without a default route is no uplink
        ([DEFAULT, route("10.1.0.0/24", PODS), route("192.0.2.0/24", LAN)], 1500),
        ([DEFAULT, route("::/0", LAN)], 1000),
    ],
)
def test_the_smallest_uplink_or_tunnel_counts(routes, expected):
    assert outside_mtu(LINKS, routes) == expected


@given(
    st.lists(st.tuples(st.integers(1, 9000), st.sampled_from(["", "bridge", *sorted(TUNNELS)]))),
    st.lists(st.tuples(st.sampled_from(["0.0.0.0/0", "10.9.0.0/16", "::/0"]), st.integers(0, 9))),
)
def test_a_packet_of_the_mtu_passes_every_uplink_and_tunnel(kinds, ways):
    links = [link(index, mtu, kind) for index, (mtu, kind) in enumerate(kinds)]
    found = outside_mtu(links, [route(*way) for way in ways])
    for dst, index in ways:
        if index < len(links) and (dst.endswith("/0") or links[index].kind in TUNNELS):
            assert 0 < found <= links[index].mtu
