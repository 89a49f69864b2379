"""Priority classes: what they write into Pods, and which classes are refused."""

from typing import Any

import pytest

from tests.support.control.requests import CORE, MERGE, Api, pod

CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
PODS = f"{CORE}/pods"


def of(name: str, value: int, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "value": value} | more


def written(made: dict[str, Any]) -> tuple[Any, Any, Any]:
    spec = made["spec"]
    return spec.get("priorityClassName"), spec["priority"], spec["preemptionPolicy"]


async def test_the_systems_classes_are_there(api: Api):
    found = (await api("GET", CLASSES))["items"]
    assert {it["metadata"]["name"]: it["value"] for it in found} == {
        "system-cluster-critical": 2_000_000_000,
        "system-node-critical": 2_000_001_000,
    }


async def test_a_pod_gets_the_priority_of_its_class(api: Api):
    await api.make(CLASSES, of("batch", -5, preemptionPolicy="Never"))
    made = await api.make(PODS, pod(priorityClassName="batch"))
    assert written(made) == ("batch", -5, "Never")
    wrong = await api("POST", PODS, pod("q", priorityClassName="batch", priority=3))
    assert (wrong.code, "(3) must not be provided" in wrong["message"]) == (403, True)


async def test_a_default_class_is_for_pods_that_name_none(api: Api):
    assert written(await api.make(PODS, pod("before"))) == (None, 0, "PreemptLowerPriority")
    await api.make(CLASSES, of("usual", 100, globalDefault=True))
    assert written(await api.make(PODS, pod("after")))[:2] == ("usual", 100)
    assert written((await api("GET", f"{PODS}/before")).body)[:2] == (None, 0)
    second = await api("POST", CLASSES, of("other", 7, globalDefault=True))
    assert second.code == 403
    assert second["message"].endswith(
        "PriorityClass usual is already marked as default. Only one default can exist"
    )
    await api.make(CLASSES, of("other", 7))
    changed = {"globalDefault": True}
    assert (await api("PATCH", f"{CLASSES}/other", changed, MERGE)).code == 403
    assert (await api("PATCH", f"{CLASSES}/usual", changed, MERGE)).code == 200


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (of("a", 1_000_000_001), "maximum allowed value of a user defined priority is 1000000000"),
        (of("system-mine", 1), "system-mine is not a known system priority class"),
        (of("a", 1, preemptionPolicy="Maybe"), 'Unsupported value: "Maybe"'),
    ],
)
async def test_classes_that_are_refused(api: Api, wanted: dict[str, Any], message: str):
    reply = await api("POST", CLASSES, wanted)
    assert (reply.code, message in reply["message"]) == (422, True)


async def test_the_value_of_a_class_stays(api: Api):
    await api.make(CLASSES, of("a", 1))
    reply = await api("PATCH", f"{CLASSES}/a", {"value": 2}, MERGE)
    assert reply.code == 422 and "value: Forbidden: may not be changed" in reply["message"]


async def test_a_large_pod_gets_the_default_class_too(api: Api):
    """A worker computes it, which does not see all objects."""
    await api.make(CLASSES, of("usual", 100, globalDefault=True))
    env = [{"name": f"V{at}", "value": "x" * 50} for at in range(4000)]
    container = {"name": "c", "image": "i", "env": env}
    made = await api.make(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [container]}})
    assert written(made) == ("usual", 100, "PreemptLowerPriority")
