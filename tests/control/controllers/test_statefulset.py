"""StatefulSets: the order of Pods, their names, hosts and claims, and how a new version rolls."""

from typing import Any

import pytest

from control.api import kinds
from control.api.errors import errors_in, errors_in_update
from control.api.pod import Pod
from control.api.rules import rules_of
from control.api.workload import StatefulSet
from control.controllers.actions import Again
from control.controllers.statefulset.controller import StatefulSetController
from control.controllers.statefulset.pods import CLAIM, revision_of
from tests.support.control.cluster import deployment, meta
from tests.support.control.simulate import Simulation

CONTROLLER = StatefulSetController()
PARALLEL = {"podManagementPolicy": "Parallel"}


def stateful(replicas: int = 3, image: str = "one", **spec: Any) -> StatefulSet:
    wire = deployment("web", replicas, image=image, serviceName="nginx", **spec)
    head = {"kind": "StatefulSet", "apiVersion": "apps/v1"}
    return StatefulSet.parse(rules_of(kinds.STATEFUL_SET).default(head | wire))


class World(Simulation):
    """A set, and agents that run its Pods at once."""

    def __init__(self, **spec: Any) -> None:
        super().__init__(stateful(**spec))
        self.log: list[str] = []
        self.held: set[str] = set()

    def run(self) -> None:
        """Let everything happen until nothing does."""
        for _ in range(60):
            before = self.names()
            self.settle(CONTROLLER)
            changed = self.names() != before
            for pod in self.pods():
                if pod.status.phase != "Running" and pod.metadata.name not in self.held:
                    self.run_pod(pod)
                    self.log.append(pod.metadata.name)
                    changed = True
                    break
            if not changed:
                return
        raise AssertionError("no end in sight")

    def delete(self, item: Any) -> None:
        if isinstance(item, Pod):
            self.log.append(f"-{item.metadata.name}")
        super().delete(item)

    def names(self) -> list[str]:
        return [f"{pod.metadata.name}:{pod.spec.containers[0].image}" for pod in self.pods()]

    def change(self, **spec: Any) -> None:
        held = self.get(stateful())
        changed = stateful(**spec)
        self.put(held.model_copy(update={"spec": changed.spec}))

    @property
    def status(self) -> Any:
        return self.get(stateful()).status


def world(**spec: Any) -> World:
    made = World(**spec)
    made.run()
    made.log.clear()
    return made


def test_pods_come_in_order_and_wait_for_those_before_them():
    sim = World()
    sim.settle(CONTROLLER)
    assert sim.names() == ["web-0:one"]
    sim.run_pod(sim.pods()[0], ready=False)
    sim.settle(CONTROLLER)
    assert sim.names() == ["web-0:one"]
    sim.run_pod(sim.pods()[0])
    sim.run()
    assert sim.log == ["web-1", "web-2"]


def test_pods_have_names_hosts_and_numbers():
    sim = world()
    assert sim.names() == ["web-0:one", "web-1:one", "web-2:one"]
    pod = sim.pods()[1]
    assert (pod.spec.hostname, pod.spec.subdomain) == ("web-1", "nginx")
    labels = pod.metadata.labels
    assert labels["statefulset.kubernetes.io/pod-name"] == "web-1"
    assert labels["apps.kubernetes.io/pod-index"] == "1"
    (revision,) = sim.cluster[kinds.CONTROLLER_REVISION]
    assert labels["controller-revision-hash"] == revision.metadata.name
    found = sim.status
    assert (found.replicas, found.ready_replicas, found.available_replicas) == (3, 3, 3)
    assert (found.current_replicas, found.updated_replicas) == (3, 3)
    assert found.current_revision == found.update_revision == revision.metadata.name


def test_in_parallel_all_come_and_go_at_once():
    sim = World(**PARALLEL)
    sim.settle(CONTROLLER)
    assert len(sim.pods()) == 3
    sim.change(replicas=0, **PARALLEL)
    sim.settle(CONTROLLER)
    assert sim.pods() == []


