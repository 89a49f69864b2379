"""Acts change a namespace and take it back exactly, in whatever order things die."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from debug.faults.acts import flows
from debug.faults.acts.base import Act, FaultError, Spot, Stage
from debug.faults.acts.flows import Full, StaleFlow
from debug.faults.acts.kernel import (
    Announced,
    ExtraAddress,
    ExtraRoute,
    LinkValue,
    Setting,
    WrongNeighbor,
)
from debug.faults.acts.node import Leak
from debug.faults.acts.rules import ForwardPolicy, LegacyRule, Rules, Wiped
from debug.kernel.read import sysctl
from debug.places import Ground, Place, inside
from tests.support.debug.symptoms import network
from tests.support.space import Space

pytestmark = pytest.mark.netns
SPOT = Spot("n")
CHAIN = "chain input { type filter hook input priority 0; tcp dport 9 drop; }"
ACTS: list[Act] = [
    Setting(spot=SPOT, name="net/ipv4/ip_forward", value="1"),
    LinkValue(spot=SPOT, link="eth1", field="mtu", value="1400"),
    LinkValue(spot=SPOT, link="eth1", field="mac", value="02:00:5e:00:53:02"),
    LinkValue(spot=SPOT, link="eth0", field="hairpin", value="off"),
    LinkValue(spot=SPOT, link="br0", field="bridge filter", value="0"),
    ExtraAddress(spot=SPOT, link="br0", address="10.1.0.9/32"),
    ExtraRoute(spot=SPOT, destination="10.2.0.0/17", how=("dev", "br0")),
    WrongNeighbor(spot=SPOT, link="br0", ip="10.1.0.7", mac="02:00:5e:00:53:01"),
    WrongNeighbor(spot=SPOT, link="br0", ip="10.1.0.8", mac="02:00:5e:00:53:01"),
    Rules(spot=SPOT, family="inet", name="x", chains=(CHAIN,)),
    ForwardPolicy(spot=SPOT),
    LegacyRule(spot=SPOT, chain="FORWARD", rule=("-s", "10.1.0.0/24", "-j", "DROP")),
]


def stage_of(space: Space, folder: Path) -> Stage:
    return Stage(Ground((Place("n", os.getpid(), str(space.path)),)), folder)


@pytest.fixture(scope="module")
def space(spaces: Callable[[str], Space]) -> Space:
    made, other = spaces("node"), spaces("other")
    for name in ("eth0", "eth1"):
        made.veth(name, other, name)
    made.sysctl("net.ipv6.conf.all.disable_ipv6", 1)  # its addresses come late
    made.ip_batch(
        "link add br0 type bridge nf_call_iptables 1",
        "link set br0 up",
        "link set eth0 master br0",
        "link set eth0 type bridge_slave hairpin on",
        "addr add 10.1.0.1/24 dev br0",
        "neigh add 10.1.0.8 lladdr 02:00:00:00:00:08 dev br0 nud permanent",
    )
    made.run("iptables-legacy", "-S", "FORWARD")  # makes its table, as any look does
    return made


def look(space: Space) -> dict[str, object]:
    bridge = space.ip("-d", "link", "show", "br0").split("nf_call_iptables")[1][:3]
    return {**inside(Place("n", 1, str(space.path)), network), "filter": bridge}


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.what)
def test_an_act_is_undone_exactly_however_often(space: Space, tmp_path: Path, act: Act) -> None:
    stage, before = stage_of(space, tmp_path), look(space)
    ready = act.prepared(stage)
    ready.undo(stage)  # recorded, and killed before it was done
    assert look(space) == before
    for _ in range(2):
        ready.do(stage)
    assert look(space) != before
    for _ in range(2):
        ready.undo(stage)
    assert look(space) == before


def test_the_policy_of_a_table_that_others_have_made_goes_back_alone(
    space: Space, tmp_path: Path
) -> None:
    stage = stage_of(space, tmp_path)
    space.run("iptables-nft", "-A", "FORWARD", "-s", "10.9.0.0/16", "-j", "ACCEPT")
    try:
        before = look(space)
        act = ForwardPolicy(spot=SPOT).prepared(stage)
        assert act.before == "accept"
        act.do(stage)
        assert "-P FORWARD DROP" in space.run("iptables-nft", "-S", "FORWARD")
        act.undo(stage)
        assert look(space) == before
    finally:
        space.run("nft", "delete", "table", "ip", "filter")


def test_a_namespace_that_was_made_anew_is_left_alone(
    spaces: Callable[[str], Space], tmp_path: Path
) -> None:
    old, new = spaces("old"), spaces("new")
    act = Setting(spot=SPOT, name="net/ipv4/ip_forward", value="1")
    ready = act.prepared(stage_of(old, tmp_path))
    new.sysctl("net.ipv4.ip_forward", 1)
    ready.undo(stage_of(new, tmp_path))
    assert inside(Place("n", 1, str(new.path)), lambda: sysctl(ready.name)) == "1"
    ready.undo(Stage(Ground(()), tmp_path))


def test_what_is_there_is_not_overwritten(space: Space, tmp_path: Path) -> None:
    stage = stage_of(space, tmp_path)
    with pytest.raises(FaultError, match="would be lost"):
        ExtraRoute(spot=SPOT, destination="10.1.0.0/24", how=("dev", "br0")).prepared(stage)
    with pytest.raises(FaultError, match="no setting"):
        Setting(spot=SPOT, name="net/ipv4/conf/none/forwarding", value="0").prepared(stage)
    with pytest.raises(FaultError, match="no hairpin"):
        LinkValue(spot=SPOT, link="lo", field="hairpin", value="off").prepared(stage)


def test_flows_are_ours_alone(space: Space, tmp_path: Path) -> None:
    stage, place = stage_of(space, tmp_path), Place("n", 1, str(space.path))

    def count() -> int:
        return int(inside(place, lambda: sysctl("net/netfilter/nf_conntrack_count")) or 0)

    argv = "-s 10.1.0.3 -d 10.1.0.4 --sport 7 --dport 53 -r 10.1.0.4 -q 10.1.0.3"
    ports = "--reply-port-src 53 --reply-port-dst 7 -t 600 -u SEEN_REPLY"
    space.run("conntrack", "-I", "-p", "udp", *argv.split(), *ports.split())
    before = count()
    inside(place, lambda: flows.fill(1500))
    assert count() == before + 1500
    Full(spot=SPOT).prepared(stage).undo(stage)
    assert count() == before
    stale = StaleFlow(
        spot=SPOT, source="10.1.0.3", source_port=8, service="10.96.0.10", port=53,
        backend="192.0.2.53",
    ).prepared(stage)  # fmt: skip
    for _ in range(2):
        stale.do(stage)
        listed = space.run("conntrack", "-L", "-p", "udp", "--dport", "53")
        assert "src=192.0.2.53 dst=10.1.0.3 sport=53 dport=8" in listed
    stale.undo(stage)
    assert count() == before


def test_rules_are_wiped_and_an_address_is_announced(space: Space, tmp_path: Path) -> None:
    stage = stage_of(space, tmp_path)
    space.run("nft", "add", "table", "ip", "podwire-proxy")
    for _ in range(2):
        Wiped(spot=SPOT, mode="nftables").prepared(stage).do(stage)
    assert "podwire-proxy" not in space.run("nft", "list", "tables")
    Announced(spot=SPOT, link="br0", ip="10.1.0.1").prepared(stage).do(stage)


def test_leases_of_others_stay(space: Space, tmp_path: Path) -> None:
    stage = stage_of(space, tmp_path)
    leak = Leak(node="n", range="10.1.0.0/29")
    with pytest.raises(FaultError, match="no leases"):
        leak.prepared(stage)
    folder = tmp_path / "machines/n/cni/networks/podwire"
    folder.mkdir(parents=True)
    (folder / "10.1.0.2").write_text("somebody\r\neth0")
    for _ in range(2):
        leak.prepared(stage).do(stage)
    assert len([*folder.iterdir()]) == 6
    leak.undo(stage)
    assert [path.name for path in folder.iterdir()] == ["10.1.0.2"]
    assert (folder / "10.1.0.2").read_text().startswith("somebody")
