"""The subresource ephemeralcontainers: it adds containers to a Pod, and nothing else."""

from typing import Any

import pytest

from tests.support.control.requests import CORE, JSON_PATCH, MERGE, STRATEGIC, Api, pod

PODS = f"{CORE}/pods"
DEBUG = {"name": "debug", "image": "busybox", "targetContainerName": "c", "stdin": True}
URL = f"{PODS}/p/ephemeralcontainers"
PATH = "spec.ephemeralContainers"


def patch(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"ephemeralContainers": [*containers]}}


async def test_containers_are_added_and_completed(api: Api):
    made = await api.make(PODS, pod())
    reply = await api("PATCH", URL, patch(DEBUG), STRATEGIC)
    assert reply.code == 200, reply
    (debug,) = reply["spec"]["ephemeralContainers"]
    assert debug["terminationMessagePolicy"] == "File"
    assert debug["imagePullPolicy"] == "Always"
    assert reply["metadata"]["generation"] == made["metadata"]["generation"] + 1
    again = await api("PATCH", URL, patch({"name": "second", "image": "i"}), STRATEGIC)
    assert {it["name"] for it in again["spec"]["ephemeralContainers"]} == {"debug", "second"}
    assert (await api("GET", URL))["spec"] == again["spec"]


async def test_nothing_else_changes(api: Api):
    made = await api.make(PODS, pod())
    more = patch(DEBUG) | {"metadata": {"labels": {"new": "one"}}, "status": {"phase": "Failed"}}
    more["spec"]["activeDeadlineSeconds"] = 5
    reply = await api("PATCH", URL, more, MERGE)
    assert reply.code == 200, reply
    assert reply["metadata"].get("labels") == made["metadata"].get("labels")
    assert reply["status"] == made["status"]
    assert "activeDeadlineSeconds" not in reply["spec"]


async def test_a_put_needs_the_present_version(api: Api):
    made = await api.make(PODS, pod())
    made["spec"]["ephemeralContainers"] = [DEBUG]
    assert (await api("PUT", URL, made)).code == 200
    assert (await api("PUT", URL, made)).code == 409


@pytest.mark.parametrize(
    ("change", "where", "why"),
    [
        ({"name": "c"}, f"{PATH}[0].name", "Duplicate value"),
        ({"targetContainerName": "x"}, f"{PATH}[0].targetContainerName", "Not found"),
        ({"image": ""}, f"{PATH}[0].image", "Required value"),
        ({"ports": [{"containerPort": 80}]}, f"{PATH}[0].Ports", "cannot be set"),
        ({"resources": {"limits": {"cpu": "1"}}}, f"{PATH}[0].Resources", "cannot be set"),
        (
            {"livenessProbe": {"exec": {"command": ["a"]}}},
            f"{PATH}[0].LivenessProbe",
            "cannot be set for an Ephemeral Container",
        ),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}]},
            f"{PATH}[0].volumeMounts[0].subPath",
            "cannot be set for an Ephemeral Container",
        ),
    ],
)
async def test_what_is_refused(api: Api, change: dict[str, Any], where: str, why: str):
    await api.make(PODS, pod(volumes=[{"name": "v", "emptyDir": {}}]))
    reply = await api("PATCH", URL, patch(DEBUG | change), MERGE)
    assert reply.code == 422, reply
    (cause,) = [it for it in reply["details"]["causes"] if it["field"] == where]
    assert why in cause["message"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ([{"op": "remove", "path": "/spec/ephemeralContainers/0"}], "may not be removed"),
        (
            [{"op": "replace", "path": "/spec/ephemeralContainers/0/image", "value": "other"}],
            "may not be changed",
        ),
    ],
)
async def test_what_is_there_stays(api: Api, change: list[dict[str, Any]], why: str):
    await api.make(PODS, pod())
    await api("PATCH", URL, patch(DEBUG), MERGE)
    reply = await api("PATCH", URL, change, JSON_PATCH)
    assert (reply.code, reply["details"]["causes"][0]["field"]) == (422, PATH)
    assert f'existing ephemeral containers "debug" {why}' in reply["message"]


async def test_a_namespaces_level_counts(api: Api):
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    await api.make(PODS, pod())
    await api("PATCH", "/api/v1/namespaces/default", labels, MERGE)
    reply = await api("PATCH", URL, patch(DEBUG | {"securityContext": {"privileged": True}}), MERGE)
    assert (reply.code, reply["reason"]) == (403, "Forbidden")
    assert 'violates PodSecurity "baseline:latest"' in reply["message"]


async def test_only_pods_have_it(api: Api):
    assert (await api("GET", f"{CORE}/configmaps/c/ephemeralcontainers")).code == 404
