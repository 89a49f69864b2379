"""Drift over a cluster whose rules are what the proxy would write, and over changes of them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from debug.doctor.look import look_at
from debug.drift import wanted
from debug.drift.find import find
from debug.drift.model import Drift, State
from debug.drift.scratch import listed, saved
from debug.machine.values import MachineState, ProxyFacts
from debug.snapshot import Snapshot
from proxy.backends.iptables.tool import Flavor, IptablesTool
from proxy.model.values import Family
from tests.support.debug.healthy import HEALTHY

pytestmark = pytest.mark.netns

Edit = Callable[[list[Any]], None]


def with_rules(snapshot: Snapshot) -> Snapshot:
    """The cluster, each node with exactly what it should have in mode nftables."""
    look = look_at(snapshot)
    machines = []
    for node in look.nodes:
        assert node.machine
        plan = wanted.network(look, node)
        assert plan
        text = wanted.nft_tables(node, wanted.services(look, node)) + wanted.masquerading(plan)
        items = [{sort: one} for sort, one in listed(text)]
        machines.append(replace(node.machine, nft=json.dumps({"nftables": items})))
    return replace(snapshot, machines=tuple(machines))


@pytest.fixture(scope="module")
def installed() -> Snapshot:
    return with_rules(HEALTHY)


def edited(snapshot: Snapshot, edit: Edit) -> tuple[Drift, ...]:
    """What differs on node1 after an edit of its ruleset."""
    first, *rest = snapshot.machines
    items = json.loads(first.nft or "")["nftables"]
    edit(items)
    changed = replace(first, nft=json.dumps({"nftables": items}))
    return find(replace(snapshot, machines=(changed, *rest)), "node1")


def named(items: list[Any], sort: str, name: str) -> Any:
    return next(one[sort] for one in items if sort in one and one[sort].get("name") == name)


def test_what_should_be_there_is_no_drift(installed: Snapshot) -> None:
    assert find(installed) == ()


def test_a_service_that_is_taken_out_is_missing_with_its_owner(installed: Snapshot) -> None:
    def edit(items: list[Any]) -> None:
        table = named(items, "map", "services")
        table["elem"] = [one for one in table["elem"] if "10.96.0.7" not in json.dumps(one)]

    (found,) = edited(installed, edit)
    assert (found.state, found.sort, found.owner) == (
        *(State.MISSING, "element"),
        "Service default/web",
    )
    assert "10.96.0.7 . tcp . 80" in found.what and found.consequence


def test_an_endpoint_of_another_program_is_stale(installed: Snapshot) -> None:
    def edit(items: list[Any]) -> None:
        table = named(items, "map", "backends-2")
        table["elem"][0][1]["concat"][0] = "10.244.1.99"

    states = {one.state for one in edited(installed, edit)}
    assert states == {State.MISSING, State.STALE}


def test_a_foreign_rule_in_our_chain_is_found(installed: Snapshot) -> None:
    def edit(items: list[Any]) -> None:
        place = {"family": "ip", "table": "podwire-proxy", "chain": "filter-forward"}
        items.append({"rule": {**place, "handle": 999, "expr": [{"drop": None}]}})

    (found,) = edited(installed, edit)
    assert (found.state, found.sort) == (State.FOREIGN, "rule")
    assert found.what.endswith("filter-forward: drop")


def test_masquerading_that_is_gone_is_missing(installed: Snapshot) -> None:
    def edit(items: list[Any]) -> None:
        items[:] = [one for one in items if "podwire_node" not in json.dumps(one)]

    found = edited(installed, edit)
    assert {(one.state, one.sort) for one in found} == {
        (State.MISSING, "chain"),
        (State.MISSING, "rule"),
    }


def test_counters_and_handles_are_no_drift(installed: Snapshot) -> None:
    def edit(items: list[Any]) -> None:
        for one in items:
            if "rule" in one:
                one["rule"]["handle"] += 1000
                one["rule"]["expr"].insert(0, {"counter": {"packets": 5, "bytes": 7}})

    assert edited(installed, edit) == ()


def test_iptables_rules_are_compared_row_by_row() -> None:
    look = look_at(HEALTHY)
    node = look.nodes[0]
    iptables = ProxyFacts("iptables", {"clusterCIDR": "10.244.0.0/16"})
    shown = replace(
        HEALTHY, machines=tuple(replace(one, proxy=iptables) for one in HEALTHY.machines)
    )
    node = look_at(shown).nodes[0]
    texts = {
        f"nft {int(family)}": saved(
            IptablesTool(family, Flavor.NFT),
            wanted.iptables_rules(node, wanted.services(look, node), family),
        )
        for family in Family
    }
    lost = [row for row in texts["nft 4"].splitlines() if "10.244.2.2:8080" not in row]

    def of_rules(rows: str) -> list[Drift]:
        machine: MachineState = replace(shown.machines[0], iptables={**texts, "nft 4": rows})
        found = find(replace(shown, machines=(machine, shown.machines[1])), "node1")
        return [one for one in found if "KUBE" in one.what]

    counting = "-A KUBE-SERVICES -m nfacct --nfacct-name  some_pkts"
    assert (
        of_rules(texts["nft 4"].replace("-A KUBE-MARK-MASQ", f"{counting}\n-A KUBE-MARK-MASQ"))
        == []
    )
    found = of_rules("\n".join(lost))
    assert {(one.state, one.owner) for one in found} == {(State.MISSING, "Pod default/web-2")}
