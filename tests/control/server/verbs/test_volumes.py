"""Claims, volumes and classes as the API server takes them: what it sets, and what it refuses."""

from typing import Any

import pytest

from tests.support.control.requests import CORE, MERGE, Api

CLAIMS, VOLUMES = f"{CORE}/persistentvolumeclaims", "/api/v1/persistentvolumes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
ONCE = ["ReadWriteOnce"]


def claim(name: str = "c", **spec: Any) -> dict[str, Any]:
    base = {"accessModes": ONCE, "resources": {"requests": {"storage": "1Gi"}}}
    return {"metadata": {"name": name}, "spec": base | spec}


def volume(name: str = "v", **spec: Any) -> dict[str, Any]:
    base = {"capacity": {"storage": "1Gi"}, "accessModes": ONCE}
    source = spec or {"hostPath": {"path": "/d"}}
    return {"metadata": {"name": name}, "spec": base | source}


def storage_class(name: str = "fast", default: str = "true", **rest: Any) -> dict[str, Any]:
    marks = {"storageclass.kubernetes.io/is-default-class": default}
    metadata = {"name": name, "annotations": marks}
    return {"metadata": metadata, "provisioner": "example.com/disks"} | rest


async def test_new_objects_are_protected_and_get_the_default_class(api: Api):
    await api.make(CLASSES, storage_class())
    await api.make(CLASSES, storage_class("slow", default="false"))
    made = await api.make(CLAIMS, claim())
    assert made["spec"]["storageClassName"] == "fast"
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    none = await api.make(CLAIMS, claim("none", storageClassName=""))
    assert none["spec"]["storageClassName"] == ""
    held = await api.make(VOLUMES, volume())
    assert held["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        (VOLUMES, volume(claimRef={}), "spec: Required value: must specify a volume type"),
        (
            VOLUMES,
            volume(hostPath={"path": "/d"}, nfs={"server": "s", "path": "/"}),
            "may not specify more than 1 volume type",
        ),
        (VOLUMES, volume(local={"path": "/d"}), "Local volume requires node affinity"),
        (VOLUMES, volume(hostPath={"path": "/../d"}), "must not contain '..'"),
        (VOLUMES, volume(hostPath={"path": "/d"}, capacity={}), "spec.capacity: Required value"),
        (
            VOLUMES,
            volume(csi={"driver": "", "volumeHandle": ""}),
            "[spec.csi.driver: Required value, spec.csi.volumeHandle: Required value]",
        ),
        (CLAIMS, claim(accessModes=[]), "at least 1 access mode is required"),
        (CLAIMS, claim(resources={}), "spec.resources[storage]: Required value"),
        (CLASSES, storage_class(provisioner=""), "provisioner: Required value"),
        (CLASSES, storage_class(reclaimPolicy="Recycle"), 'Unsupported value: "Recycle"'),
        (CLASSES, storage_class(volumeBindingMode="Later"), 'Unsupported value: "Later"'),
    ],
)
async def test_wrong_values_are_refused(api: Api, path: str, body: dict[str, Any], why: str):
    reply = await api("POST", path, body)
    assert (reply.code, reply["reason"]) == (422, "Invalid")
    assert why in reply["message"]


async def test_what_is_no_quantity_is_refused(api: Api):
    await api.make(CLAIMS, claim())
    bad = {"spec": {"resources": {"requests": {"storage": "much"}}}}
    assert (await api("PATCH", f"{CLAIMS}/c", bad, MERGE)).code in (400, 422)
    body = volume(hostPath={"path": "/d"}, capacity={"storage": "much"})
    assert (await api("POST", VOLUMES, body)).code in (400, 422)


async def test_a_claim_stays_as_it_is_and_grows_where_its_class_lets_it(api: Api):
    await api.make(CLASSES, storage_class())
    await api.make(CLAIMS, claim())
    bigger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    reply = await api("PATCH", f"{CLAIMS}/c", bigger, MERGE)
    assert "Only bound persistent volume claims can be expanded" in reply["message"]
    await api("PATCH", f"{CLAIMS}/c/status", {"status": {"phase": "Bound"}}, MERGE)
    reply = await api("PATCH", f"{CLAIMS}/c", bigger, MERGE)
    assert "the storageclass that provisions the pvc must support resize" in reply["message"]
    await api("PATCH", f"{CLASSES}/fast", {"allowVolumeExpansion": True}, MERGE)
    assert (await api("PATCH", f"{CLAIMS}/c", bigger, MERGE)).code == 200
    reply = await api("PATCH", f"{CLAIMS}/c", {"spec": {"accessModes": ["ReadWriteMany"]}}, MERGE)
    assert "spec is immutable after creation" in reply["message"]


async def test_a_volumes_source_and_a_classs_provisioner_stay(api: Api):
    await api.make(VOLUMES, volume())
    await api.make(CLASSES, storage_class())
    reply = await api("PATCH", f"{VOLUMES}/v", {"spec": {"hostPath": {"path": "/e"}}}, MERGE)
    assert "spec.persistentvolumesource is immutable after creation" in reply["message"]
    reply = await api("PATCH", f"{CLASSES}/fast", {"provisioner": "example.com/other"}, MERGE)
    assert "updates to provisioner are forbidden." in reply["message"]
