"""Pods with claims: the nodes that can have them, and what is bound or made there."""

from typing import Any

import pytest

from control.api.node import Node
from control.api.persistent import PersistentVolume, PersistentVolumeClaim, StorageClass
from control.api.pod import Pod
from control.scheduler.model import NodeInfo
from control.scheduler.storage import NotSchedulableError, Storage, VolumeChoice, not_schedulable

DELAYED = {"volumeBindingMode": "WaitForFirstConsumer"}


def node(name: str) -> NodeInfo:
    labels = {"kubernetes.io/hostname": name}
    return NodeInfo(Node.parse({"metadata": {"name": name, "uid": name, "labels": labels}}))


def pod(*claims: str, **volume: Any) -> Pod:
    volumes = [{"name": it, "persistentVolumeClaim": {"claimName": it}} for it in claims]
    volumes += [{"name": "v"} | volume] if volume else []
    metadata = {"name": "p", "namespace": "default", "uid": "u"}
    return Pod.parse({"metadata": metadata, "spec": {"containers": [], "volumes": volumes}})


def claim(name: str = "c", volume: str = "", **metadata: Any) -> PersistentVolumeClaim:
    meta: dict[str, Any] = {"name": name, "namespace": "default", "uid": name, "annotations": {}}
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "fast",
    }
    if volume:
        meta["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
        spec["volumeName"] = volume
    return PersistentVolumeClaim.parse({"metadata": meta | metadata, "spec": spec})


def volume(name: str, on: str = "", **spec: Any) -> PersistentVolume:
    given = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]} | spec
    given |= {"storageClassName": "fast", "hostPath": {"path": "/d"}}
    if on:
        match = {"key": "kubernetes.io/hostname", "operator": "In", "values": [on]}
        term = {"matchExpressions": [match]}
        given["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    status = {"phase": "Available"}
    return PersistentVolume.parse({"metadata": {"name": name}, "spec": given, "status": status})


def storage(*items: Any, provisioner: str = "example.com/disks", **rest: Any) -> Storage:
    made = {"metadata": {"name": "fast"}, "provisioner": provisioner} | rest
    claims = {it.key: it for it in items if isinstance(it, PersistentVolumeClaim)}
    volumes = {it.key: it for it in items if isinstance(it, PersistentVolume)}
    return Storage(claims, volumes, {("", "fast"): StorageClass.parse(made)})


def reasons(found: Storage, on: str, *claims: str) -> tuple[str, ...]:
    volumes = found.of(pod(*claims or ("c",)))
    assert volumes is not None
    refusal = volumes.refusal(node(on))
    return refusal.reasons if refusal else ()


def choice(found: Storage, on: str, *claims: str) -> VolumeChoice:
    volumes = found.of(pod(*claims or ("c",)))
    chosen = volumes.choice(node(on)) if volumes else None
    assert chosen is not None
    return chosen


@pytest.mark.parametrize(
    ("found", "wanted", "why"),
    [
        (storage(), pod("c"), 'persistentvolumeclaim "c" not found'),
        (storage(claim()), pod("c"), "pod has unbound immediate PersistentVolumeClaims"),
        (
            storage(claim(deletionTimestamp="2026-01-01T00:00:00Z"), **DELAYED),
            pod("c"),
            'persistentvolumeclaim "c" is being deleted',
        ),
        (
            storage(),
            pod(ephemeral={"volumeClaimTemplate": {}}),
            'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-v"',
        ),
        (
            storage(claim("p-v")),
            pod(ephemeral={"volumeClaimTemplate": {}}),
            "PVC default/p-v was not created for pod default/p (pod is not owner)",
        ),
    ],
)
def test_no_node_can_have_a_pod_whose_claims_are_not_ready(found, wanted, why):
    with pytest.raises(NotSchedulableError) as raised:
        found.of(wanted)
    assert str(raised.value) == why


def test_the_text_is_upstreams():
    why = "pod has unbound immediate PersistentVolumeClaims"
    assert not_schedulable(why, 3) == (
        f"0/3 nodes are available: {why}. preemption: 0/3 nodes are available: 3 Preemption is not"
        " helpful for scheduling."
    )


def test_a_pod_goes_where_its_volume_is():
    found = storage(claim(volume="v"), volume("v", on="n1"))
    assert reasons(found, "n1") == ()
    assert reasons(found, "n2") == ("node(s) didn't match PersistentVolume's node affinity",)
    gone = storage(claim(volume="v"))
    why = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
    assert reasons(gone, "n1") == (why,)


def test_a_node_with_a_free_volume_is_chosen_before_one_is_made():
    found = storage(claim(), volume("v", on="n1"), **DELAYED)
    assert [it.metadata.name for it, _ in choice(found, "n1").bound] == ["v"]
    assert [it.metadata.name for it in choice(found, "n2").made] == ["c"]


def test_two_claims_of_a_pod_get_two_volumes():
    found = storage(claim("a"), claim("b"), volume("v", on="n1"), **DELAYED)
    got = choice(found, "n1", "a", "b")
    assert (len(got.bound), len(got.made)) == (1, 1)


def test_a_volume_that_another_pod_gets_is_taken():
    found = storage(claim(), volume("v", on="n1"), **DELAYED)
    other = pod().model_copy(update={"metadata": pod().metadata.model_copy(update={"uid": "o"})})
    found.choose(other, choice(found, "n1"))
    assert choice(found, "n1").bound == ()
    found.release(other)
    assert len(choice(found, "n1").bound) == 1


def test_without_a_provisioner_a_volume_has_to_be_there():
    none = ("node(s) didn't find available persistent volumes to bind",)
    found = storage(claim(), provisioner="kubernetes.io/no-provisioner", **DELAYED)
    assert reasons(found, "n1") == none


def test_a_claim_that_waits_for_its_volume_keeps_its_node():
    asked = claim(annotations={"volume.kubernetes.io/selected-node": "n1"})
    found = storage(asked, **DELAYED)
    assert reasons(found, "n1") == ()
    none = ("node(s) didn't find available persistent volumes to bind",)
    assert reasons(found, "n2") == none
