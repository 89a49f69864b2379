"""Kinds that podwire stores: each verb, upstream's types, columns and status."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from control.api.columns.table import columns_of
from control.api.definitions.table import definition, type_name
from control.api.kind import Kind
from control.api.kinds import KINDS
from control.api.rules import rules_of
from control.api.stored import STORED
from control.server.wire.decode import read
from tests.support.control.objects import VALID
from tests.support.control.requests import MERGE, Api

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
BY_NAME = {kind.name: kind for kind in KINDS}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OBJECT: dict[str, Any] = {"metadata": {"name": "a", "labels": {"app": "web"}}}


def name_of(kind: Kind) -> str:
    """Return the name of a kind's smallest object."""
    return {"IPAddress": "192.0.2.1", "APIService": "v1.a.example"}.get(kind.name, "a")


_SAID = ("APIService", "FlowSchema")


def smallest(kind: Kind, **metadata: Any) -> dict[str, Any]:
    """Return the smallest valid object of a kind."""
    given = {"name": name_of(kind), **metadata}
    return {"metadata": given} | {
        k: v for k, v in VALID.get(kind.name, {}).items() if k != "metadata"
    }


def place(kind: Kind, name: str = "", sub: str = "") -> str:
    return kind.path("default", name or None, sub)


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.name)
async def test_an_object_is_made_read_changed_and_deleted(api: Api, kind: Kind):
    name = name_of(kind)
    made = await api.make(place(kind), smallest(kind, labels={"app": "web"}))
    if kind.name == "FlowSchema":  # the server says at once whether its level is there
        async with asyncio.timeout(10):
            while not (made.get("status") or {}).get("conditions"):
                await asyncio.sleep(0.01)
                made = (await api("GET", place(kind, name))).body
    assert (made["kind"], made["apiVersion"]) == (kind.name, kind.api_version)
    rules = rules_of(kind)
    assert ("generation" in made["metadata"]) == (rules.generation and rules.born_numbered)
    assert (await api("GET", place(kind, name))).body == made
    for selector, count in (("labelSelector=app%3Dweb", 1), ("fieldSelector=metadata.name%3Db", 0)):
        listed = await api("GET", f"{place(kind)}?{selector}")
        assert (listed["kind"], len(listed["items"])) == (f"{kind.name}List", count)
    patched = await api("PATCH", place(kind, name), {"metadata": {"labels": {"b": "c"}}}, MERGE)
    assert patched["metadata"]["labels"] == {"app": "web", "b": "c"}
    assert (await api("PUT", place(kind, name), patched.body)).code == 200
    table = await api("GET", f"{place(kind)}?labelSelector=b%3Dc", Accept=TABLE)
    (row,) = table["rows"]
    assert len(row["cells"]) == len(table["columnDefinitions"])
    assert row["cells"][0] == name
    assert (await api("DELETE", place(kind, name))).code == 200
    assert (await api("GET", place(kind, name))).code == 404


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.name)
async def test_wrong_types_and_unknown_fields_are_refused(api: Api, kind: Kind):
    wrong = smallest(kind, labels=[])
    refused = await api("POST", place(kind), wrong)
    assert (refused.code, "cannot unmarshal array" in refused["message"]) == (400, True)
    unknown = smallest(kind) | {"nonsense": 1}
    refused = await api("POST", f"{place(kind)}?fieldValidation=Strict", unknown)
    assert (refused.code, 'unknown field "nonsense"' in refused["message"]) == (400, True)
    warned = await api("POST", f"{place(kind)}?dryRun=All", unknown)
    assert (warned.code, len(warned.warnings)) == (201, 1)


@pytest.mark.parametrize(
    "kind",
    # What the server itself says in a status is in the tests of aggregation and of fairness.
    [kind for kind in STORED if "status" in kind.subresources and kind.name not in _SAID],
    ids=lambda kind: kind.name,
)
async def test_the_status_is_written_only_through_its_subresource(api: Api, kind: Kind):
    status = {"conditions": [{"type": "T", "status": "True"}]}
    fields = definition(type_name(kind.group, kind.version, kind.name)).fields
    if "conditions" not in definition(fields["status"].type).fields:
        status = {}
    made = await api.make(place(kind), smallest(kind) | {"status": status})
    assert "conditions" not in (made["status"] or {})
    written = await api("PUT", place(kind, "a", "status"), made | {"status": status})
    assert written.code == 200
    found = (await api("GET", place(kind, "a", "status")))["status"]
    assert [item["type"] for item in found.get("conditions", [])] == ["T"] * bool(status)


@pytest.mark.parametrize("name", ["StatefulSet", "ReplicationController"])
async def test_workloads_have_a_scale(api: Api, name: str):
    kind = BY_NAME[name]
    labels = {"app": "web"}
    selector = {"matchLabels": labels} if name == "StatefulSet" else labels
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    await api.make(place(kind), OBJECT | {"spec": {"selector": selector, "template": template}})
    scale = (await api("GET", place(kind, "a", "scale"))).body
    assert (scale["spec"], scale["status"]["selector"]) == ({"replicas": 1}, "app=web")
    scale["spec"]["replicas"] = 3
    assert (await api("PUT", place(kind, "a", "scale"), scale)).code == 200
    assert (await api("GET", place(kind, "a")))["spec"]["replicas"] == 3


