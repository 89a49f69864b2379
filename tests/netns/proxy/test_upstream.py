"""The proxy comes to a node where kube-proxy was, or is still: whose rules a packet meets."""

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.groups import group
from tests.support.proxy.process import VIP, VIP6, RunningProxy, service, slices

BACKENDS = ("iptables-nft", "iptables-legacy", "nftables", "ebpf")
# kube-proxy's table of mode nftables, shortened: the Service was served by the Pod c alone.
STALE = "".join(
    f"""
table {ip} kube-proxy {{
    chain nat-prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        {ip} daddr {vip} tcp dport 80 dnat to {pod}
    }}
    chain nat-output {{
        type nat hook output priority -100; policy accept;
        {ip} daddr {vip} tcp dport 80 dnat to {pod}
    }}
}}
"""
    for ip, vip, pod in (
        ("ip", VIP, "10.244.2.2:8080"),
        ("ip6", VIP6, "[fd00:10:244:2::2]:8080"),
    )
)


@pytest.fixture(scope="module")
def world(spaces, tmp_path_factory) -> Iterator[RunningProxy]:
    with group("upstream") as root:
        made = RunningProxy(spaces, tmp_path_factory.mktemp("proxy"), BACKENDS[0], root)
        made.put(service(), *slices("a", "b"))
        yield made
        made.close()


def leave_rules_of_upstream(world: RunningProxy) -> None:
    """Leave what kube-proxy of modes nftables and ipvs leaves when it stops.

    Of hooks with the same priority the kernel calls the newest first, and a node has iptables'
    tables from its beginning.
    """
    node = world.lab.spaces["node"]
    for tool in ("iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"):
        node.run(tool, "-w", "10", "-t", "nat", "-nL")
    node.run("nft", "-f", "-", stdin=STALE)
    node.ip("link", "add", "kube-ipvs0", "type", "bridge")


def left(world: RunningProxy) -> set[str]:
    """Return which of them are there."""
    node = world.lab.spaces["node"]
    tables = set(node.run("nft", "list", "tables").splitlines())
    links = {"kube-ipvs0"} if "kube-ipvs0" in node.ip("link") else set()
    return links | {line for line in tables if line.endswith("kube-proxy")}


ALL = {"table ip kube-proxy", "table ip6 kube-proxy", "kube-ipvs0"}


def log_of(world: RunningProxy) -> str:
    return world.log.read_text()


def wait_for(world: RunningProxy, check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline, f"{left(world)} {world.metrics()} {log_of(world)}"
        time.sleep(0.05)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rules_of_kube_proxy_are_removed_at_the_start(world: RunningProxy, backend: str) -> None:
    leave_rules_of_upstream(world)
    world.mode, _, world.flavor = backend.partition("-")
    world.run()
    for address in (VIP, VIP6):
        world.until({"A", "B"}, source="outside", address=address)
    wait_for(world, lambda: not left(world))
    world.end(signal.SIGTERM)
    assert "kube-proxy's rules were removed: table ip kube-proxy, " in log_of(world)


def test_rules_of_kube_proxy_stay_when_told_so_and_are_reported(world: RunningProxy) -> None:
    leave_rules_of_upstream(world)
    world.mode, world.flavor = "nftables", ""
    world.run("--keep-other-proxies")
    wait_for(world, lambda: world.metrics().get("other_proxies_total") == 3)
    assert left(world) == ALL
    assert "Another proxy's rules are on this node: table ip kube-proxy. They win" in log_of(world)
    world.end(signal.SIGTERM)
    world.run()
    wait_for(world, lambda: not left(world))


def test_a_kube_proxy_that_starts_later_is_reported(world: RunningProxy) -> None:
    world.settle()
    world.lab.spaces["node"].run("nft", "-f", "-", stdin=STALE)
    wait_for(world, lambda: world.metrics()["other_proxies_total"] == 2)
