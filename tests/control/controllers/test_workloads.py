"""Decisions for Deployments, ReplicaSets and DaemonSets, also when cut off after any write."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.api import kinds
from control.api.meta import OwnerReference
from control.api.pod import Pod
from control.api.workload import DaemonSet, Deployment
from control.controllers.actions import Again, Create, Delete, Patch, Report, UpdateStatus
from control.controllers.daemonset.controller import DaemonSetController
from control.controllers.deployment import history
from control.controllers.deployment.controller import DeploymentController
from control.controllers.pods import condition, deletion_order, is_ready
from control.controllers.replicaset import ReplicaSetController
from tests.support.control.cluster import deployment, ready_node
from tests.support.control.simulate import Simulation

WORKLOADS = (DeploymentController(), ReplicaSetController())


def web(replicas: int = 3, image: str = "one", **spec: Any) -> Deployment:
    defaults = {"progressDeadlineSeconds": 600, "revisionHistoryLimit": 10}
    return Deployment.parse(deployment("web", replicas, image=image, **defaults | spec))


def changed(sim: Simulation, **spec: Any) -> None:
    """Change the Deployment's spec as a user does."""
    held = sim.get(web())
    wire = held.wire()
    wire["spec"] |= spec
    sim.put(type(held).parse(wire))


def image(name: str) -> dict[str, Any]:
    return deployment("web", 0, image=name)["spec"]["template"]


def start_all(sim: Simulation) -> None:
    for pod in sim.pods():
        if not is_ready(pod):
            sim.run_pod(pod)


def finish(sim: Simulation) -> None:
    """Run agents and controllers until nothing changes."""
    for _ in range(60):
        sim.settle(*WORKLOADS)
        if all(is_ready(pod) for pod in sim.pods()):
            return
        start_all(sim)
    raise AssertionError("never ends")


def versions(sim: Simulation) -> list[tuple[str, int, int]]:
    """Return (image, wanted Pods, revision) of each ReplicaSet, by revision."""
    found = [
        (rs.spec.template.spec.containers[0].image, rs.spec.replicas, history.revision(rs))
        for rs in sim.cluster[kinds.REPLICA_SET]
    ]
    return sorted(found, key=lambda item: item[2])


def progressing(sim: Simulation) -> tuple[str, str | None, str | None]:
    found = condition(sim.get(web()).status.conditions, "Progressing")
    return found.status, found.reason, found.message


def test_a_new_deployment_runs_and_says_so():
    sim = Simulation(web())
    sim.settle(*WORKLOADS)
    assert progressing(sim)[:2] == ("True", "ReplicaSetUpdated")
    assert condition(sim.get(web()).status.conditions, "Available").status == "False"
    finish(sim)
    (rs,) = sim.cluster[kinds.REPLICA_SET]
    name = rs.metadata.name
    assert progressing(sim) == (
        "True",
        "NewReplicaSetAvailable",
        f'ReplicaSet "{name}" has successfully progressed.',
    )
    status = sim.get(web()).status
    counts = (status.replicas, status.updated_replicas, status.ready_replicas)
    assert counts == (3, 3, 3) and status.available_replicas == 3
    assert status.unavailable_replicas is None and status.observed_generation == 1
    assert {p.metadata.labels["pod-template-hash"] for p in sim.pods()} == {name.split("-")[1]}
    assert [r.message for r in sim.reports] == [f"Scaled up replica set {name} from 0 to 3"]
    assert sim.get(web()).metadata.annotations[history.REVISION] == "1"


def test_an_update_rolls_out_and_an_undo_is_a_new_revision():
    sim = Simulation(web())
    finish(sim)
    changed(sim, template=image("two"))
    finish(sim)
    assert versions(sim) == [("one", 0, 1), ("two", 3, 2)]
    changed(sim, template=image("one"))
    finish(sim)
    assert versions(sim) == [("two", 0, 2), ("one", 3, 3)]
    (back,) = [rs for rs in sim.cluster[kinds.REPLICA_SET] if rs.spec.replicas]
    assert back.metadata.annotations[history.REVISION_HISTORY] == "1"
    assert sim.get(web()).metadata.annotations[history.REVISION] == "3"
    assert progressing(sim)[1] == "NewReplicaSetAvailable"


def test_annotations_and_min_ready_seconds_reach_the_version():
    sim = Simulation(web())
    finish(sim)
    held = sim.get(web())
    wire = held.wire()
    cause = {"kubernetes.io/change-cause": "because"}
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    wire["metadata"]["annotations"] |= cause | applied
    wire["spec"]["minReadySeconds"] = 5
    sim.put(type(held).parse(wire))
    sim.settle(*WORKLOADS)
    (rs,) = sim.cluster[kinds.REPLICA_SET]
    assert rs.metadata.annotations["kubernetes.io/change-cause"] == "because"
    assert not applied.keys() & rs.metadata.annotations.keys()
    assert rs.spec.min_ready_seconds == 5