SCALE_UP = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
SCALE_DOWN = {
    "selectPolicy": "Disabled",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}
LENGTH = {"queueLengthLimit": 50}
CONTAINER_LIMITS = {
    "type": "Container",
    "max": {"cpu": "2"},
    "min": {"memory": "1"},
    "default": {"cpu": "2"},
    "defaultRequest": {"cpu": "2", "memory": "1"},
}
ONE_DEVICE = {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}


@pytest.mark.parametrize(
    ("name", "given", "made"),
    [
        ("Job", {}, {"completions": 1, "parallelism": 1, "backoffLimit": 6, "suspend": False}),
        ("Job", {"parallelism": 2}, {"parallelism": 2, "completionMode": "NonIndexed"}),
        ("CronJob", {}, {"concurrencyPolicy": "Allow", "failedJobsHistoryLimit": 1}),
        ("Job", {"backoffLimitPerIndex": 1}, {"backoffLimit": 2147483647}),
        ("StatefulSet", {}, {"replicas": 1, "podManagementPolicy": "OrderedReady"}),
        (
            "StatefulSet",
            {},
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}},
        ),
        (
            "StatefulSet",
            {"updateStrategy": {"type": "RollingUpdate"}},
            {"updateStrategy": {"type": "RollingUpdate"}},
        ),
        ("PersistentVolume", {}, {"persistentVolumeReclaimPolicy": "Retain"}),
        (
            "PersistentVolume",
            {"hostPath": {"path": "/a"}},
            {"hostPath": {"path": "/a", "type": ""}},
        ),
        ("PersistentVolumeClaim", {}, {"volumeMode": "Filesystem"}),
        ("NetworkPolicy", {"egress": [{}]}, {"policyTypes": ["Ingress", "Egress"]}),
        ("HorizontalPodAutoscaler", {}, {"minReplicas": 1}),
        (
            "HorizontalPodAutoscaler",
            {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}},
            {"behavior": {"scaleUp": SCALE_UP, "scaleDown": SCALE_DOWN}},
        ),
        ("CSIDriver", {"attachRequired": False}, {"attachRequired": False}),
        ("FlowSchema", {}, {"matchingPrecedence": 1000}),
        (
            "PriorityLevelConfiguration",
            {"limited": {"limitResponse": {"queuing": {"queues": 3}}}},
            {
                "limited": {
                    "nominalConcurrencyShares": 30,
                    "lendablePercent": 0,
                    "limitResponse": {"queuing": {"queues": 3, "handSize": 8} | LENGTH}
                    | {"type": ""},
                }
            },
        ),
        (
            "IngressClass",
            {"parameters": {"kind": "K", "name": "n"}},
            {"parameters": {"kind": "K", "name": "n", "scope": "Cluster"}},
        ),
        (
            "LimitRange",
            {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1"}}]},
            {"limits": [CONTAINER_LIMITS]},
        ),
        (
            "ResourceClaim",
            {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}},
            {"devices": {"requests": [{"name": "r", "exactly": ONE_DEVICE}]}},
        ),
    ],
)
def test_objects_get_upstreams_defaults(name: str, given: dict[str, Any], made: dict[str, Any]):
    kind = BY_NAME[name]
    found = rules_of(kind).default(read(kind, OBJECT | {"spec": given})[0])["spec"]
    assert {key: found.get(key) for key in made} == made
    again = rules_of(kind).default(read(kind, OBJECT | {"spec": found})[0])["spec"]
    assert again == found


POD = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
BEGUN = {"startTime": "2025-12-31T23:59:00Z"}
DONE = BEGUN | {"succeeded": 1, "completionTime": "2025-12-31T23:59:30Z"}


def holds(condition: str) -> dict[str, Any]:
    return {"conditions": [{"type": condition, "status": "True"}]}


