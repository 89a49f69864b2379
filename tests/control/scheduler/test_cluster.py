"""Assumed Pods, late changes, and Pods that arrive before their nodes."""

from hypothesis import given
from hypothesis import strategies as st

from control.scheduler.cluster import Cluster
from control.scheduler.model import PodInfo
from tests.support.control.build import node, pod


def bound(item, name):
    return item.model_copy(update={"spec": item.spec.model_copy(update={"node_name": name})})


def test_a_late_change_of_an_unbound_pod_does_not_undo_its_placement():
    cluster, item = Cluster(), pod("p", requests={"cpu": "1"})
    cluster.node_changed(None, node("a"))
    cluster.assume(PodInfo(item), "a")
    cluster.pod_changed(item, item)
    assert cluster.nodes["a"].requested == {"cpu": 1000}
    cluster.pod_changed(item, bound(item, "a"))
    assert cluster.nodes["a"].requested == {"cpu": 1000} and len(cluster.nodes["a"].pods) == 1


def test_a_failed_binding_frees_the_node_and_a_confirmed_one_stays():
    cluster, item = Cluster(), pod("p", requests={"cpu": "1"})
    cluster.node_changed(None, node("a"))
    cluster.assume(PodInfo(item), "a")
    cluster.forget(item)
    assert not cluster.nodes["a"].pods
    cluster.assume(PodInfo(item), "a")
    cluster.pod_changed(item, bound(item, "a"))
    cluster.forget(item)  # the answer was lost, but the watch has confirmed the binding
    assert cluster.is_placed(item)


def test_another_scheduler_bound_the_pod_elsewhere():
    cluster, item = Cluster(), pod("p")
    for name in "ab":
        cluster.node_changed(None, node(name))
    cluster.assume(PodInfo(item), "a")
    cluster.pod_changed(item, bound(item, "b"))
    assert not cluster.nodes["a"].pods and len(cluster.nodes["b"].pods) == 1


def test_pods_may_come_before_and_stay_after_their_node():
    cluster, item = Cluster(), bound(pod("p", requests={"cpu": "1"}), "a")
    cluster.pod_changed(None, item)
    assert not cluster.nodes
    cluster.node_changed(None, node("a"))
    assert cluster.nodes["a"].requested == {"cpu": 1000}
    cluster.node_changed(node("a"), None)
    assert not cluster.nodes
    cluster.node_changed(None, node("a"))
    assert cluster.nodes["a"].requested == {"cpu": 1000}
    cluster.pod_changed(item, None)
    assert not cluster.nodes["a"].pods


def test_ended_pods_take_nothing():
    cluster, item = Cluster(), bound(pod("p", requests={"cpu": "1"}), "a")
    cluster.node_changed(None, node("a"))
    cluster.pod_changed(None, item)
    ended = item.model_copy(update={"status": item.status.model_copy(update={"phase": "Failed"})})
    cluster.pod_changed(item, ended)
    assert not cluster.nodes["a"].pods and not any(cluster.nodes["a"].requested.values())


steps = st.lists(
    st.tuples(
        st.sampled_from(["assume", "forget", "bind", "unbound", "gone"]),
        st.sampled_from(["p", "q"]),
        st.sampled_from(["a", "b"]),
    ),
    max_size=20,
)


@given(steps)
def test_sums_are_always_those_of_the_pods(story):
    cluster = Cluster()
    for name in "ab":
        cluster.node_changed(None, node(name))
    pods = {n: pod(n, requests={"cpu": "1"}, labels={"app": n}) for n in "pq"}
    for verb, name, where in story:
        item = pods[name]
        if verb == "assume":
            cluster.assume(PodInfo(item), where)
        elif verb == "forget":
            cluster.forget(item)
        elif verb == "bind":
            cluster.pod_changed(item, bound(item, where))
        elif verb == "unbound":
            cluster.pod_changed(None, item)
        else:
            cluster.pod_changed(item, None)
    for info in cluster.nodes.values():
        assert info.requested.get("cpu", 0) == 1000 * len(info.pods)
        assert sum(info.groups.values()) == len(info.pods)
    assert sum(len(info.pods) for info in cluster.nodes.values()) <= 2
