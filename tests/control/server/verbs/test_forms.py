"""Kinds that show the objects of another: events.k8s.io/v1 and autoscaling/v1.

Texts and values: kube-apiserver 1.36.2.
"""

import asyncio
import json
from typing import Any

import pytest

from tests.support.control.requests import CORE, MERGE, Api

EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
CORE_EVENTS = f"{CORE}/events"
V1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
V2 = V1.replace("/v1/", "/v2/")
NOW = "2026-11-29T10:00:00.000000Z"
REPORT = {
    "metadata": {"name": "e"},
    "eventTime": NOW,
    "reportingController": "example.com/c",
    "reportingInstance": "c-0",
    "action": "Binding",
    "reason": "Scheduled",
    "regarding": {"kind": "Pod", "name": "p", "namespace": "default", "uid": "u"},
    "note": "done",
    "type": "Normal",
}
KEPT = {
    "eventTime": NOW,
    "reportingComponent": "example.com/c",
    "involvedObject": REPORT["regarding"],
    "message": "done",
    "source": {},
    "firstTimestamp": None,
    "lastTimestamp": None,
}
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
OLD = {
    "metadata": {"name": "old"},
    "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
    "reason": "Started",
    "message": "m",
    "source": {"component": "kubelet", "host": "n"},
    "firstTimestamp": "2026-11-29T10:00:00Z",
    "lastTimestamp": "2026-11-29T10:00:00Z",
    "count": 3,
    "type": "Normal",
}


async def test_an_event_is_one_object_in_both_groups(api: Api):
    made = await api.make(EVENTS, REPORT)
    kept = (await api("GET", f"{CORE_EVENTS}/e")).body
    assert {name: kept.get(name) for name in KEPT} == KEPT
    assert kept["apiVersion"] == "v1"
    assert kept["metadata"] == made["metadata"]
    changed = {"metadata": {"labels": {"a": "b"}}, "count": 4}
    assert (await api("PATCH", f"{CORE_EVENTS}/e", changed, MERGE)).code == 200
    shown = (await api("GET", f"{EVENTS}/e")).body
    assert shown["deprecatedCount"] == 4
    assert (shown["note"], shown["metadata"]["labels"]) == ("done", {"a": "b"})
    old = await api.make(CORE_EVENTS, OLD)
    listed = (await api("GET", EVENTS)).body
    assert (listed["kind"], listed["apiVersion"]) == ("EventList", "events.k8s.io/v1")
    found = next(each for each in listed["items"] if each["metadata"]["name"] == "old")
    assert found["metadata"] == old["metadata"]
    assert found["deprecatedSource"] == OLD["source"]
    assert found["deprecatedFirstTimestamp"] == OLD["firstTimestamp"]
    assert (await api("DELETE", f"{EVENTS}/old")).code == 200
    assert (await api("GET", f"{CORE_EVENTS}/old")).body["message"] == 'events "old" not found'
    assert (await api("GET", f"{EVENTS}/old")).body["message"] == 'events "old" not found'


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"type": "Bad"}, 'type: Invalid value: "": has invalid value: Bad'),
        ({"eventTime": None}, "eventTime: Required value"),
        ({"deprecatedCount": 2}, 'count: Invalid value: "": needs to be unset'),
        ({"deprecatedSource": {"host": "n"}}, 'source: Invalid value: "": needs to be unset'),
        ({"series": {"count": 1, "lastObservedTime": NOW}}, 'series.count: Invalid value: "": '),
        ({"reportingController": ""}, "reportingController: Required value"),
        ({"regarding": {}}, None),
    ],
)
async def test_the_new_group_is_strict(api: Api, changed, why):
    reply = await api("POST", EVENTS, REPORT | changed)
    if why is None:
        assert reply.code == 201, reply
    else:
        assert reply.code == 422
        assert why in reply["message"]


async def test_only_the_series_of_an_event_changes_in_the_new_group(api: Api):
    await api.make(EVENTS, REPORT)
    series = {"series": {"count": 2, "lastObservedTime": NOW}}
    assert (await api("PATCH", f"{EVENTS}/e", series, MERGE)).code == 200
    reply = await api("PATCH", f"{EVENTS}/e", {"note": "other"}, MERGE)
    assert reply.code == 422
    why = 'Event "e" is invalid: message: Invalid value: "other": field is immutable'
    assert reply["message"] == why
    assert (await api("PATCH", f"{CORE_EVENTS}/e", {"message": "x"}, MERGE)).code == 200
    assert (await api("GET", f"{EVENTS}/e"))["series"] == series["series"]


