"""Garbage collection: owners in every state, Pods without agents, namespaces."""

from dataclasses import replace
from typing import Any

import pytest

from control.api import kinds
from control.api.cluster import ConfigMap, Namespace
from control.api.pod import Pod
from control.controllers.actions import Again, Collect, Delete, Empty, Patch
from control.controllers.garbage.collector import GarbageCollector, key_of
from control.controllers.garbage.namespaces import NamespaceController
from control.controllers.garbage.pods import PodGarbageCollector
from tests.support.control.cluster import ready_node
from tests.support.control.simulate import Simulation

COLLECTOR = GarbageCollector()
GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


def config_map(name: str, *owners: dict[str, Any], namespace: str = "default", **meta: Any):
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}"}
    return ConfigMap.parse({"metadata": metadata | {"ownerReferences": list(owners)} | meta})


def owner(
    name: str,
    *,
    kind: str = "ConfigMap",
    version: str = "v1",
    uid: str | None = None,
    block: bool = True,
) -> dict[str, Any]:
    uid = uid or f"uid-{name}"
    reference = {"apiVersion": version, "kind": kind, "name": name, "uid": uid}
    return reference | {"blockOwnerDeletion": block}


def decide(sim: Simulation, name: str, namespace: str = "default"):
    item = sim.cluster[kinds.CONFIG_MAP].get(namespace, name)
    return list(COLLECTOR.reconcile(sim.cluster, key_of(kinds.CONFIG_MAP, item), sim.now))


def test_an_object_with_its_owner_is_kept():
    sim = Simulation(config_map("a"), config_map("b", owner("a")), config_map("c"))
    assert not decide(sim, "b") and not decide(sim, "c")


def test_an_object_is_judged_again_once_its_owners_kind_is_followed():
    collector, kind = (
        GarbageCollector(),
        replace(kinds.CONFIG_MAP, group="example.com", name="Widget"),
    )
    reference = owner("a", kind="Widget", version="example.com/v1beta1")
    sim = Simulation(config_map("b", reference), config_map("gone", reference))
    keys = [key_of(kinds.CONFIG_MAP, item) for item in sim.cluster[kinds.CONFIG_MAP]]
    assert not [action for key in keys for action in collector.reconcile(sim.cluster, key, 0)]
    sim.cluster[kinds.CONFIG_MAP].apply(sim.cluster[kinds.CONFIG_MAP].get("default", "gone"), None)
    assert not [*collector.reconcile(sim.cluster, keys[1], 0)]
    assert [*collector.waiting_for(kind)] == keys[:1]
    assert not [*collector.waiting_for(kind)]


@pytest.mark.parametrize(
    "reference",
    [owner("gone"), owner("a", uid="of-an-earlier-a"), owner("far")],
    ids=["absent", "another uid", "in another namespace"],
)
def test_an_object_without_owners_is_deleted_once_the_server_confirms(reference):
    far = config_map("far", namespace="elsewhere")
    sim = Simulation(config_map("a"), far, config_map("b", reference))
    (action,) = decide(sim, "b")
    assert isinstance(action, Collect) and action.then == "Background"
    ((kind, namespace, confirmed),) = action.absent
    assert (kind, namespace, confirmed.name) == (kinds.CONFIG_MAP, "default", reference["name"])


def test_owners_of_unknown_kinds_count_as_present():
    foreign = owner("x", kind="Widget", version="example.com/v1")
    assert not decide(Simulation(config_map("b", foreign)), "b")
    node = ready_node("n")
    made = Simulation(
        type(node).parse(
            node.wire() | {"metadata": {"name": "n", "ownerReferences": [owner("gone")]}}
        )
    )
    (item,) = made.cluster[kinds.NODE]
    assert not list(COLLECTOR.reconcile(made.cluster, key_of(kinds.NODE, item), made.now))


def test_cluster_wide_owners_own_across_namespaces():
    lives = owner("n", kind="Node", uid="uid-1")
    sim = Simulation(ready_node("n"), config_map("b", lives))
    assert not decide(sim, "b")


def test_one_of_several_owners_is_enough_and_absent_ones_are_removed():
    sim = Simulation(config_map("a"), config_map("b", owner("a"), owner("gone")))
    (action,) = decide(sim, "b")
    assert isinstance(action, Collect) and isinstance(action.then, Patch)
    sim.apply(action)
    (left,) = sim.get(config_map("b")).metadata.owner_references
    assert left.name == "a" and not decide(sim, "b")


