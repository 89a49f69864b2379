"""The placement of Pods: a small cluster for each rule, and the texts if no node fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.selectors import parse_labels
from control.scheduler import decide
from control.scheduler.decide import NoPlacement, Placement
from control.scheduler.fit import Surroundings
from control.scheduler.model import PodInfo, pod_requests
from tests.support.control.build import cluster, node, pod


def first(names):
    return sorted(names)[0]


def place(item, nodes, siblings=None):
    around = Surroundings(
        nodes.namespaces, parse_labels(siblings) if siblings else None, nodes.nominated
    )
    found = decide.place(PodInfo(item), nodes.nodes, around, first)
    return found.node if isinstance(found, Placement) else found


def message(item, nodes) -> str:
    found = place(item, nodes)
    assert isinstance(found, NoPlacement)
    return found.message


def hostname(*names, operator="In", key="kubernetes.io/hostname", field="matchExpressions"):
    term = {field: [{"key": key, "operator": operator, "values": list(names)}]}
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}
        }
    }


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


def test_requests_are_compared_with_free_resources():
    nodes = cluster(
        node("a", cpu="1"), node("b"), on={"b": [pod("big", requests={"cpu": "3500m"})]}
    )
    assert place(pod("p", requests={"cpu": "1"}), nodes) == "a"
    assert message(pod("p", requests={"cpu": "2", "memory": "9Gi"}), nodes) == (
        "0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory."
    )


def test_a_node_takes_only_so_many_pods():
    nodes = cluster(node("a", pods="1"), on={"a": [pod("one")]})
    assert message(pod("p"), nodes) == "0/1 nodes are available: 1 Too many pods."


def test_resources_that_a_node_does_not_know_are_missing():
    nodes = cluster(node("a"))
    assert "1 Insufficient nvidia.com/gpu" in message(
        pod("p", requests={"nvidia.com/gpu": "1"}), nodes
    )


def test_init_containers_count_by_their_peak_and_sidecars_with_the_rest():
    item = pod(
        "p",
        requests={"cpu": "1"},
        initContainers=[
            {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}},
            {"name": "init", "resources": {"requests": {"cpu": "2", "memory": "1Gi"}}},
        ],
        overhead={"cpu": "100m"},
    )
    assert pod_requests(item, {}) == {"cpu": 2600, "memory": 2**30}


def test_what_a_pod_requests_as_a_whole_takes_the_place_of_the_sum():
    whole = {"requests": {"cpu": "3"}, "limits": {"cpu": "4", "memory": "1Gi"}}
    item = pod("p", requests={"cpu": "1", "x.io/gpu": "1"}, resources=whole)
    assert pod_requests(item, {}) == {"cpu": 3000, "memory": 2**30, "x.io/gpu": 1}
    item = pod("p", requests={"cpu": "1"}, resources={"limits": {"cpu": "4"}})
    assert pod_requests(item, {}) == {"cpu": 1000}


def test_limits_replace_missing_requests():
    item = pod("p").wire()
    item["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "5"}}
    assert "Insufficient cpu" in message(type(pod("p")).parse(item), cluster(node("a")))


def test_texts_of_each_filter():
    nodes = cluster(
        node("cordoned", unschedulable=True),
        node("tainted", taints=[TAINT]),
        node("tainted2", taints=[{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]),
        node("other"),
        node("full", cpu="0"),
    )
    item = pod("p", requests={"cpu": "1"}, affinity=hostname("other", operator="NotIn"))
    assert message(item, nodes) == (
        "0/5 nodes are available: 1 Insufficient cpu, "
        "1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) had untolerated taint {k: v}, "
        "1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, "
        "1 node(s) were unschedulable."
    )


def test_no_nodes_at_all():
    assert message(pod("p"), cluster()) == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "j", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_tolerations(toleration, tolerated):
    nodes = cluster(node("a", taints=[TAINT]))
    assert (place(pod("p", tolerations=[toleration]), nodes) == "a") is tolerated


def test_a_cordon_can_be_tolerated():
    toleration = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}
    nodes = cluster(node("a", unschedulable=True))
    assert place(pod("p", tolerations=[toleration]), nodes) == "a"


def test_a_prefer_no_schedule_taint_is_avoided_if_possible():
    disliked = node("a", taints=[TAINT | {"effect": "PreferNoSchedule"}])
    assert place(pod("p"), cluster(disliked, node("b"))) == "b"
    assert place(pod("p"), cluster(disliked)) == "a"


@pytest.mark.parametrize(
    ("spec", "goes"),
    [
        ({"nodeSelector": {"disk": "ssd"}}, "b"),
        ({"affinity": hostname("b")}, "b"),
        ({"affinity": hostname("b", field="matchFields", key="metadata.name")}, "b"),
        ({"affinity": hostname("a", "c", operator="NotIn")}, "b"),
        ({"affinity": hostname("5", operator="Gt", key="rank")}, "b"),
        ({"affinity": hostname(operator="Exists", key="disk")}, "b"),
    ],
)
def test_affinity_decides(spec, goes):
    fast = node("b", labels={"disk": "ssd", "rank": "10"})
    nodes = cluster(node("a", labels={"rank": "5"}), fast, node("c"))
    assert place(pod("p", **spec), nodes) == goes


def test_an_empty_term_selects_nothing():
    empty = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}
    item = pod("p", affinity={"nodeAffinity": empty})
    assert "didn't match Pod's node affinity" in message(item, cluster(node("a")))


def test_preferred_affinity_counts():
    terms = [{"key": "zone", "operator": "In", "values": ["x"]}]
    wish = [{"weight": 10, "preference": {"matchExpressions": terms}}]
    item = pod(
        "p", affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": wish}}
    )
    assert place(item, cluster(node("a"), node("b", labels={"zone": "x"}))) == "b"


@pytest.mark.parametrize(
    ("mine", "free"),
    [
        ({"hostPort": 80}, False),
        ({"hostPort": 81}, True),
        ({"hostPort": 80, "protocol": "UDP"}, True),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, False),
        ({"hostPort": 90, "hostIP": "10.0.0.1"}, True),
        ({"hostPort": 90, "hostIP": "10.0.0.2"}, False),
        ({}, True),
    ],
)
def test_host_ports(mine, free):
    ports = {"hostPort": 80}, {"hostPort": 90, "hostIP": "10.0.0.2"}
    taken = pod("q", ports=[{"containerPort": 1} | port for port in ports])
    nodes = cluster(node("a"), on={"a": [taken]})
    found = place(pod("p", ports=[{"containerPort": 1} | mine]), nodes)
    assert (found == "a") is free
    assert free or "free ports" in found.message


def test_the_emptier_node_is_better():
    nodes = cluster(node("a"), node("b"), on={"a": [pod("q", requests={"cpu": "2"})]})
    assert place(pod("p", requests={"cpu": "1"}), nodes) == "b"


def test_pods_of_one_service_are_spread_over_nodes():
    siblings = {"labels": {"app": "web"}}
    nodes = cluster(
        node("a"), node("b"), on={"a": [pod("1", **siblings)], "b": [pod("x"), pod("y")]}
    )
    assert place(pod("2", **siblings), nodes, "app=web") == "b"


def spread(key="kubernetes.io/hostname", skew=1, hard=True, **more):
    return [
        {
            "topologyKey": key,
            "maxSkew": skew,
            "whenUnsatisfiable": "DoNotSchedule" if hard else "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": "web"}},
        }
        | more
    ]


def web(name, **more):
    return pod(name, labels={"app": "web"}, **more)


def test_a_hard_constraint_refuses_nodes():
    nodes = cluster(node("a"), node("b", cpu="0"), on={"a": [web("1")]})
    item = web("2", requests={"cpu": "1"}, topologySpreadConstraints=spread())
    assert message(item, nodes) == (
        "0/2 nodes are available: 1 Insufficient cpu, "
        "1 node(s) didn't match pod topology spread constraints."
    )
    loose = web("2", requests={"cpu": "1"}, topologySpreadConstraints=spread(skew=2))
    assert place(loose, nodes) == "a"


def test_a_node_without_the_label_is_named():
    item = web("2", topologySpreadConstraints=spread("zone"))
    assert "(missing required label)" in message(item, cluster(node("a")))


def test_domains_that_the_pod_cannot_use_do_not_count():
    nodes = cluster(node("a"), node("b"), on={"a": [web("1")]})
    item = web(
        "2", nodeSelector={"kubernetes.io/hostname": "a"}, topologySpreadConstraints=spread()
    )
    assert place(item, nodes) == "a"
    ignoring = spread(nodeAffinityPolicy="Ignore")
    item = web(
        "2", nodeSelector={"kubernetes.io/hostname": "a"}, topologySpreadConstraints=ignoring
    )
    assert isinstance(place(item, nodes), NoPlacement)


def test_too_few_domains_count_as_an_empty_one():
    nodes = cluster(node("a"), on={"a": [web("1")]})
    assert place(web("2", topologySpreadConstraints=spread()), nodes) == "a"
    assert isinstance(
        place(web("2", topologySpreadConstraints=spread(minDomains=2)), nodes), NoPlacement
    )


def test_match_label_keys_narrow_the_counted_pods():
    old = pod("1", labels={"app": "web", "version": "1"})
    new = spread(matchLabelKeys=["version"])
    item = pod("2", labels={"app": "web", "version": "2"}, topologySpreadConstraints=new)
    nodes = cluster(node("a"), node("b", cpu="0", pods="0"), on={"a": [old]})
    assert place(item, nodes) == "a"


def test_terminating_pods_do_not_count():
    going = web("1").wire()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    nodes = cluster(node("a"), node("b", pods="0"), on={"a": [type(web("1")).parse(going)]})
    assert place(web("2", topologySpreadConstraints=spread()), nodes) == "a"


def test_a_soft_constraint_prefers_nodes():
    nodes = cluster(node("a"), node("b"), on={"a": [web("1")], "b": [pod("x"), pod("y")]})
    assert place(web("2", topologySpreadConstraints=spread(hard=False)), nodes) == "b"


def test_of_many_nodes_only_a_part_is_compared_but_all_are_tried():
    nodes = cluster(*(node(f"n{i:03}", cpu="0") for i in range(299)), node("z"))
    assert place(pod("p", requests={"cpu": "1"}), nodes) == "z"


@given(st.lists(st.integers(1, 2000), max_size=12), st.integers(1, 4))
def test_placing_never_overcommits_and_never_refuses_what_fits(wanted, count):
    nodes = cluster(*(node(f"n{i}", cpu="2") for i in range(count)))
    for index, milli in enumerate(wanted):
        item = pod(f"p{index}", requests={"cpu": f"{milli}m"})
        free = [n.allocatable["cpu"] - n.requested.get("cpu", 0) for n in nodes.nodes.values()]
        found = decide.place(PodInfo(item), nodes.nodes, Surroundings(), first)
        assert isinstance(found, Placement) == (max(free) >= milli)
        if isinstance(found, Placement):
            nodes.assume(PodInfo(item), found.node)
    for info in nodes.nodes.values():
        assert info.requested.get("cpu", 0) <= info.allocatable["cpu"]


@given(st.integers(1, 5), st.integers(1, 20))
def test_equal_pods_are_spread_evenly(count, replicas):
    nodes = cluster(*(node(f"n{i}") for i in range(count)))
    for index in range(replicas):
        item = web(f"p{index}")
        around = Surroundings(siblings=parse_labels("app=web"))
        found = decide.place(PodInfo(item), nodes.nodes, around, first)
        nodes.assume(PodInfo(item), found.node)
    sizes = [len(info.pods) for info in nodes.nodes.values()]
    assert max(sizes) - min(sizes) <= 1