def test_pods_count_only_after_min_ready_seconds():
    sim = Simulation(web(1, minReadySeconds=10))
    sim.settle(*WORKLOADS)
    start_all(sim)
    sim.settle(*WORKLOADS)
    (rs,) = sim.cluster[kinds.REPLICA_SET]
    assert (rs.status.ready_replicas, rs.status.available_replicas) == (1, None)
    found = list(ReplicaSetController().reconcile(sim.cluster, rs.key, sim.now + 4))
    assert found == [Again(6.0)]
    sim.now += 11
    sim.settle(*WORKLOADS)
    assert sim.get(web()).status.available_replicas == 1


def test_recreate_ends_all_old_pods_first():
    sim = Simulation(web(strategy={"type": "Recreate"}))
    finish(sim)
    changed(sim, template=image("two"))
    sim.settle(*WORKLOADS, between=lambda: one_version(sim))
    finish(sim)
    assert versions(sim) == [("one", 0, 1), ("two", 3, 2)]


def one_version(sim: Simulation) -> None:
    assert len({pod.spec.containers[0].image for pod in sim.pods()}) <= 1


def test_a_paused_deployment_scales_but_does_not_roll():
    sim = Simulation(web())
    finish(sim)
    changed(sim, template=image("two"), paused=True, replicas=5)
    finish(sim)
    assert versions(sim) == [("one", 5, 1)]
    assert progressing(sim) == ("Unknown", "DeploymentPaused", "Deployment is paused")
    changed(sim, paused=False)
    sim.settle(*WORKLOADS)
    assert progressing(sim)[1] in ("DeploymentResumed", "ReplicaSetUpdated")
    finish(sim)
    assert versions(sim) == [("one", 0, 1), ("two", 5, 2)]


def test_history_is_limited():
    sim = Simulation(web(1, revisionHistoryLimit=1))
    finish(sim)
    for name in ("two", "three", "four"):
        changed(sim, template=image(name))
        finish(sim)
    assert [name for name, _, _ in versions(sim)] == ["three", "four"]


def test_a_rollout_without_progress_is_reported():
    sim = Simulation(web(1, progressDeadlineSeconds=60))
    sim.settle(*WORKLOADS)
    key = web().key
    waits = [a for a in DeploymentController().reconcile(sim.cluster, key, sim.now) if a]
    assert waits == [Again(61.0)]
    sim.now += 61
    sim.settle(*WORKLOADS)
    (rs,) = sim.cluster[kinds.REPLICA_SET]
    text = f'ReplicaSet "{rs.metadata.name}" has timed out progressing.'
    assert progressing(sim) == ("False", "ProgressDeadlineExceeded", text)
    finish(sim)
    assert progressing(sim)[1] == "NewReplicaSetAvailable"


def test_a_lost_pod_after_the_rollout_is_no_new_rollout():
    sim = Simulation(web())
    finish(sim)
    before = progressing(sim)
    sim.run_pod(sim.pods()[0], ready=False)
    sim.settle(*WORKLOADS)
    assert progressing(sim) == before
    assert condition(sim.get(web()).status.conditions, "Available").status == "False"


def test_a_taken_name_leads_to_another_hash():
    sim = Simulation(web())
    first = history.first_version(sim.get(web()), [], 3, history.Limits(3, 1, 0))
    foreign = first.model_copy(
        update={
            "metadata": first.metadata.model_copy(
                update={
                    "owner_references": [
                        OwnerReference(
                            api_version="apps/v1",
                            kind="Deployment",
                            name="x",
                            uid="x",
                            controller=True,
                        )
                    ]
                }
            )
        }
    )
    sim.create(foreign)
    sim.settle(DeploymentController())
    assert sim.get(web()).status.collision_count == 1
    assert len(sim.cluster[kinds.REPLICA_SET]) == 2


def test_matching_orphans_are_adopted_and_other_objects_released():
    sim = Simulation(web(2))
    sim.settle(*WORKLOADS)
    (rs,) = sim.cluster[kinds.REPLICA_SET]
    one, two = sim.pods()
    labels = one.metadata.labels | {"app": "other"}
    sim.put(one.model_copy(update={"metadata": one.metadata.model_copy(update={"labels": labels})}))
    orphaned = two.metadata.model_copy(update={"owner_references": []})
    sim.put(two.model_copy(update={"metadata": orphaned}))
    sim.settle(*WORKLOADS)
    assert len(sim.pods()) == 3
    assert not sim.get(one).metadata.owner_references
    assert sim.get(two).metadata.owner_references[0].uid == rs.metadata.uid


