"""Nodes: allocation of ranges, silent nodes, taints, evictions."""

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api import kinds
from control.api.cluster import Lease
from control.api.node import Node, Taint
from control.api.placement import Toleration
from control.api.pod import Pod
from control.api.times import rfc3339
from control.controllers.actions import Again, Delete, Patch, Report
from control.controllers.nodes.cidr import ClusterRange, PodCIDRController
from control.controllers.nodes.eviction import TaintEvictionController, stays_for
from control.controllers.nodes.lifecycle import Grace, NodeLifecycleController, taints
from control.controllers.pods import condition, is_ready
from tests.support.control.cluster import ready_node
from tests.support.control.simulate import Simulation

FOUR = ClusterRange(ip_network("10.244.0.0/16"), 24)
SIX = ClusterRange(ip_network("fd00:10:244::/56"), 64)


def plain(name: str, **spec: Any) -> Node:
    return Node.parse({"metadata": {"name": name}, "spec": spec})


def cidrs(sim: Simulation) -> dict[str, list[str]]:
    return {n.metadata.name: n.spec.pod_cidrs for n in sim.cluster[kinds.NODE]}


def test_each_node_gets_a_range_of_each_family():
    sim = Simulation(plain("a"), plain("b"))
    sim.settle(PodCIDRController([FOUR, SIX]))
    assert cidrs(sim) == {
        "a": ["10.244.0.0/24", "fd00:10:244::/64"],
        "b": ["10.244.1.0/24", "fd00:10:244:1::/64"],
    }
    assert sim.get(plain("a")).spec.pod_cidr == "10.244.0.0/24"


def test_taken_and_reserved_ranges_are_left_out():
    sim = Simulation(
        plain("old", podCIDR="10.244.0.0/24", podCIDRs=["10.244.0.0/24"]),
        plain("wide", podCIDRs=["10.244.2.0/23"]),
        plain("new"),
        plain("newer"),
    )
    sim.settle(PodCIDRController([FOUR], [ip_network("10.244.4.0/24")]))
    assert (cidrs(sim)["new"], cidrs(sim)["newer"]) == (["10.244.1.0/24"], ["10.244.5.0/24"])


def test_exhaustion_is_an_event_and_a_deleted_node_frees_its_range():
    controller = PodCIDRController([ClusterRange(ip_network("10.0.0.0/24"), 25)])
    sim = Simulation(plain("a"), plain("b"))
    sim.settle(controller)
    sim.create(plain("c"))
    (report,) = controller.reconcile(sim.cluster, ("", ""), sim.now)
    assert isinstance(report, Report) and report.reason == "CIDRNotAvailable"
    assert report.message == "Node c status is now: CIDRNotAvailable"
    sim.apply(Delete(kinds.NODE, sim.get(plain("a"))))
    sim.settle(controller)
    assert cidrs(sim)["c"] == ["10.0.0.0/25"]


@given(st.data())
def test_no_range_is_allocated_twice(data):
    """Nodes are added and deleted, and the process dies after any of its writes."""
    sim, born = Simulation(), 0
    ranges = [ClusterRange(ip_network("10.0.0.0/21"), 24), SIX]
    for _ in range(data.draw(st.integers(1, 25))):
        match data.draw(st.sampled_from(["come", "go", "some", "all"])):
            case "come":
                born += 1
                sim.create(plain(f"n{data.draw(st.integers(0, 99)):02}-{born}"))
            case "go" if names := sorted(cidrs(sim)):
                gone = data.draw(st.sampled_from(names))
                sim.apply(Delete(kinds.NODE, sim.get(plain(gone))))
            case step:
                actions = list(PodCIDRController(ranges).reconcile(sim.cluster, ("", ""), sim.now))
                most = len(actions) if step == "all" else data.draw(st.integers(0, len(actions)))
                for action in actions[:most]:
                    sim.apply(action)
        given_out = [ip_network(c) for found in cidrs(sim).values() for c in found]
        assert len(set(given_out)) == len(given_out)
        fours = [c for c in given_out if c.version == 4]
        assert not any(a.overlaps(b) for a in fours for b in fours if a is not b)