async def test_selectors_and_watches_use_the_names_of_the_group(api: Api):
    await api.make(EVENTS, REPORT)
    await api.make(CORE_EVENTS, OLD)
    selector = "fieldSelector=regarding.kind%3DPod,reportingController%3Dexample.com/c"
    items = (await api("GET", f"{EVENTS}?{selector}"))["items"]
    assert [each["metadata"]["name"] for each in items] == ["e"]
    wrong = await api("GET", f"{EVENTS}?fieldSelector=involvedObject.kind%3DPod")
    assert (wrong.code, wrong["message"]) == (
        400,
        "field label not supported: involvedObject.kind",
    )
    start = (await api("GET", EVENTS))["metadata"]["resourceVersion"]
    watch = f"{EVENTS}?watch=1&resourceVersion={start}&fieldSelector=reason%3DStarted"
    async with api.session.get(watch) as events:
        await api("PATCH", f"{CORE_EVENTS}/e", {"count": 2}, MERGE)
        await api("PATCH", f"{CORE_EVENTS}/old", {"count": 4}, MERGE)
        event = json.loads(await asyncio.wait_for(events.content.readline(), 60))
    assert event["type"] == "MODIFIED"
    assert (event["object"]["apiVersion"], event["object"]["deprecatedCount"]) == (
        "events.k8s.io/v1",
        4,
    )


async def test_managers_keep_the_names_of_their_group(api: Api):
    await api.make(f"{CORE_EVENTS}?fieldManager=one", OLD)
    labels = {"metadata": {"labels": {"a": "b"}}}
    reply = await api("PATCH", f"{EVENTS}/old?fieldManager=two", labels, MERGE)
    assert reply.code == 200, reply
    await api("PATCH", f"{CORE_EVENTS}/old?fieldManager=three", {"message": "n"}, MERGE)
    entries = (await api("GET", f"{EVENTS}/old"))["metadata"]["managedFields"]
    held = {each["manager"]: each for each in entries}
    assert {name: each["apiVersion"] for name, each in held.items()} == {
        "one": "v1",
        "two": "events.k8s.io/v1",
        "three": "v1",
    }
    assert "f:message" not in held["one"]["fieldsV1"]
    assert held["three"]["fieldsV1"] == {"f:message": {}}
    assert held["two"]["fieldsV1"] == {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}


async def test_an_apply_in_one_version_meets_managers_of_the_other(api: Api):
    wanted = {"scaleTargetRef": TARGET, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    applied = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "a"},
        "spec": wanted,
    }
    media = "application/apply-patch+yaml"
    reply = await api("PATCH", f"{V1}/a?fieldManager=one", applied, media)
    assert reply.code == 201, reply
    reply = await api("PATCH", f"{V2}/a?fieldManager=two", {"spec": {"maxReplicas": 5}}, MERGE)
    assert reply.code == 200, reply
    reply = await api("PATCH", f"{V1}/a?fieldManager=one", applied, media)
    assert reply["message"] == (
        'Apply failed with 1 conflict: conflict with "two" using autoscaling/v2: .spec.maxReplicas'
    )
    less = applied | {
        "apiVersion": "autoscaling/v2",
        "spec": {"scaleTargetRef": TARGET, "maxReplicas": 5, "minReplicas": 2},
    }
    reply = await api("PATCH", f"{V2}/a?fieldManager=one", less, media)
    assert reply.code == 200, reply
    assert reply["spec"]["minReplicas"] == 2
    # Nobody applies a target any more: the default is back.
    assert reply["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 80


MEMORY = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
}
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
}
OTHERS = [
    MEMORY,
    {
        "type": "Pods",
        "pods": {
            "metric": {"name": "m", "selector": {"matchLabels": {"a": "b"}}},
            "target": {"type": "AverageValue", "averageValue": "5"},
        },
    },
    {
        "type": "Object",
        "object": {
            "metric": {"name": "m"},
            "describedObject": TARGET,
            "target": {"type": "Value", "value": "5"},
        },
    },
    {
        "type": "External",
        "external": {
            "metric": {"name": "m"},
            "target": {"type": "AverageValue", "averageValue": "5"},
        },
    },
    {
        "type": "ContainerResource",
        "containerResource": {
            "name": "cpu",
            "container": "c",
            "target": {"type": "Utilization", "averageUtilization": 5},
        },
    },
]


