"""Budgets of disruption: what is counted, when nothing may go, and what an eviction leaves."""

from typing import Any

import pytest

from control.api import kinds
from control.api.meta import OwnerReference
from control.api.policy import PodDisruptionBudget
from control.api.times import rfc3339
from control.api.workload import Deployment, ReplicaSet
from control.controllers.actions import Again
from control.controllers.disruption.controller import DisruptionController
from control.controllers.disruption.stale import StaleDisruptionController
from tests.support.control.build import pod
from tests.support.control.cluster import deployment, meta
from tests.support.control.simulate import Simulation

CONTROLLER = DisruptionController()
KEY = ("default", "b")


def budget(**spec: Any) -> PodDisruptionBudget:
    selector = {"matchLabels": {"app": "d"}}
    metadata = {"name": "b", "namespace": "default"}
    return PodDisruptionBudget.parse({"metadata": metadata, "spec": {"selector": selector} | spec})


def owner(kind: str, name: str, uid: str, group: str = "apps/v1") -> OwnerReference:
    return OwnerReference(api_version=group, kind=kind, name=name, uid=uid, controller=True)


def world(replicas: int, ready: int, **spec: Any) -> Simulation:
    """A Deployment's Pods, of which some are ready, and a budget."""
    wire = deployment("d", replicas)
    sim = Simulation(budget(**spec), Deployment.parse(wire))
    above = sim.get(Deployment.parse(wire))
    of = owner("Deployment", "d", above.metadata.uid)
    the_set = ReplicaSet.parse(wire | {"metadata": meta("r", owner_references=[of]).wire()})
    made = sim.create(the_set)
    for at in range(replicas):
        one = pod(f"p{at}", labels={"app": "d"})
        refs = [owner("ReplicaSet", "r", made.metadata.uid)]
        changed = one.metadata.model_copy(update={"owner_references": refs})
        item = sim.create(one.model_copy(update={"metadata": changed}))
        sim.run_pod(item, ready=at < ready)
    sim.settle(CONTROLLER)
    return sim


def status(sim: Simulation) -> Any:
    return sim.get(budget()).status


def numbers(sim: Simulation) -> tuple[int, int, int, int]:
    found = status(sim)
    return (
        found.expected_pods,
        found.current_healthy,
        found.desired_healthy,
        found.disruptions_allowed,
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 2}, (4, 3, 2, 1)),
        ({"minAvailable": "50%"}, (4, 3, 2, 1)),
        ({"minAvailable": "51%"}, (4, 3, 3, 0)),
        ({"maxUnavailable": 1}, (4, 3, 3, 0)),
        ({"maxUnavailable": 2}, (4, 3, 2, 1)),
        ({"maxUnavailable": "26%"}, (4, 3, 2, 1)),
        ({"maxUnavailable": 9}, (4, 3, 0, 3)),
        ({"minAvailable": 0}, (4, 3, 0, 3)),
        ({}, (0, 3, 0, 0)),
    ],
)
def test_what_is_counted(spec: dict[str, Any], expected: tuple[int, ...]):
    sim = world(4, 3, **spec)
    assert numbers(sim) == expected
    (condition,) = status(sim).conditions
    assert (condition.status, condition.reason) == (
        ("True", "SufficientPods") if expected[-1] else ("False", "InsufficientPods")
    )


def test_a_budget_without_pods_lets_nothing_go():
    sim = Simulation(budget(minAvailable=0))
    sim.settle(CONTROLLER)
    assert numbers(sim) == (0, 0, 0, 0)
    assert [report.message for report in actions_of(sim)] == ["No matching pods found"]


def actions_of(sim: Simulation) -> list[Any]:
    return list(CONTROLLER.reconcile(sim.cluster, KEY, sim.now))


def test_pods_without_a_workload_are_named_and_not_expected():
    sim = Simulation(budget(maxUnavailable=1), pod("p", labels={"app": "d"}))
    sim.run_pod(sim.pods()[0])
    sim.settle(CONTROLLER)
    assert numbers(sim) == (0, 1, 0, 0)
    assert "were found to be unmanaged" in actions_of(sim)[0].message


def test_pods_that_nobody_can_count_stay():
    refs = [owner("Job", "j", "uid-j", "batch/v1")]
    sim = world(2, 2, maxUnavailable=1)
    assert numbers(sim)[-1] == 1
    one = pod("x", labels={"app": "d"})
    changed = one.metadata.model_copy(update={"owner_references": refs})
    sim.create(one.model_copy(update={"metadata": changed}))
    sim.settle(CONTROLLER)
    assert numbers(sim)[-1] == 0
    (condition,) = status(sim).conditions
    assert (condition.reason, condition.message) == (
        "SyncFailed",
        'found no controllers for pod "x"',
    )


def test_an_evicted_pod_does_not_count_until_it_is_clear_that_it_stays():
    sim = world(3, 3, maxUnavailable=1)
    assert numbers(sim) == (3, 3, 2, 1)
    held = sim.get(budget())
    noted = {"disrupted_pods": {"p0": rfc3339(sim.now), "gone": rfc3339(sim.now)}}
    evicted = held.status.model_copy(update=noted | {"disruptions_allowed": 0})
    sim.put(held.model_copy(update={"status": evicted}))
    sim.settle(CONTROLLER)
    assert numbers(sim) == (3, 2, 2, 0)
    assert list(status(sim).disrupted_pods) == ["p0"]
    assert actions_of(sim) == [Again(121)]
    sim.now += 121
    assert "wasn't" in actions_of(sim)[0].message
    sim.settle(CONTROLLER)
    assert (numbers(sim), status(sim).disrupted_pods) == ((3, 3, 2, 1), {})


def test_a_new_scale_is_counted_at_once():
    sim = world(3, 3, maxUnavailable=1)
    held = sim.get(Deployment.parse(deployment("d", 3)))
    bigger = held.spec.model_copy(update={"replicas": 4})
    changed = held.model_copy(update={"spec": bigger})
    sim.put(changed)
    source = next(it for it in CONTROLLER.sources if it.kind is kinds.DEPLOYMENT)
    assert source.when(held, changed) and not source.when(held, held)
    assert list(source.keys(sim.cluster, changed)) == [KEY]
    sim.settle(CONTROLLER)
    assert numbers(sim) == (4, 3, 3, 0)


def test_a_condition_of_a_pod_that_stayed_is_taken_back():
    sim = Simulation()
    sim.create(pod("p"))
    held = sim.pods()[0]
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    dated = condition | {"lastTransitionTime": rfc3339(sim.now)}
    sim.put(type(held).parse(held.wire() | {"status": {"conditions": [dated]}}))
    stale = StaleDisruptionController()
    assert list(stale.reconcile(sim.cluster, held.key, sim.now + 119)) == [Again(1)]
    (patch,) = stale.reconcile(sim.cluster, held.key, sim.now + 120)
    (changed,) = patch.patch["status"]["conditions"]
    assert (changed["status"], changed["reason"]) == ("False", None)