def test_order_of_deletion():
    sim = Simulation(web(5))
    sim.settle(*WORKLOADS)
    a, b, c, d, e = sim.pods()
    sim.run_pod(a, node="n1")
    sim.run_pod(b, node="n1")
    sim.run_pod(c, node="n2")
    sim.run_pod(d, node="n2", ready=False)
    names = [p.metadata.name for p in deletion_order(sim.pods(), {"n1": 2, "n2": 1}, sim.now)]
    assert names[0] == e.metadata.name and names[1] == d.metadata.name
    assert set(names[2:4]) == {a.metadata.name, b.metadata.name}


def test_deletion_cost_is_respected():
    sim = Simulation(web(2))
    finish(sim)
    first, second = sim.pods()
    cost = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    cheap = second.metadata.model_copy(update={"annotations": cost})
    sim.put(second.model_copy(update={"metadata": cheap}))
    changed(sim, replicas=1)
    sim.settle(*WORKLOADS)
    assert [pod.metadata.name for pod in sim.pods()] == [first.metadata.name]


def test_a_deleted_set_creates_nothing():
    sim = Simulation(web())
    sim.settle(DeploymentController())
    (rs,) = sim.cluster[kinds.REPLICA_SET]
    going = rs.metadata.model_copy(update={"deletion_timestamp": "2026-01-01T00:00:00Z"})
    sim.put(rs.model_copy(update={"metadata": going}))
    found = ReplicaSetController().reconcile(sim.cluster, rs.key, sim.now)
    assert not [a for a in found if isinstance(a, (Create, Delete, Patch))]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_killed_after_any_write_it_converges_and_never_has_too_many(data):
    """In each round only some of the decided actions are done; then a new process decides."""
    sim = Simulation(web(3))
    finish(sim)
    started = {pod.metadata.uid for pod in sim.pods()}
    template = data.draw(st.sampled_from(["one", "two"]))
    replicas = data.draw(st.integers(0, 5))
    changed(sim, template=image(template), replicas=replicas)
    for _ in range(200):
        pending = list(sim.pending(*(type(part)() for part in WORKLOADS)))
        if not pending:
            if all(is_ready(pod) for pod in sim.pods()):
                break
            start_all(sim)
            continue
        actions = pending[data.draw(st.integers(0, len(pending) - 1))]
        for action in actions[: data.draw(st.integers(1, len(actions)))]:
            sim.apply(action)
            # ReplicaSets may lag behind their sizes, but the sizes never exceed the limit.
            sizes = sum(rs.spec.replicas for rs in sim.cluster[kinds.REPLICA_SET])
            assert sizes <= max(3, replicas + 2)
    images = [pod.spec.containers[0].image for pod in sim.pods()]
    assert images == [template] * replicas
    if template == "one":  # only scaled: no Pod was replaced without need
        stayed = started & {pod.metadata.uid for pod in sim.pods()}
        assert len(stayed) == min(3, replicas)


DAEMONS = (DaemonSetController(),)


def agent(image_name: str = "one", **spec: Any) -> DaemonSet:
    wire = deployment("agent", 0, image=image_name)
    del wire["spec"]["replicas"]
    wire["spec"] |= {"revisionHistoryLimit": 10} | spec
    return DaemonSet.parse(wire)


def nodes(count: int, **taints: Any):
    return [ready_node(f"n{i}") for i in range(count)]


def wanted_node(pod: Pod) -> str:
    terms = pod.spec.affinity.node_affinity.required.node_selector_terms
    return terms[0].match_fields[0].values[0]


def run_daemons(sim: Simulation) -> None:
    for pod in sim.pods():
        if not is_ready(pod):
            sim.run_pod(pod, node=wanted_node(pod))


def finish_daemons(sim: Simulation) -> None:
    for _ in range(60):
        sim.settle(*DAEMONS)
        if all(is_ready(pod) for pod in sim.pods()):
            return
        run_daemons(sim)
    raise AssertionError("never ends")


def test_every_node_gets_one_daemon():
    sim = Simulation(*nodes(3), agent())
    finish_daemons(sim)
    assert sorted(wanted_node(pod) for pod in sim.pods()) == ["n0", "n1", "n2"]
    status = sim.get(agent()).status
    assert (status.desired_number_scheduled, status.number_ready) == (3, 3)
    assert (status.updated_number_scheduled, status.number_available) == (3, 3)
    (revision,) = sim.cluster[kinds.CONTROLLER_REVISION]
    assert revision.revision == 1 and revision.data["spec"]["template"]["$patch"] == "replace"


