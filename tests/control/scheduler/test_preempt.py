"""Preemption: whom a Pod drives out, and the words if it may not or that is no help."""

import pytest

from control.api.policy import PodDisruptionBudget
from control.scheduler import decide
from control.scheduler.decide import NoPlacement, Placement
from control.scheduler.fit import Surroundings
from control.scheduler.model import PodInfo
from control.scheduler.preempt import NoPreemption, preempt
from tests.support.control.build import cluster, node, pod

TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


def rank(name, priority, cpu="1", start="2026-01-01T00:00:00Z", **more):
    """A Pod with a priority, which runs since ``start``."""
    item = pod(name, requests={"cpu": cpu}, priority=priority, **more)
    return item.model_copy(update={"status": item.status.model_copy(update={"start_time": start})})


def place(item, nodes):
    around = Surroundings(nodes.namespaces, None, nodes.nominated)
    return decide.place(PodInfo(item), nodes.nodes, around, lambda names: sorted(names)[0])


def tried(item, nodes, *budgets):
    failed = place(item, nodes)
    assert isinstance(failed, NoPlacement)
    return preempt(failed, nodes.nodes, 0, budgets)


def victims(item, nodes, *budgets):
    found = tried(item, nodes, *budgets)
    return found.node, [victim.metadata.name for victim in found.victims]


def test_the_least_urgent_pods_go_and_no_more_than_needed():
    on = [rank("low", 1), rank("lower", 0), rank("high", 9), rank("mid", 5)]
    assert victims(rank("p", 7), cluster(node("a"), on={"a": on})) == ("a", ["lower"])
    assert victims(rank("p", 7, "2"), cluster(node("a"), on={"a": on})) == ("a", ["low", "lower"])


def test_of_equally_urgent_pods_the_youngest_goes():
    old, young = rank("old", 1, "2"), rank("young", 1, "2", "2026-01-02T00:00:00Z")
    assert victims(rank("p", 7, "2"), cluster(node("a"), on={"a": [young, old]})) == (
        "a",
        ["young"],
    )


@pytest.mark.parametrize(
    ("on_a", "on_b"),
    [
        ([rank("1", 5, "4")], [rank("2", 4, "4")]),  # the highest victim is lower
        ([rank("1", 4, "2"), rank("2", 4, "2")], [rank("3", 4, "2"), rank("4", 3, "2")]),  # the sum
        ([rank("1", -4, "2"), rank("2", -5, "2")], [rank("3", -4, "4")]),  # fewer victims
        ([rank("1", 4, "4")], [rank("2", 4, "4", "2026-01-02T00:00:00Z")]),  # later start
    ],
)
def test_the_cheapest_node_is_freed(on_a, on_b):
    nodes = cluster(node("a"), node("b"), on={"a": on_a, "b": on_b})
    assert tried(rank("p", 9, "4"), nodes).node == "b"


def budget(name, allowed, disrupted=(), selector=None, namespace="default"):
    """A budget of the Pods with the label of its name."""
    chosen = {"matchLabels": {"b": name}} if selector is None else selector
    noted = {pod: "2026-01-01T00:00:00Z" for pod in disrupted}
    return PodDisruptionBudget.parse(
        {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": chosen},
            "status": {"disruptionsAllowed": allowed, "disruptedPods": noted},
        }
    )


GUARDED = {"b": "x"}


@pytest.mark.parametrize(
    ("budgets", "victim"),
    [
        ((), "low"),
        ((budget("x", 0),), "high"),
        ((budget("x", 1),), "low"),
        ((budget("x", 0, namespace="other"),), "low"),
        ((budget("x", 0, selector={}),), "low"),
        ((budget("x", 0, disrupted=("low",)),), "low"),  # it is counted already
    ],
)
def test_a_pod_whose_budget_is_spent_stays_if_another_can_go(budgets, victim):
    on = {"a": [rank("low", 1, "2", labels=GUARDED), rank("high", 5, "2")]}
    assert victims(rank("p", 7, "2"), cluster(node("a"), on=on), *budgets) == ("a", [victim])


