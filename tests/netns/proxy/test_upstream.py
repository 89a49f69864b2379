"""The proxy comes to a node where kube-proxy was, or is still: whose rules a packet meets."""

import re
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from proxy.linux import ipsets
from tests.support.groups import group
from tests.support.proxy.ipset import make_set
from tests.support.proxy.prober import TCP, Probe, ask
from tests.support.proxy.process import PATIENCE, VIP, VIP6, RunningProxy, service, slices

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


@pytest.fixture(autouse=True)
def _ended(world: RunningProxy) -> Iterator[None]:
    """End the proxy of a test that failed, so that the next one is alone."""
    yield
    if world.process is not None:
        world.end(signal.SIGKILL)


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
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, f"{left(world)} {world.metrics()} {log_of(world)}"
        time.sleep(0.05)


# What kube-proxy's mode ipvs leaves in iptables; IPv6 sets have another prefix.
IPVS = """*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-SERVICES -m set --match-set {prefix}LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
-A KUBE-SERVICES -m set --match-set {prefix}CLUSTER-IP dst,dst -j ACCEPT
-A KUBE-NODE-PORT -p tcp -m set --match-set {prefix}NODE-PORT-TCP dst -j KUBE-MARK-MASQ
COMMIT
*filter
:KUBE-FORWARD - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SOURCE-RANGES-FIREWALL - [0:0]
:KUBE-IPVS-FILTER - [0:0]
:KUBE-IPVS-OUT-FILTER - [0:0]
-A FORWARD -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A INPUT -m comment --comment "kubernetes health check rules" -j KUBE-NODE-PORT
-A INPUT -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER
-A OUTPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-OUT-FILTER
-A KUBE-IPVS-FILTER -m set --match-set {prefix}CLUSTER-IP dst,dst -j RETURN
COMMIT
"""
SETS = {
    "LOAD-BALANCER": "hash:ip,port",
    "CLUSTER-IP": "hash:ip,port",
    "NODE-PORT-TCP": "bitmap:port",
}
OF_IPVS = re.compile(
    r"KUBE-(?:NODE-PORT|LOAD-BALANCER|SOURCE-RANGES|IPVS)|kube-proxy firewall rules"
)


def leave_rules_of_ipvs(world: RunningProxy, flavor: str) -> None:
    """Leave what kube-proxy of mode ipvs leaves, in place of what other tests left."""
    node = world.lab.workers["node"]
    for tool, prefix, family in (("iptables", "KUBE-", 2), ("ip6tables", "KUBE-6-", 10)):
        for name, kind in SETS.items():
            node.call(make_set, prefix + name, kind, family)
        text = IPVS.format(prefix=prefix)
        world.lab.spaces["node"].run(f"{tool}-{flavor}-restore", stdin=text)


def call_too_early(world: RunningProxy) -> None:
    """Call while nobody serves, but what an earlier test left in the other flavor.

    Who does so is to be served as soon as somebody does.
    """
    world.lab.client("outside").call(ask, [Probe(one, 80, TCP, timeout=0.2) for one in (VIP, VIP6)])


def left_of_ipvs(world: RunningProxy, flavor: str) -> list[str]:
    run = world.lab.spaces["node"].run
    saved = "".join(run(f"{tool}-{flavor}-save") for tool in ("iptables", "ip6tables"))
    sets = world.lab.workers["node"].call(ipsets.found)
    return [*(line for line in saved.splitlines() if OF_IPVS.search(line)), *sets]


@pytest.mark.parametrize("flavor", ["nft", "legacy"])
@pytest.mark.parametrize("backend", ["iptables-nft", "iptables-legacy", "nftables"])
def test_chains_and_sets_of_mode_ipvs_are_removed(
    world: RunningProxy, backend: str, flavor: str
) -> None:
    leave_rules_of_ipvs(world, flavor)
    assert len(left_of_ipvs(world, flavor)) > 2 * len(SETS)
    call_too_early(world)
    world.mode, _, world.flavor = backend.partition("-")
    world.run()
    for address in (VIP, VIP6):
        world.until({"A", "B"}, source="outside", address=address)
    wait_for(world, lambda: not left_of_ipvs(world, flavor))
    world.end(signal.SIGTERM)
    assert "IP set KUBE-6-CLUSTER-IP" in log_of(world)


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
    world.mode, world.flavor = "nftables", ""
    world.run()
    world.settle()
    world.lab.spaces["node"].run("nft", "-f", "-", stdin=STALE)
    wait_for(world, lambda: world.metrics().get("other_proxies_total") == 2)