WAITING = GOING | {"finalizers": ["foregroundDeletion"]}


def test_foreground_deletion_waits_for_blocking_dependents():
    sim = Simulation(
        config_map("a", **WAITING),
        config_map("b", owner("a")),
        config_map("c", owner("a", block=False)),
    )
    assert not decide(sim, "a")
    assert [action.then for action in decide(sim, "b")] == ["Background"]
    sim.apply(decide(sim, "b")[0])
    (done,) = decide(sim, "a")
    assert isinstance(done, Patch) and done.patch["metadata"]["finalizers"] is None


def test_foreground_deletion_covers_all_levels():
    sim = Simulation(
        config_map("a", **WAITING), config_map("b", owner("a")), config_map("c", owner("b"))
    )
    assert [action.then for action in decide(sim, "b")] == ["Foreground"]


def test_orphaning_removes_references_first():
    going = GOING | {"finalizers": ["orphan"]}
    sim = Simulation(config_map("a", **going), config_map("b", owner("a"), owner("other")))
    cut, done = decide(sim, "a")
    sim.apply(cut)
    sim.apply(done)
    assert [o.name for o in sim.get(config_map("b")).metadata.owner_references] == ["other"]
    assert sim.get(config_map("a")) is None  # its last finalizer has gone


def test_a_change_wakes_dependents_and_waiting_owners():
    sim = Simulation(config_map("a", **WAITING), config_map("b", owner("a")))
    source = next(s for s in COLLECTOR.sources if s.kind is kinds.CONFIG_MAP)
    a, b = (sim.get(config_map(name)) for name in "ab")
    assert [key[1] for key in source.keys(sim.cluster, a)] == ["a", "b"]
    assert [key[1] for key in source.keys(sim.cluster, b)] == ["b", "a"]
    changed = b.model_copy(update={"data": {"x": "y"}})
    assert not source.when(b, changed) and source.when(b, None)


def pod(node: str | None, **meta: Any) -> Pod:
    spec = {"nodeName": node} if node else {}
    return Pod.parse(
        {
            "metadata": {"name": "p", "namespace": "default"} | meta,
            "spec": spec,
            "status": {"phase": "Running"},
        }
    )


def test_pods_of_a_vanished_node_end_after_a_while():
    sim, controller = Simulation(pod("n")), PodGarbageCollector(40)
    assert list(controller.reconcile(sim.cluster, ("default", "p"), sim.now)) == [Again(40)]
    sim.now += 41
    failed, gone = controller.reconcile(sim.cluster, ("default", "p"), sim.now)
    assert (failed.subresource, failed.patch["status"]["phase"]) == ("status", "Failed")
    assert failed.patch["status"]["conditions"][0]["reason"] == "DeletionByPodGC"
    assert isinstance(gone, Delete) and gone.grace_period_seconds == 0


def test_a_late_node_keeps_its_pods():
    sim, controller = Simulation(pod("n")), PodGarbageCollector(40)
    list(controller.reconcile(sim.cluster, ("default", "p"), sim.now))
    sim.create(ready_node("n"))
    assert not list(controller.reconcile(sim.cluster, ("default", "p"), sim.now + 100))


def test_a_deleted_pod_without_a_node_ends_at_once():
    sim = Simulation(pod(None, **GOING))
    (gone,) = PodGarbageCollector().reconcile(sim.cluster, ("default", "p"), sim.now)
    assert isinstance(gone, Delete) and gone.grace_period_seconds == 0
    waits = Simulation(pod(None))
    assert not list(PodGarbageCollector().reconcile(waits.cluster, ("default", "p"), waits.now))


def namespace(**meta: Any) -> Namespace:
    return Namespace.parse(
        {"metadata": {"name": "x"} | meta, "spec": {"finalizers": ["kubernetes", "other"]}}
    )


def test_a_namespace_on_its_way_out_is_emptied():
    sim = Simulation(namespace(**GOING), config_map("a", namespace="x"))
    (action,) = NamespaceController().reconcile(sim.cluster, ("", "x"), sim.now)
    assert isinstance(action, Empty) and action.finalizers == ("other",)


def test_an_active_namespace_is_left_alone():
    sim = Simulation(namespace(), config_map("a", namespace="x"))
    assert not list(NamespaceController().reconcile(sim.cluster, ("", "x"), sim.now))