def test_a_spent_budget_is_violated_if_nobody_else_can_go():
    on = {"a": [rank("low", 1, "4", labels=GUARDED)]}
    found = tried(rank("p", 7, "2"), cluster(node("a"), on=on), budget("x", 0))
    assert ([it.metadata.name for it in found.victims], found.violations) == (["low"], 1)


def test_the_node_with_the_fewest_violations_is_freed():
    on = {
        "a": [rank("1", 0, "4", labels=GUARDED)],
        "b": [rank("2", 6, "4")],
    }
    nodes = cluster(node("a"), node("b"), on=on)
    assert tried(rank("p", 7, "4"), nodes).node == "a"
    assert tried(rank("p", 7, "4"), nodes, budget("x", 0)).node == "b"


def test_the_words_if_nobody_can_go():
    nodes = cluster(
        node("busy", cpu="1"),
        node("small", cpu="500m"),
        node("tainted", taints=[TAINT]),
        node("odd", cpu="2"),
        on={"busy": [rank("equal", 7)], "odd": [rank("equal2", 7, "1500m"), rank("low", 0, "0")]},
    )
    found = tried(rank("p", 7), nodes)
    assert isinstance(found, NoPreemption) and found.hopeless
    assert found.message == (
        "0/4 nodes are available: 1 Insufficient cpu, "
        "1 No preemption victims found for incoming pod, "
        "2 Preemption is not helpful for scheduling."
    )


def test_a_pod_that_may_not_preempt():
    nodes = cluster(node("a", cpu="1"), on={"a": [rank("low", 0)]})
    found = tried(rank("p", 7, preemptionPolicy="Never"), nodes)
    assert found == NoPreemption("not eligible due to preemptionPolicy=Never.")


def nominated(item, name):
    status = item.status.model_copy(update={"nominated_node_name": name})
    return item.model_copy(update={"status": status})


def ending(item):
    wire = item.wire()
    wire["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    wire["status"]["conditions"] = [
        {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    ]
    return type(item).parse(wire)


def test_a_pod_waits_for_its_victims_and_takes_no_others():
    nodes = cluster(node("a", cpu="2"), on={"a": [ending(rank("going", 0)), rank("low", 0)]})
    found = tried(nominated(rank("p", 7), "a"), nodes)
    assert found == NoPreemption("not eligible due to a terminating pod on the nominated node.")


def test_a_freed_node_is_kept_for_the_nominated_pod():
    nodes = cluster(node("a", cpu="1"))
    urgent = rank("urgent", 7)
    assert nodes.nominate(PodInfo(urgent), "a") == []
    assert isinstance(place(rank("other", 5), nodes), NoPlacement)
    assert isinstance(place(rank("king", 9), nodes), Placement)
    assert place(nominated(urgent, "a"), nodes) == Placement("a")
    assert [it.metadata.name for it in nodes.nominate(PodInfo(rank("king", 9)), "a")] == ["urgent"]


def test_a_nomination_ends_with_its_pod():
    nodes, item = cluster(node("a", cpu="1")), rank("p", 7)
    nodes.pod_changed(None, nominated(item, "a"))
    assert list(nodes.nominated) == ["a"]
    nodes.pod_changed(nominated(item, "a"), item)  # taken back by the status
    assert not nodes.nominated
    nodes.nominate(PodInfo(item), "a")
    nodes.pod_changed(item, item)  # a change from before the nomination was written
    assert list(nodes.nominated) == ["a"]
    nodes.pod_changed(item, None)
    assert not nodes.nominated


def test_anti_affinity_is_a_reason_to_preempt_but_affinity_is_not():
    shy = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"app": "x"}},
                }
            ]
        }
    }
    nodes = cluster(node("a"), on={"a": [rank("low", 0, labels={"app": "x"})]})
    assert victims(rank("p", 7, affinity=shy), nodes) == ("a", ["low"])
    social = {"podAffinity": shy["podAntiAffinity"]}
    nodes = cluster(node("a"), on={"a": [rank("low", 0)]})
    assert "not helpful" in tried(rank("p", 7, affinity=social), nodes).message