def test_the_highest_number_goes_first_and_alone():
    sim = world()
    sim.change(replicas=1)
    sim.run()
    assert sim.log == ["-web-2", "-web-1"]
    assert sim.status.replicas == 1


def test_numbers_begin_where_the_set_says():
    sim = world(replicas=2, ordinals={"start": 5})
    assert [pod.metadata.name for pod in sim.pods()] == ["web-5", "web-6"]
    sim.change(replicas=1, ordinals={"start": 6})
    sim.run()
    assert [pod.metadata.name for pod in sim.pods()] == ["web-6"]


def test_a_new_version_rolls_from_the_highest_number_down():
    sim = world()
    old = sim.status.current_revision
    sim.change(image="two")
    sim.run()
    assert sim.log == ["-web-2", "web-2", "-web-1", "web-1", "-web-0", "web-0"]
    assert sim.names() == ["web-0:two", "web-1:two", "web-2:two"]
    assert sim.status.current_revision == sim.status.update_revision != old


def test_a_version_that_does_not_start_stops_the_rollout():
    sim = world()
    sim.held.add("web-2")
    sim.change(image="two")
    sim.run()
    assert sim.log == ["-web-2"]
    assert sim.names() == ["web-0:one", "web-1:one", "web-2:two"]
    assert (sim.status.current_replicas, sim.status.updated_replicas) == (2, 1)


def rolling(**update: Any) -> dict[str, Any]:
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": update}}


def test_numbers_below_the_partition_keep_their_version_also_when_made_anew():
    sim = world(**rolling(partition=2))
    sim.change(image="two", **rolling(partition=2))
    sim.run()
    assert sim.names() == ["web-0:one", "web-1:one", "web-2:two"]
    sim.delete(sim.pods()[0])
    sim.run()
    assert sim.names() == ["web-0:one", "web-1:one", "web-2:two"]
    sim.change(image="two", **rolling(partition=0))
    sim.run()
    assert sim.names() == ["web-0:two", "web-1:two", "web-2:two"]


def test_more_than_one_may_be_away():
    sim = world(**rolling(maxUnavailable=2))
    sim.held |= {"web-0", "web-1", "web-2"}
    sim.change(image="two", **rolling(maxUnavailable=2))
    sim.run()
    assert sim.log == ["-web-2", "-web-1"]


def test_on_delete_only_a_deleted_pod_is_made_anew():
    sim = world(updateStrategy={"type": "OnDelete"})
    sim.change(image="two", updateStrategy={"type": "OnDelete"})
    sim.run()
    assert sim.log == []
    sim.delete(sim.pods()[1])
    sim.run()
    assert sim.names() == ["web-0:one", "web-1:two", "web-2:one"]


def test_a_former_version_is_its_revision_again():
    sim = world()
    first = sim.status.current_revision
    for image in ("two", "one"):
        sim.change(image=image)
        sim.run()
    assert sim.status.current_revision == first
    numbers = {it.metadata.name: it.revision for it in sim.cluster[kinds.CONTROLLER_REVISION]}
    assert (numbers[first], sorted(numbers.values())) == (3, [2, 3])


def test_old_revisions_are_removed():
    sim = world(revisionHistoryLimit=1)
    for image in ("two", "three", "four"):
        sim.change(image=image, revisionHistoryLimit=1)
        sim.run()
    assert sorted(it.revision for it in sim.cluster[kinds.CONTROLLER_REVISION]) == [3, 4]


def test_a_pod_that_ended_is_made_anew():
    sim = world()
    sim.end_pod(sim.pods()[1], 1)
    sim.run()
    assert sim.log == ["-web-1", "web-1"]


def test_each_number_has_claims_that_stay():
    template = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    sim = world(replicas=2, volumeClaimTemplates=[template])
    names = sorted(claim.metadata.name for claim in sim.cluster[CLAIM])
    assert names == ["data-web-0", "data-web-1"]
    (volume,) = sim.pods()[1].spec.volumes
    assert volume.wire()["persistentVolumeClaim"] == {"claimName": "data-web-1"}
    sim.change(replicas=1, volumeClaimTemplates=[template])
    sim.run()
    assert len(sim.cluster[CLAIM]) == 2


