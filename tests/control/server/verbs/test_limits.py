"""LimitRanges: their own validation, and what they set and refuse."""

from typing import Any

import pytest

from tests.support.control.requests import CORE, MERGE, Api, pod

PODS, RANGES, CLAIMS = (f"{CORE}/{it}" for it in ("pods", "limitranges", "persistentvolumeclaims"))
NOTE = "kubernetes.io/limit-ranger"


def limit_range(*limits: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "l"}, "spec": {"limits": [*limits]}}


def resources(requests: dict[str, str], limits: dict[str, str]) -> dict[str, Any]:
    return {"resources": {"requests": requests, "limits": limits}}


def with_containers(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    named = [{"name": f"c{at}", "image": "i"} | it for at, it in enumerate(containers)]
    return {"metadata": {"name": "p"}, "spec": {"containers": named} | spec}


async def test_defaults_are_set_and_told(api: Api):
    both = {"default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "500m"}}
    await api.make(RANGES, limit_range({"type": "Container"} | both))
    init = [{"name": "i", "image": "i"}]
    made = await api.make(PODS, with_containers(resources({}, {"cpu": "2"}), initContainers=init))
    (container,) = made["spec"]["containers"]
    assert container["resources"] == {
        "limits": {"cpu": "2", "memory": "1Gi"},
        "requests": {"cpu": "2", "memory": "1Gi"},
    }
    assert made["spec"]["initContainers"][0]["resources"]["requests"]["cpu"] == "500m"
    assert made["metadata"]["annotations"][NOTE] == (
        "LimitRanger plugin set: memory request for container c0; memory limit for container c0;"
        " cpu, memory request for init container i; cpu, memory limit for init container i"
    )
    assert made["status"]["qosClass"] == "Burstable"


async def test_a_pod_of_defaults_is_guaranteed(api: Api):
    await api.make(RANGES, limit_range({"type": "Container", "max": {"cpu": "1", "memory": "1Gi"}}))
    assert (await api.make(PODS, pod()))["status"]["qosClass"] == "Guaranteed"


MINIMUM = {"type": "Container", "min": {"cpu": "100m"}}
MAXIMUM = {"type": "Container", "max": {"cpu": "1"}}
WHOLE = {"type": "Pod", "max": {"memory": "1Gi"}}
RATIO = {"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}
SIDECAR = {"name": "s", "image": "i", "restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("limit", "given", "why"),
    [
        (
            MINIMUM,
            with_containers(resources({"cpu": "50m"}, {})),
            "minimum cpu usage per Container is 100m, but request is 50m",
        ),
        (
            MAXIMUM,
            with_containers(resources({}, {"cpu": "2"})),
            "maximum cpu usage per Container is 1, but limit is 2",
        ),
        (
            MAXIMUM,
            with_containers(resources({"cpu": "3"}, {"cpu": "2"}), resources({}, {"cpu": "4"})),
            "[maximum cpu usage per Container is 1, but limit is 2,"
            " maximum cpu usage per Container is 1, but limit is 4]",
        ),
        (
            WHOLE,
            with_containers({}),
            "maximum memory usage per Pod is 1Gi.  No limit is specified",
        ),
        (
            WHOLE,
            with_containers(
                resources({}, {"memory": "600Mi"}),
                initContainers=[SIDECAR | resources({}, {"memory": "600Mi"})],
            ),
            "maximum memory usage per Pod is 1Gi, but limit is 1200Mi",
        ),
        (
            RATIO,
            with_containers(resources({"cpu": "1"}, {"cpu": "3"})),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        (
            RATIO,
            with_containers({}),
            "cpu max limit to request ratio per Container is 2, but no request is specified or"
            " request is 0",
        ),
    ],
)
async def test_pods_beyond_the_limits_are_refused(
    api: Api, limit: dict[str, Any], given: dict[str, Any], why: str
):
    await api.make(RANGES, limit_range(limit))
    reply = await api("POST", PODS, given)
    assert (reply.code, reply["message"]) == (403, f'pods "p" is forbidden: {why}')
    other = await api("POST", "/api/v1/namespaces/kube-public/pods", given)
    assert other.code != 403, other


async def test_an_init_container_may_take_what_others_take_later(api: Api):
    await api.make(RANGES, limit_range(WHOLE))
    big = resources({}, {"memory": "1Gi"})
    await api.make(PODS, with_containers(big, initContainers=[{"name": "i", "image": "i"} | big]))


async def test_a_large_pod_is_held_to_them_too(api: Api):
    """It is computed by a worker, which does not see all objects."""
    await api.make(RANGES, limit_range(MAXIMUM))
    env = [{"name": f"V{at}", "value": "x" * 50} for at in range(4000)]
    reply = await api("POST", PODS, with_containers(resources({}, {"cpu": "2"}) | {"env": env}))
    assert (reply.code, reply["reason"]) == (403, "Forbidden")
    made = await api.make(PODS, with_containers({"env": env}))
    assert made["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1"}


async def test_a_claim_and_its_growth_are_held_to_them(api: Api):
    ends = {"min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}
    await api.make(RANGES, limit_range({"type": "PersistentVolumeClaim"} | ends))
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}}
    reply = await api("POST", CLAIMS, {"metadata": {"name": "c"}, "spec": spec})
    why = "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"
    assert (reply.code, reply["message"]) == (
        403,
        f'persistentvolumeclaims "c" is forbidden: {why}',
    )
    spec["resources"] = {"requests": {"storage": "1Gi"}}
    await api.make(CLAIMS, {"metadata": {"name": "c"}, "spec": spec})
    grow = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    assert (await api("PATCH", f"{CLAIMS}/c", grow, MERGE)).code == 403
    assert (await api("PATCH", f"{CLAIMS}/c", {"metadata": {"labels": {}}}, MERGE)).code == 200


@pytest.mark.parametrize(
    ("limits", "where", "why"),
    [
        ([{"type": "Node"}], "[0].type", "must be a standard limit type or fully qualified"),
        ([MINIMUM, MAXIMUM], "[1].type", "Duplicate value"),
        (
            [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}],
            "[0].min[cpu]",
            "min value 2 is greater than max value 1",
        ),
        (
            [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}],
            "[0].defaultRequest[cpu]",
            "default request value 2 is greater than default limit value 1",
        ),
        (
            [{"type": "Pod", "default": {"cpu": "1"}}],
            "[0].default",
            "may not be specified when `type` is 'Pod'",
        ),
        (
            [{"type": "PersistentVolumeClaim", "max": {"cpu": "1"}}],
            "[0].limits",
            "either minimum or maximum storage value is required",
        ),
        (
            [{"type": "Pod", "maxLimitRequestRatio": {"cpu": "500m"}}],
            "[0].maxLimitRequestRatio[cpu]",
            "ratio 500m is less than 1",
        ),
    ],
)
async def test_a_range_that_contradicts_itself_is_refused(
    api: Api, limits: list[dict[str, Any]], where: str, why: str
):
    reply = await api("POST", RANGES, limit_range(*limits))
    assert reply.code == 422, reply
    (cause,) = [it for it in reply["details"]["causes"] if it["field"] == f"spec.limits{where}"]
    assert why in cause["message"]