def test_a_new_node_gets_a_daemon_and_an_unwanted_one_loses_it():
    sim = Simulation(*nodes(1), agent())
    finish_daemons(sim)
    sim.create(ready_node("n9"))
    finish_daemons(sim)
    assert len(sim.pods()) == 2
    held = sim.get(agent())
    wire = held.wire()
    wire["spec"]["template"]["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "n9"}
    sim.put(type(held).parse(wire))
    finish_daemons(sim)
    assert [pod.spec.node_name for pod in sim.pods()] == ["n9"]


@pytest.mark.parametrize(
    ("key", "effect", "comes", "stays"),
    [
        ("node.kubernetes.io/not-ready", "NoExecute", True, True),
        ("node.kubernetes.io/unschedulable", "NoSchedule", True, True),
        ("mine", "NoSchedule", False, True),
        ("mine", "NoExecute", False, False),
        ("mine", "PreferNoSchedule", True, True),
    ],
)
def test_daemons_and_taints(key, effect, comes, stays):
    taint = {"spec": {"taints": [{"key": key, "effect": effect}]}}
    tainted = type(ready_node("n0")).parse(ready_node("n0").wire() | taint)
    fresh = Simulation(tainted, agent())
    finish_daemons(fresh)
    assert bool(fresh.pods()) is comes
    running = Simulation(ready_node("n0"), agent())
    finish_daemons(running)
    held = running.get(tainted)
    running.put(held.model_copy(update={"spec": tainted.spec}))
    finish_daemons(running)
    assert bool(running.pods()) is stays


def serving(sim: Simulation) -> int:
    return len({pod.spec.node_name for pod in sim.pods() if is_ready(pod)})


@pytest.mark.parametrize(
    ("rolling", "least", "most"),
    [
        ({"maxUnavailable": 1}, 3, 4),
        ({"maxUnavailable": "50%"}, 2, 4),
        ({"maxSurge": 1, "maxUnavailable": 0}, 4, 5),
        ({"maxSurge": "50%", "maxUnavailable": 0}, 4, 6),
    ],
)
def test_a_daemon_update_keeps_its_pace(rolling, least, most):
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    sim = Simulation(*nodes(4), agent(updateStrategy=strategy))
    finish_daemons(sim)
    held = sim.get(agent())
    sim.put(held.model_copy(update={"spec": agent("two", updateStrategy=strategy).spec}))
    fewest, largest = 4, 4

    def look() -> None:
        nonlocal fewest, largest
        fewest, largest = min(fewest, serving(sim)), max(largest, len(sim.pods()))

    for _ in range(40):
        sim.settle(*DAEMONS, between=look)
        run_daemons(sim)
    assert {pod.spec.containers[0].image for pod in sim.pods()} == {"two"}
    assert (fewest, largest) == (least, most)


def test_on_delete_waits_for_the_user():
    strategy = {"type": "OnDelete"}
    sim = Simulation(*nodes(2), agent(updateStrategy=strategy))
    finish_daemons(sim)
    held = sim.get(agent())
    sim.put(held.model_copy(update={"spec": agent("two", updateStrategy=strategy).spec}))
    finish_daemons(sim)
    assert {pod.spec.containers[0].image for pod in sim.pods()} == {"one"}
    sim.apply(Delete(kinds.POD, sim.pods()[0]))
    finish_daemons(sim)
    assert sorted(pod.spec.containers[0].image for pod in sim.pods()) == ["one", "two"]


def test_an_undo_renews_the_old_revision():
    sim = Simulation(*nodes(1), agent())
    finish_daemons(sim)
    for name in ("two", "one"):
        sim.put(sim.get(agent()).model_copy(update={"spec": agent(name).spec}))
        finish_daemons(sim)
    found = sorted(
        (r.revision, r.data["spec"]["template"]["spec"]["containers"][0]["image"])
        for r in sim.cluster[kinds.CONTROLLER_REVISION]
    )
    assert found == [(2, "two"), (3, "one")]


def test_an_ended_daemon_is_replaced_and_reported():
    sim = Simulation(*nodes(1), agent())
    finish_daemons(sim)
    (pod,) = sim.pods()
    sim.put(pod.model_copy(update={"status": pod.status.model_copy(update={"phase": "Failed"})}))
    finish_daemons(sim)
    assert sim.pods()[0].metadata.uid != pod.metadata.uid
    assert "FailedDaemonPod" in [report.reason for report in sim.reports]


def test_reports_and_statuses_are_actions_like_others():
    sim = Simulation(web())
    actions = list(DeploymentController().reconcile(sim.cluster, web().key, sim.now))
    assert [type(action) for action in actions] == [Create, Report]
    assert not any(isinstance(action, UpdateStatus) for action in actions)
