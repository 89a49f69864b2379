"""Claims and volumes: who gets which, what both say, and what becomes of them."""

from typing import Any

import pytest

from control.api import kinds
from control.api.errors import errors_in_update
from control.api.persistent import (
    CLAIM_PROTECTION,
    PROVISIONED_BY,
    SELECTED_NODE,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
)
from control.api.pod import Pod
from control.controllers.volumes.binder import VolumeBinder
from control.controllers.volumes.ephemeral import EphemeralVolumes
from control.controllers.volumes.protection import ClaimProtection, VolumeProtection
from tests.support.control.simulate import Simulation

BINDER = VolumeBinder()
RWO, RWX = "ReadWriteOnce", "ReadWriteMany"


def claim(name: str = "c", size: str = "1Gi", **spec: Any) -> PersistentVolumeClaim:
    wanted = {"accessModes": [RWO], "resources": {"requests": {"storage": size}}}
    metadata = {"name": name, "namespace": "default"}
    wire = {"metadata": metadata, "spec": wanted | {"storageClassName": ""} | spec}
    return PersistentVolumeClaim.parse(wire | {"status": {"phase": "Pending"}})


def volume(name: str, size: str = "1Gi", modes: tuple[str, ...] = (RWO,), **spec: Any):
    base = {"capacity": {"storage": size}, "accessModes": list(modes), "hostPath": {"path": "/d"}}
    given = base | {"persistentVolumeReclaimPolicy": "Retain"} | spec
    metadata = {"name": name, "labels": {"name": name}}
    wire = {"metadata": metadata, "spec": given, "status": {"phase": "Pending"}}
    return PersistentVolume.parse(wire)


def storage_class(name: str = "fast", *, default: bool = False, **rest: Any) -> StorageClass:
    mark = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    wire = {"metadata": {"name": name, "annotations": mark}, "provisioner": "example.com/disks"}
    return StorageClass.parse(wire | {"volumeBindingMode": "Immediate"} | rest)


def pod(name: str = "p", node: str = "", **volume: Any) -> Pod:
    source = volume or {"persistentVolumeClaim": {"claimName": "c"}}
    spec = {"containers": [], "volumes": [{"name": "v"} | source]}
    if node:
        spec["nodeName"] = node
    return Pod.parse({"metadata": {"name": name, "namespace": "default"}, "spec": spec})


def settled(*items: Any) -> Simulation:
    sim = Simulation(*items)
    sim.settle(BINDER)
    return sim


def held(sim: Simulation, name: str = "c") -> PersistentVolumeClaim:
    found = sim.cluster[kinds.VOLUME_CLAIM].get("default", name)
    assert found is not None
    return found


def phase(sim: Simulation, name: str) -> str | None:
    found = sim.cluster[kinds.PERSISTENT_VOLUME].get(None, name)
    return found.status.phase if found else None


def reasons(sim: Simulation) -> list[tuple[str, str]]:
    """What is told about the claim, once all is written."""
    told = list(BINDER.reconcile(sim.cluster, ("default", "c"), sim.now))
    return [(report.reason, report.message) for report in told if hasattr(report, "reason")]


def test_a_claim_and_its_volume_name_each_other():
    sim = settled(volume("v"), claim())
    bound, found = held(sim), sim.cluster[kinds.PERSISTENT_VOLUME].get(None, "v")
    assert found is not None and found.spec.claim_ref is not None
    assert (bound.spec.volume_name, bound.status.phase) == ("v", "Bound")
    assert bound.status.capacity == {"storage": "1Gi"} and bound.status.access_modes == [RWO]
    assert (found.spec.claim_ref.uid, found.status.phase) == (bound.metadata.uid, "Bound")
    assert found.metadata.annotations == {"pv.kubernetes.io/bound-by-controller": "yes"}
    assert "pv.kubernetes.io/bind-completed" in bound.metadata.annotations
    assert errors_in_update(kinds.VOLUME_CLAIM, bound, claim()) == []


@pytest.mark.parametrize(
    ("wanted", "volumes", "gets"),
    [
        (claim(), [volume("big", "9Gi"), volume("small", "2Gi")], "small"),
        (claim(size="3Gi"), [volume("big", "9Gi"), volume("small", "2Gi")], "big"),
        (claim(), [volume("tiny", "1Mi")], ""),
        (claim(accessModes=[RWX]), [volume("once"), volume("many", modes=(RWO, RWX))], "many"),
        (claim(), [volume("many", modes=(RWO, RWX)), volume("once", "2Gi")], "once"),
        (claim(), [volume("other", storageClassName="slow")], ""),
        (claim(selector={"matchLabels": {"name": "b"}}), [volume("a"), volume("b")], "b"),
        (claim(volumeMode="Block"), [volume("files"), volume("b", volumeMode="Block")], "b"),
        (claim(volumeName="b"), [volume("a"), volume("b", "5Gi")], "b"),
        (claim(volumeName="b", size="6Gi"), [volume("b", "5Gi")], ""),
        (
            claim(),
            [volume("a"), volume("mine", claimRef={"namespace": "default", "name": "c"})],
            "mine",
        ),
        (claim(), [volume("a", claimRef={"namespace": "default", "name": "another"})], ""),
    ],
)
def test_a_claim_gets_the_smallest_volume_that_fits(wanted, volumes, gets):
    sim = settled(*volumes)
    sim.create(wanted)
    sim.settle(BINDER)
    bound = held(sim).status.phase == "Bound"
    assert (held(sim).spec.volume_name or "") * bound == gets