def lease(name: str, renewed: float) -> Lease:
    return Lease.parse(
        {
            "metadata": {"name": name, "namespace": "kube-node-lease"},
            "spec": {"renewTime": rfc3339(renewed)},
        }
    )


def renew(sim: Simulation, name: str) -> None:
    held = sim.get(lease(name, 0))
    sim.put(held.model_copy(update={"spec": lease(name, sim.now).spec}))


def ready(sim: Simulation) -> tuple[str, str | None]:
    found = condition(sim.get(plain("n")).status.conditions, "Ready")
    return found.status, found.reason


def found_taints(sim: Simulation) -> set[tuple[str, str]]:
    return {(t.key.split("/")[-1], t.effect) for t in sim.get(plain("n")).spec.taints}


def on_node(name: str, **spec: Any) -> Pod:
    ready_now = {"type": "Ready", "status": "True"}
    return Pod.parse(
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": "n"} | spec,
            "status": {"phase": "Running", "conditions": [ready_now]},
        }
    )


def test_a_silent_node_is_marked_and_tainted_until_it_reports():
    controller = NodeLifecycleController(Grace(monitor=50))
    sim = Simulation(ready_node("n"), lease("n", 0), on_node("p"))
    sim.settle(controller)
    assert not found_taints(sim)
    for _ in range(5):  # a renewal is a sign of life, whatever time it has
        sim.now += 45
        renew(sim, "n")
        sim.settle(controller)
    assert ready(sim)[0] == "True"
    sim.now += 51
    sim.settle(controller)
    assert ready(sim) == ("Unknown", "NodeStatusUnknown")
    assert found_taints(sim) == {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}
    assert not is_ready(sim.pods()[0])
    assert "Node n status is now: NodeNotReady" in {r.message for r in sim.reports}
    held = sim.get(plain("n"))
    sim.put(held.model_copy(update={"status": ready_node("n").status}))
    renew(sim, "n")
    sim.settle(controller)
    assert not found_taints(sim)


def test_time_of_the_next_check():
    controller = NodeLifecycleController(Grace(monitor=50))
    sim = Simulation(ready_node("n"), lease("n", 0))
    assert list(controller.reconcile(sim.cluster, ("", "n"), sim.now)) == [Again(50)]
    assert list(controller.reconcile(sim.cluster, ("", "n"), sim.now + 20)) == [Again(30)]


def test_nodes_are_not_silent_while_the_api_server_is_away():
    controller = NodeLifecycleController(Grace(monitor=50))
    sim = Simulation(ready_node("n"), lease("n", 0))
    sim.settle(controller)
    sim.now += 600
    sim.cluster.contact = sim.now - 10
    assert list(controller.reconcile(sim.cluster, ("", "n"), sim.now)) == [Again(40)]


def test_a_node_that_never_reported_has_its_own_grace():
    controller = NodeLifecycleController(Grace(monitor=50, startup=60))
    sim = Simulation(plain("n"))
    sim.settle(controller)
    assert found_taints(sim) == {("not-ready", "NoSchedule")}
    sim.now += 55
    sim.settle(controller)
    assert condition(sim.get(plain("n")).status.conditions, "Ready") is None
    sim.now += 6
    sim.settle(controller)
    assert ready(sim) == ("Unknown", "NodeStatusNeverUpdated")


def with_conditions(node: Node, **conditions: str) -> Node:
    made = [{"type": kind, "status": status} for kind, status in conditions.items()]
    return Node.parse(node.wire() | {"status": {"conditions": made}})


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        (with_conditions(plain("n"), Ready="True"), set()),
        (
            with_conditions(plain("n"), Ready="False"),
            {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")},
        ),
        (
            with_conditions(plain("n"), Ready="True", DiskPressure="True"),
            {("disk-pressure", "NoSchedule")},
        ),
        (
            with_conditions(plain("n", unschedulable=True), Ready="True"),
            {("unschedulable", "NoSchedule")},
        ),
    ],
)
def test_conditions_become_taints(node, wanted):
    assert {(t.key.split("/")[-1], t.effect) for t in taints(node, 0)} == wanted