async def autoscaler(api: Api) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make an autoscaler with a status by version 2; return it as both versions show it."""
    spec = {
        "scaleTargetRef": TARGET,
        "maxReplicas": 3,
        "metrics": [*OTHERS, CPU],
        "behavior": {"scaleUp": {"stabilizationWindowSeconds": 7}},
    }
    await api.make(V2, {"metadata": {"name": "a"}, "spec": spec})
    current = {"name": "cpu", "current": {"averageUtilization": 9, "averageValue": "1"}}
    able = {"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-11-29T10:00:00Z"}
    status = {
        "currentReplicas": 1,
        "desiredReplicas": 2,
        "currentMetrics": [{"type": "Resource", "resource": current}],
        "conditions": [able],
    }
    reply = await api("PATCH", f"{V2}/a/status", {"status": status}, MERGE)
    assert reply.code == 200, reply
    assert reply["spec"]["metrics"] == spec["metrics"]
    return (await api("GET", f"{V1}/a")).body, reply.body


async def test_an_autoscaler_of_v1_has_the_rest_of_v2_in_annotations(api: Api):
    shown, _ = await autoscaler(api)
    assert shown["apiVersion"] == "autoscaling/v1"
    assert shown["spec"] == {
        "scaleTargetRef": TARGET,
        "minReplicas": 1,
        "maxReplicas": 3,
        "targetCPUUtilizationPercentage": 60,
    }
    assert shown["status"] == {
        "currentReplicas": 1,
        "desiredReplicas": 2,
        "currentCPUUtilizationPercentage": 9,
    }
    said = {
        name.rpartition("/")[2]: json.loads(text)
        for name, text in shown["metadata"]["annotations"].items()
    }
    assert said["metrics"][0] == {
        "type": "Resource",
        "resource": {"name": "memory", "targetAverageValue": "1Gi"},
    }
    assert said["behavior"]["ScaleUp"]["StabilizationWindowSeconds"] == 7
    assert said["behavior"]["ScaleDown"]["SelectPolicy"] == "Max"
    assert said["current-metrics"][0]["resource"]["currentAverageUtilization"] == 9
    assert said["conditions"][0]["type"] == "AbleToScale"


async def test_a_client_of_v1_that_writes_back_what_it_has_read_changes_nothing(api: Api):
    shown, kept = await autoscaler(api)
    back = await api("PUT", f"{V1}/a", shown)
    assert back.code == 200, back
    assert back.body == shown
    assert (await api("GET", f"{V2}/a")).body == kept


async def test_a_status_of_v1_changes_no_spec_whatever_its_annotations_say(api: Api):
    shown, kept = await autoscaler(api)
    broken = {name: "[" for name in shown["metadata"]["annotations"]}
    later = shown | {"status": shown["status"] | {"desiredReplicas": 3}}
    later["metadata"] = shown["metadata"] | {"annotations": broken}
    later["metadata"].pop("resourceVersion")
    assert (await api("PUT", f"{V1}/a/status", later)).code == 200
    assert (await api("GET", f"{V2}/a"))["spec"] == kept["spec"]


async def test_an_autoscaler_of_v1_without_a_target_gets_the_default(api: Api):
    spec = {"scaleTargetRef": TARGET, "maxReplicas": 3}
    made = await api.make(V1, {"metadata": {"name": "a"}, "spec": spec})
    assert made["spec"] == spec | {"minReplicas": 1, "targetCPUUtilizationPercentage": 80}
    wrong = await api("PATCH", f"{V1}/a", {"spec": {"maxReplicas": 0}}, MERGE)
    assert wrong.code == 422
    assert "spec.maxReplicas: Required value: must be set and greater than 0" in wrong["message"]
    wrong = await api("PATCH", f"{V1}/a", {"spec": {"maxReplica": 1}}, MERGE)
    assert "spec.maxReplica" in wrong.warnings[0]


async def test_kubectl_shows_events_of_both_groups_alike(kubectl):
    old = OLD | {"apiVersion": "v1", "kind": "Event"}
    await kubectl("create", "-f", "-", stdin=json.dumps(old))
    core = await kubectl("get", "events", "-o", "wide")
    new = await kubectl("get", "events.events.k8s.io", "-o", "wide")
    assert [line.split()[1:] for line in new.splitlines()] == [
        line.split()[1:] for line in core.splitlines()
    ]
    assert "pod/p" in core
    said = await kubectl("describe", "events.events.k8s.io", "old")
    assert "events.k8s.io/v1" in said
