"""Affinity between Pods: a small cluster for each rule, in the places that node labels make."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.cluster import Namespace
from control.scheduler import decide
from control.scheduler.decide import NoPlacement
from control.scheduler.fit import Surroundings
from control.scheduler.model import PodInfo
from tests.support.control.build import cluster, node, pod

ZONE = "zone"
HOST = "kubernetes.io/hostname"
NEAR = "node(s) didn't match pod affinity rules"
APART = "node(s) didn't match pod anti-affinity rules"
UNWELCOME = "node(s) didn't satisfy existing pods anti-affinity rules"


def term(app="web", key=ZONE, **more):
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}} | more


def required(field, *terms):
    return {field: {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def preferred(field, weight, item):
    wish = {"weight": weight, "podAffinityTerm": item}
    return {field: {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}


def near(*terms):
    return {"affinity": required("podAffinity", *terms)}


def apart(*terms):
    return {"affinity": required("podAntiAffinity", *terms)}


def web(name="w", **more):
    return pod(name, labels={"app": "web"}, **more)


def zones(on=None, **namespaces):
    """Nodes a1 and a2 in zone a, b1 in zone b, x in none."""
    made = cluster(
        node("a1", labels={ZONE: "a"}),
        node("a2", labels={ZONE: "a"}),
        node("b1", labels={ZONE: "b"}),
        node("x"),
        on=on,
    )
    for name, labels in namespaces.items():
        made.namespace_changed(
            None, Namespace.parse({"metadata": {"name": name, "labels": labels}})
        )
    return made


def possible(item, nodes):
    """The nodes that can take a Pod, and the reasons of the others."""
    fit = decide.measure(PodInfo(item), list(nodes.nodes.values()), around(nodes))
    against = {name: fit.refusal(info) for name, info in nodes.nodes.items()}
    return {name for name, why in against.items() if why is None}, {
        name: why.reasons[0] for name, why in against.items() if why is not None
    }


def around(nodes):
    return Surroundings(nodes.namespaces, None, nodes.nominated)


def place(item, nodes):
    return decide.place(PodInfo(item), nodes.nodes, around(nodes), lambda names: sorted(names)[0])


def test_a_pod_goes_where_its_neighbors_are():
    found, against = possible(pod("p", **near(term())), zones({"a1": [web()]}))
    assert found == {"a1", "a2"}
    assert against == {"b1": NEAR, "x": NEAR}


def test_all_terms_must_find_one_and_the_same_pod():
    item = pod("p", **near(term("web"), term("db", HOST)))
    apps = zones({"a1": [web(), pod("d", labels={"app": "db"})]})
    assert possible(item, apps)[0] == set()  # two Pods, each matches one term
    both = pod("both", labels={"app": "web", "tier": "db"})
    tiers = {"topologyKey": HOST, "labelSelector": {"matchLabels": {"tier": "db"}}}
    assert possible(pod("p", **near(term("web"), tiers)), zones({"a1": [both]}))[0] == {"a1"}


def test_the_first_of_a_group_may_go_anywhere_that_is_a_place():
    found, against = possible(web("first", **near(term())), zones())
    assert found == {"a1", "a2", "b1"} and against == {"x": NEAR}
    assert possible(pod("other", **near(term())), zones())[0] == set()
    assert possible(web("second", **near(term())), zones({"b1": [web()]}))[0] == {"b1"}


def test_a_pod_stays_away_from_others():
    found, against = possible(pod("p", **apart(term())), zones({"a1": [web()]}))
    assert found == {"b1", "x"}  # a node without the label is no place of theirs
    assert against == {"a1": APART, "a2": APART}


def test_placed_pods_keep_others_away():
    shy = pod("shy", **apart(term()))
    found, against = possible(web(), zones({"a1": [shy]}))
    assert found == {"b1", "x"} and against == {"a1": UNWELCOME, "a2": UNWELCOME}
    assert len(possible(pod("p"), zones({"a1": [shy]}))[0]) == 4


@pytest.mark.parametrize(
    ("more", "is_one"),
    [
        ({}, False),  # only the Pod's own namespace
        ({"namespaces": ["other"]}, True),
        ({"namespaces": ["third"]}, False),
        ({"namespaceSelector": {}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "x"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "y"}}}, False),
        ({"namespaces": ["third"], "namespaceSelector": {"matchLabels": {"team": "x"}}}, True),
    ],
)
def test_namespaces_by_name_and_by_label(more, is_one):
    placed = web().wire()
    placed["metadata"]["namespace"] = "other"
    nodes = zones({"a1": [type(web()).parse(placed)]}, other={"team": "x"}, third={})
    assert ("a1" not in possible(pod("p", **apart(term(**more))), nodes)[0]) is is_one
    shy = pod("shy", **apart(term(**more)))
    assert (
        possible(type(web()).parse(placed), zones({"a1": [shy]}, other={"team": "x"}))[1] != {}
    ) is (is_one)


def test_no_selector_means_no_pod_and_an_empty_one_every_pod():
    nodes = zones({"a1": [web()]})
    none = {"topologyKey": ZONE}
    assert len(possible(pod("p", **apart(none)), nodes)[0]) == 4
    assert possible(pod("p", **apart(none | {"labelSelector": {}})), nodes)[0] == {"b1", "x"}


@pytest.mark.parametrize(
    ("field", "weight", "goes"), [("podAffinity", 1, "b1"), ("podAntiAffinity", 1, "a1")]
)
def test_a_pod_prefers_neighbors(field, weight, goes):
    item = pod("p", affinity=preferred(field, weight, term()))
    nodes = cluster(
        node("a1", labels={ZONE: "a"}), node("b1", labels={ZONE: "b"}), on={"b1": [web()]}
    )
    assert place(item, nodes).node == goes


def test_placed_pods_attract_others():
    nodes = cluster(
        node("a1", labels={ZONE: "a"}),
        node("b1", labels={ZONE: "b"}),
        on={"b1": [pod("q", affinity=required("podAffinity", term()))]},
    )
    assert place(web(), nodes).node == "b1"


def test_one_for_each_node():
    nodes = zones()
    for index in range(4):
        item = web(f"w{index}", **apart(term(key=HOST)))
        nodes.assume(PodInfo(item), place(item, nodes).node)
    assert all(len(info.pods) == 1 for info in nodes.nodes.values())
    failed = place(web("more", **apart(term(key=HOST))), nodes)
    assert isinstance(failed, NoPlacement)
    assert failed.message == f"0/4 nodes are available: 4 {APART}."


RULES = st.sampled_from([{}, near(term()), apart(term()), apart(term(key=HOST)), near(term("db"))])


@given(
    st.lists(st.tuples(st.sampled_from(["a1", "a2", "b1", "x"]), st.booleans(), RULES), max_size=8),
    RULES,
    st.booleans(),
)
def test_counts_follow_pods_that_come_and_go(placed, rules, is_web):
    """Taking Pods away gives the counts of a cluster that never had them."""
    pods = [(at, (web if w else pod)(f"p{i}", **r)) for i, (at, w, r) in enumerate(placed)]
    on: dict[str, list[object]] = {}
    for at, item in pods:
        on.setdefault(at, []).append(item)
    item = (web if is_web else pod)("new", **rules)
    full, half = zones(on), zones({at: found for at, found in on.items() if at != "a1"})
    fit = decide.measure(PodInfo(item), list(full.nodes.values()), around(full))
    before = possible(item, full)
    with fit.changed(full.nodes["a1"], full.nodes["a1"].pods.values(), -1) as emptied:
        nodes = {**full.nodes, "a1": emptied}
        against = {name for name, info in nodes.items() if fit.refusal(info) is None}
        assert against == possible(item, half)[0]
    assert {name for name, info in full.nodes.items() if fit.refusal(info) is None} == before[0]