def test_taints_of_others_stay_and_ours_keep_their_time():
    mine = {"key": "mine", "effect": "NoSchedule"}
    old = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": rfc3339(5)}
    node = with_conditions(plain("n", taints=[old, mine]), Ready="False")
    found = {(t.key, t.effect): t.time_added for t in taints(node, 99)}
    assert found[("mine", "NoSchedule")] is None
    assert found[("node.kubernetes.io/not-ready", "NoExecute")] == rfc3339(5)


NOT_READY = Taint(key="node.kubernetes.io/not-ready", effect="NoExecute", time_added=rfc3339(100))


def tolerate(seconds: int | None = None, key: str | None = NOT_READY.key) -> Toleration:
    return Toleration(key=key, operator="Exists", toleration_seconds=seconds)


@pytest.mark.parametrize(
    ("tolerations", "left"),
    [
        ([], 0),
        ([tolerate()], None),
        ([tolerate(300)], 300),
        ([tolerate(300), tolerate(30)], 300),  # the first that fits
        ([Toleration(operator="Exists"), tolerate(30)], None),
        ([tolerate(-10)], 0),
        ([tolerate(key="other")], 0),
        ([Toleration(operator="Exists")], None),
    ],
)
def test_seconds_that_a_pod_may_stay(tolerations, left):
    assert stays_for([NOT_READY], tolerations) == left


def test_pods_are_evicted_when_their_time_is_over():
    taint = NOT_READY.model_copy(update={"time_added": rfc3339(1_000_000)})
    node = Node.parse({"metadata": {"name": "n"}, "spec": {"taints": [taint.wire()]}})
    stays = {"tolerations": [tolerate().wire()]}
    later = {"tolerations": [tolerate(300).wire()]}
    sim = Simulation(node, on_node("now"), on_node("later", **later), on_node("stays", **stays))
    controller = TaintEvictionController()
    sim.settle(controller)
    assert [pod.metadata.name for pod in sim.pods()] == ["later", "stays"]
    assert sim.reports[0].reason == "TaintManagerEviction"
    assert Again(300) in list(controller.reconcile(sim.cluster, ("", "n"), sim.now))
    sim.now += 301
    sim.settle(controller)
    assert [pod.metadata.name for pod in sim.pods()] == ["stays"]


def test_a_night_of_the_whole_cluster_evicts_no_pod():
    """The controller is new, and the taint is of the evening: upstream's counts from now."""
    old = NOT_READY.model_copy(update={"time_added": rfc3339(1)})
    node = Node.parse({"metadata": {"name": "n"}, "spec": {"taints": [old.wire()]}})
    sim = Simulation(node, on_node("stays", tolerations=[tolerate(300).wire()]))
    controller = TaintEvictionController()
    sim.settle(controller)
    sim.now += 299
    sim.settle(controller)
    assert [pod.metadata.name for pod in sim.pods()] == ["stays"]
    sim.put(Node.parse({"metadata": {"name": "n"}}))
    (spared,) = controller.reconcile(sim.cluster, ("", "n"), sim.now)
    assert isinstance(spared, Report)
    assert spared.message == "Cancelling deletion of Pod default/stays"
    sim.put(node)  # counts anew
    assert list(controller.reconcile(sim.cluster, ("", "n"), sim.now)) == [Again(300)]


def test_taints_are_written_against_the_version_they_were_decided_on():
    sim = Simulation(with_conditions(plain("n"), Ready="False"))
    actions = NodeLifecycleController().reconcile(sim.cluster, ("", "n"), sim.now)
    (patch,) = (action for action in actions if not isinstance(action, Again))
    assert isinstance(patch, Patch)
    version = sim.get(plain("n")).metadata.resource_version
    assert patch.patch["metadata"]["resourceVersion"] == version