@pytest.mark.parametrize(
    ("name", "fields", "shown"),
    [
        (
            "Job",
            {"spec": {"completions": 1, "template": POD}, "status": DONE | holds("Complete")},
            {"Status": "Complete", "Completions": "1/1", "Duration": "30s", "Images": "i"},
        ),
        (
            "Job",
            {"spec": {"parallelism": 3}, "status": BEGUN},
            {"Status": "Running", "Completions": "0/1 of 3", "Duration": "60s"},
        ),
        (
            "CronJob",
            {"spec": {"schedule": "@daily", "suspend": False}, "status": {"active": [{}]}},
            {"Schedule": "@daily", "Timezone": "<none>", "Suspend": "False", "Active": 1},
        ),
        (
            "StatefulSet",
            {"spec": {"replicas": 3, "template": POD}, "status": {"readyReplicas": 2}},
            {"Ready": "2/3", "Containers": "c"},
        ),
        (
            "PersistentVolumeClaim",
            {
                "spec": {"volumeName": "v", "storageClassName": "fast"},
                "status": {
                    "phase": "Bound",
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                },
            },
            {"Status": "Bound", "Capacity": "1Gi", "Access Modes": "RWO", "StorageClass": "fast"},
        ),
        (
            "PersistentVolume",
            {"spec": {"claimRef": {"namespace": "n", "name": "c"}, "capacity": {"storage": "1Gi"}}},
            {"Claim": "n/c", "Capacity": "1Gi", "VolumeAttributesClass": "<unset>"},
        ),
        (
            "Ingress",
            {
                "spec": {"rules": [{"host": "a"}, {"host": "b"}], "tls": [{}]},
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
            },
            {"Class": "<none>", "Hosts": "a,b", "Ports": "80, 443", "Address": "192.0.2.1"},
        ),
        ("Ingress", {"spec": {"rules": [{}]}}, {"Hosts": "*", "Ports": "80"}),
        (
            "NetworkPolicy",
            {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}},
            {"Pod-Selector": "a=b"},
        ),
        (
            "PodDisruptionBudget",
            {"spec": {"minAvailable": "50%"}},
            {"Min Available": "50%", "Max Unavailable": "N/A", "Allowed Disruptions": 0},
        ),
        (
            "ResourceQuota",
            {"status": {"hard": {"pods": "3", "limits.cpu": "2"}, "used": {"pods": "1"}}},
            {"Request": "pods: 1/3", "Limit": "limits.cpu: 0/2"},
        ),
        (
            "HorizontalPodAutoscaler",
            {
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "d"},
                    "maxReplicas": 5,
                    "metrics": [
                        {
                            "type": "Resource",
                            "resource": {"name": "cpu", "target": {"averageUtilization": 80}},
                        }
                    ],
                }
            },
            {"Reference": "Deployment/d", "Targets": "cpu: <unknown>/80%", "MaxPods": 5},
        ),
        (
            "CertificateSigningRequest",
            {"spec": {"signerName": "s"}, "status": holds("Approved") | {"certificate": "YQ=="}},
            {"SignerName": "s", "Condition": "Approved,Issued", "RequestedDuration": "<none>"},
        ),
        (
            "StorageClass",
            {"provisioner": "p", "volumeBindingMode": "Immediate"},
            {"Provisioner": "p", "AllowVolumeExpansion": False},
        ),
        (
            "IPAddress",
            {"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}},
            {"ParentRef": "services/n/s"},
        ),
        ("APIService", {"spec": {}}, {"Service": "Local", "Available": "Unknown"}),
        ("PriorityClass", {"value": 7}, {"Value": 7, "Global-Default": False}),
        (
            "PriorityLevelConfiguration",
            {"spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0}}},
            {"Type": "Exempt", "NominalConcurrencyShares": "<none>"},
        ),
        ("CSIStorageCapacity", {}, {"Created At": "2025-12-31T00:00:00Z"}),
        (
            "ResourceClaim",
            {"status": {"allocation": {}, "reservedFor": [{}]}},
            {"State": "allocated,reserved"},
        ),
        ("LimitRange", {}, {"Created At": "2025-12-31T00:00:00Z"}),
    ],
)
def test_columns_are_upstreams(name: str, fields: dict[str, Any], shown: dict[str, Any]):
    columns = columns_of(BY_NAME[name])
    metadata = {"name": "a", "creationTimestamp": "2025-12-31T00:00:00Z"}
    cells = columns.cells({"metadata": metadata} | fields, NOW)
    found = dict(zip((column.name for column in columns.columns), cells, strict=True))
    assert {header: found[header] for header in shown} == shown


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("PriorityClass", ["Name", "Value", "Global-Default", "Age", "PreemptionPolicy"]),
        ("CSIStorageCapacity", ["Name", "Created At"]),
        ("IPAddress", ["Name", "ParentRef"]),
    ],
)
def test_columns_stand_where_upstreams_do(name: str, headers: list[str]):
    assert [column.name for column in columns_of(BY_NAME[name]).columns] == headers


def test_a_job_takes_the_labels_of_its_template():
    default = rules_of(BY_NAME["Job"]).default
    job = {"metadata": {}, "spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}
    assert default(job)["metadata"] == {"labels": {"a": "b"}}
    named = job | {"metadata": {"labels": {"mine": "1"}}}
    assert default(named)["metadata"] == {"labels": {"mine": "1"}}


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.name)
async def test_stored_kinds_are_applied_on_the_server(api: Api, kind: Kind):
    given = {"apiVersion": kind.api_version, "kind": kind.name, **smallest(kind)}
    path = f"{place(kind, name_of(kind))}?fieldManager=me"
    made = await api("PATCH", path, with_label(given, "1"), "application/apply-patch+yaml")
    assert made.code == 201
    changed = await api("PATCH", path, with_label(given, "2"), "application/apply-patch+yaml")
    assert (changed.code, changed["metadata"]["labels"]["l"]) == (200, "2")
    every = changed["metadata"]["managedFields"]
    (entry,) = [each for each in every if each.get("subresource") != "status"]
    assert entry["fieldsV1"]["f:metadata"] == {"f:labels": {"f:l": {}}}


def with_label(given: dict[str, Any], value: str) -> dict[str, Any]:
    return given | {"metadata": given["metadata"] | {"labels": {"l": value}}}