@pytest.mark.parametrize(
    ("deleted", "scaled", "owners"),
    [
        ("Retain", "Retain", [None, None]),
        ("Delete", "Retain", ["StatefulSet", "StatefulSet"]),
        ("Retain", "Delete", [None, "Pod"]),
        ("Delete", "Delete", ["StatefulSet", "Pod"]),
    ],
)
def test_claims_go_as_the_policy_says(deleted, scaled, owners):
    template = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    policy = {"whenDeleted": deleted, "whenScaled": scaled}
    rest = {
        "volumeClaimTemplates": [template],
        "persistentVolumeClaimRetentionPolicy": policy,
    }
    sim = world(replicas=2, **rest)
    uids = {pod.metadata.uid for pod in sim.pods()} | {sim.get(stateful()).metadata.uid}
    sim.change(replicas=1, **rest)
    sim.run()
    found = sorted(sim.cluster[CLAIM], key=lambda it: it.metadata.name)
    held = [it.metadata.owner_references for it in found]
    assert [next((it.kind for it in refs), None) for refs in held] == owners
    assert {it.uid for refs in held for it in refs} <= uids
    sim.change(replicas=2, **rest)  # a claim that is still there stays with the set again
    sim.run()
    kinds_of = {it.kind for claim in sim.cluster[CLAIM] for it in claim.metadata.owner_references}
    assert kinds_of == ({"StatefulSet"} if deleted == "Delete" else set())


def test_a_pod_counts_as_available_after_its_time():
    sim = World(minReadySeconds=10)
    sim.settle(CONTROLLER)
    sim.run_pod(sim.pods()[0])
    sim.settle(CONTROLLER)
    assert (len(sim.pods()), sim.status.ready_replicas, sim.status.available_replicas) == (1, 1, 0)
    actions = CONTROLLER.reconcile(sim.cluster, ("default", "web"), sim.now)
    assert Again(10) in list(actions)
    sim.now += 10
    sim.settle(CONTROLLER)
    assert len(sim.pods()) == 2


def test_only_orphans_with_a_name_of_the_set_are_adopted():
    sim = World(replicas=1)
    labels = {"app": "web"}
    for name in ("web-0", "stray"):
        container = {"name": "c", "image": "one"}
        wire = {"metadata": meta(name, labels=labels).wire(), "spec": {"containers": [container]}}
        sim.create(Pod.parse(wire))
    sim.settle(CONTROLLER)
    stray, web = sim.pods()
    assert (len(stray.metadata.owner_references), len(web.metadata.owner_references)) == (0, 1)
    assert revision_of(web) == ""


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"replicas": -1}, "spec.replicas"),
        ({"podManagementPolicy": "Random"}, "must be 'OrderedReady' or 'Parallel'"),
        ({"updateStrategy": {"type": "Never"}}, "must be 'RollingUpdate' or 'OnDelete'"),
        (rolling(partition=-1), "spec.updateStrategy.rollingUpdate.partition"),
        ({"selector": {"matchLabels": {"app": "x"}}}, "does not match template"),
        ({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "x"}}, "whenScaled"),
    ],
)
def test_wrong_sets_are_refused(spec: dict[str, Any], why: str):
    replicas = spec.pop("replicas", 1)
    found = errors_in(kinds.STATEFUL_SET, stateful(replicas, **spec))
    assert any(why in str(error) for error in found), found


def test_what_names_the_pods_stays():
    old = stateful()
    assert errors_in_update(kinds.STATEFUL_SET, stateful(5, image="two"), old) == []
    found = errors_in_update(kinds.STATEFUL_SET, stateful(**PARALLEL), old)
    assert any("updates to statefulset spec for fields other than" in str(it) for it in found)
