"""Which bridges are the Pods': those whose frames the proxy filters or does not."""

from ipaddress import ip_address, ip_network

import pytest

from proxy.linux.bridges import pod_bridges
from proxy.linux.links import Link
from proxy.model.settings import PodDetector
from proxy.model.values import Family

CLUSTER = {
    Family.V4: PodDetector(ip_network("10.244.0.0/16")),
    Family.V6: PodDetector(ip_network("fd00:10:244::/56")),
}


def link(number: int, name: str, is_bridge: bool = True) -> Link:
    return Link(number, name, b"", 0, is_bridge, True, False, (False, False))


LINKS = [link(1, "eth0", False), link(2, "podwire0"), link(3, "docker0"), link(4, "six0")]
ADDRESSES = [
    (number, ip_address(text))
    for number, text in (
        (1, "10.244.77.1"),  # no bridge
        (2, "10.244.1.1"),
        (3, "172.17.0.1"),
        (4, "fd00:10:244:1::1"),
        (9, "10.244.1.2"),  # a link that is gone
    )
]


@pytest.mark.parametrize(
    ("pods", "ranges", "expected"),
    [
        (CLUSTER, (), ["podwire0", "six0"]),
        ({Family.V4: PodDetector(interface="docker0")}, (), ["docker0"]),
        ({Family.V6: PodDetector(interface="podw+")}, (), ["podwire0"]),
        ({}, (), []),
        ({}, (ip_network("10.244.1.0/24"),), ["podwire0"]),
    ],
)
def test_a_bridge_of_pods_is_in_their_range_or_detects_them(pods, ranges, expected) -> None:
    assert [one.name for one in pod_bridges(pods, ranges, LINKS, ADDRESSES)] == expected