def test_two_claims_do_not_get_one_volume():
    sim = settled(volume("v"), claim("a"), claim("b"))
    phases = [held(sim, name).status.phase for name in "ab"]
    assert sorted(phases) == ["Bound", "Pending"]


def test_a_volume_is_released_with_its_claim_and_keeps_who_had_it():
    sim = settled(volume("v"), claim())
    sim.drop(held(sim))
    sim.settle(BINDER)
    assert phase(sim, "v") == "Released"
    sim.create(claim())  # another one of that name is not the one that had it
    sim.settle(BINDER)
    assert phase(sim, "v") == "Released" and held(sim).status.phase == "Pending"


@pytest.mark.parametrize(
    ("policy", "reason"), [("Delete", "VolumeFailedDelete"), ("Recycle", "VolumeFailedRecycle")]
)
def test_a_volume_that_nobody_can_remove_has_failed(policy, reason):
    sim = settled(volume("v", persistentVolumeReclaimPolicy=policy), claim())
    sim.drop(held(sim))
    sim.settle(BINDER)
    assert phase(sim, "v") == "Failed"
    assert reason in {report.reason for report in sim.reports}


def test_its_provisioner_removes_a_volume():
    made = volume("v", persistentVolumeReclaimPolicy="Delete")
    noted = made.metadata.model_copy(update={"annotations": {PROVISIONED_BY: "example.com/disks"}})
    sim = settled(made.model_copy(update={"metadata": noted}), claim())
    sim.drop(held(sim))
    sim.settle(BINDER)
    assert phase(sim, "v") == "Released"


def test_a_claim_is_lost_with_its_volume():
    sim = settled(volume("v"), claim())
    sim.drop(sim.get(volume("v")))
    sim.settle(BINDER)
    assert held(sim).status.phase == "Lost"
    assert sim.reports[-1].reason == "ClaimLost"


def test_a_claim_says_why_it_waits():
    nothing = "no persistent volumes available for this claim and no storage class is set"
    assert reasons(settled(claim())) == [("FailedBinding", nothing)]
    sim = settled(claim(storageClassName="fast"))
    why = 'storageclass.storage.k8s.io "fast" not found'
    assert reasons(sim) == [("ProvisioningFailed", why)]
    sim = settled(claim(volumeName="v", size="2Gi"), volume("v"))
    why = 'Cannot bind to requested volume "v": requested PV is too small'
    assert reasons(sim) == [("VolumeMismatch", why)]


def test_a_class_asks_its_provisioner():
    sim = settled(claim(storageClassName="fast"), storage_class())
    name = "volume.kubernetes.io/storage-provisioner"
    assert held(sim).metadata.annotations[name] == "example.com/disks"
    assert [reason for reason, _ in reasons(sim)] == ["ExternalProvisioning"]


def test_a_class_may_wait_for_the_first_pod():
    delayed = storage_class(volumeBindingMode="WaitForFirstConsumer")
    fitting = volume("v", storageClassName="fast")
    sim = settled(claim(storageClassName="fast"), delayed, fitting)
    why = "waiting for first consumer to be created before binding"
    assert reasons(sim) == [("WaitForFirstConsumer", why)]
    sim.create(pod())
    sim.settle(BINDER)
    assert reasons(sim) == [("WaitForPodScheduled", "waiting for pod p to be scheduled")]
    asked = held(sim)
    marked = asked.metadata.model_copy(update={"annotations": {SELECTED_NODE: "n1"}})
    sim.put(asked.model_copy(update={"metadata": marked}))
    sim.settle(BINDER)
    assert held(sim).status.phase == "Bound"


def test_a_claim_without_a_class_gets_a_default_that_comes_later():
    silent = claim()
    spec = silent.spec.model_copy(update={"storage_class_name": None})
    sim = settled(silent.model_copy(update={"spec": spec}))
    sim.create(storage_class(default=True))
    sim.settle(BINDER)
    assert held(sim).spec.storage_class_name == "fast"


def test_a_claim_stays_while_a_pod_uses_it():
    sim = Simulation(claim(), pod(node="n1"))
    protection = ClaimProtection()
    sim.settle(protection)
    assert held(sim).metadata.finalizers == [CLAIM_PROTECTION]
    sim.delete(held(sim))
    sim.settle(protection)
    assert held(sim).metadata.finalizers == [CLAIM_PROTECTION]
    sim.drop(sim.pods()[0])
    sim.settle(protection)
    assert held(sim).metadata.finalizers == []


def test_a_volume_stays_while_it_is_bound():
    sim = settled(volume("v"), claim())
    protection = VolumeProtection()
    sim.settle(protection)
    sim.delete(sim.get(volume("v")))
    sim.settle(protection)
    assert sim.get(volume("v")).metadata.finalizers
    sim.drop(held(sim))
    sim.settle(BINDER, protection)
    assert not sim.get(volume("v")).metadata.finalizers


def test_an_ephemeral_volume_has_a_claim_that_goes_with_its_pod():
    template = {"metadata": {"labels": {"a": "b"}}, "spec": claim().spec.wire()}
    sim = Simulation(pod(ephemeral={"volumeClaimTemplate": template}))
    sim.settle(EphemeralVolumes())
    made = held(sim, "p-v")
    (owner,) = made.metadata.owner_references
    assert (owner.kind, owner.uid, owner.controller) == ("Pod", sim.pods()[0].metadata.uid, True)
    assert made.metadata.labels == {"a": "b"} and made.spec == claim().spec
