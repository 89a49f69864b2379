"""HorizontalPodAutoscalers: what metrics ask for, how fast, and what kubectl says."""

import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from control.api.autoscaling import HorizontalPodAutoscaler, MetricSpec, ScalingBehavior
from control.api.measured import PodMetrics
from control.api.pod import Pod
from control.api.times import rfc3339
from control.controllers.autoscaler.controller import AutoscalerController
from control.controllers.autoscaler.decide import Round, ScaleView, measured, selected, simple
from control.controllers.autoscaler.metrics import Measurements
from control.controllers.autoscaler.rates import Limits, Memory, paced, remember
from control.controllers.autoscaler.replicas import (
    MetricError,
    PodMetric,
    Question,
    Tolerance,
    by_utilization,
    by_value,
)
from control.controllers.autoscaler.settings import AutoscalerSettings
from control.controllers.garbage.collector import GarbageCollector
from control.controllers.loop import Manager
from control.server.state.measured import NodeSamples, Sample
from tests.support.control.api_server import ApiServer
from tests.support.control.cluster import client_of, running, until
from tests.support.control.definitions import (
    CRONTABS,
    crontab,
    definition,
    established,
    version,
)
from tests.support.control.requests import APPS, CORE, MERGE, Api, deployment, pod

NOW = 1_000_000.0
OLD = rfc3339(NOW - 1000)
AUTOSCALERS = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"


def made(name: str, ready: str = "True", cpu: str | None = "100m", **status: Any) -> Pod:
    """A Pod that runs for long, and is ready or has never been."""
    since = rfc3339(NOW - 900) if ready == "True" else rfc3339(NOW - 1000)
    conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": since}]
    wire = pod(name)
    wire["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu} if cpu else {}}
    wire["status"] = {"phase": "Running", "startTime": OLD, "conditions": conditions} | status
    return Pod.parse(wire)


def asked(pods: list[Pod], current: int | None = None, **more: Any) -> Question:
    count = len(pods) if current is None else current
    return Question(
        more.get("resource", "cpu"),
        more.get("container", ""),
        tuple(pods),
        count,
        more.get("tolerance", Tolerance()),
        NOW,
    )


def used(**millis: int) -> dict[str, PodMetric]:
    return {name: PodMetric(value, NOW, 15.0) for name, value in millis.items()}


TWO = [made("a"), made("b")]


@pytest.mark.parametrize(
    ("pods", "metrics", "target", "current", "wanted"),
    [
        (TWO, used(a=100, b=100), 50, 2, (4, 100, 100)),
        (TWO, used(a=52, b=56), 50, 2, (2, 54, 54)),  # within the tolerance
        (TWO, used(a=55, b=57), 50, 2, (3, 56, 56)),
        (TWO, used(a=5, b=15), 50, 2, (1, 10, 10)),
        # Pods without metrics use nothing when there should be more ...
        ([*TWO, made("c")], used(a=100, b=100), 50, 3, (4, 100, 100)),
        # ... all that they request when there should be less ...
        ([*TWO, made("c")], used(a=10, b=10), 50, 3, (3, 10, 10)),
        ([*TWO, made("c")], used(a=10, b=10), 90, 3, (2, 10, 10)),
        # ... and never turn a change around.
        ([*TWO, made("c")], used(a=60, b=60), 50, 3, (3, 60, 60)),
        # Pods that were never ready, or are pending, use nothing when there should be more.
        ([*TWO, made("c", "False")], used(a=100, b=100, c=900), 50, 3, (4, 100, 100)),
        ([*TWO, made("c", phase="Pending")], used(a=100, b=100), 50, 3, (4, 100, 100)),
        ([*TWO, made("c", "False")], used(a=10, b=10, c=900), 50, 3, (1, 10, 10)),
        # Failed Pods, and those on their way out, do not count.
        ([*TWO, made("c", phase="Failed")], used(a=100, b=100, c=0), 50, 3, (4, 100, 100)),
    ],
)
def test_a_target_in_percent(pods, metrics, target, current, wanted):
    found = by_utilization(asked(pods, current), metrics, target)
    assert (found.replicas, found.percent, found.raw) == wanted


@pytest.mark.parametrize(
    ("metrics", "wanted"),
    [
        (used(a=200, b=400), (6, 300)),
        (used(a=100, b=100), (2, 100)),
        (used(a=10, b=10), (1, 10)),
        (used(a=400), (4, 400)),
    ],
)
def test_a_target_as_a_value(metrics, wanted):
    found = by_value(asked(TWO), metrics, 100)
    assert (found.replicas, found.raw, found.percent) == (*wanted, None)


def test_a_starting_pods_cpu_waits_for_a_window_after_it_became_ready():
    def started(ready_for: float) -> Pod:
        condition = {"type": "Ready", "status": "True"}
        condition["lastTransitionTime"] = rfc3339(NOW - ready_for)
        return made("c", startTime=rfc3339(NOW - 100), conditions=[condition])

    metrics = used(a=100, b=100, c=100)
    early = by_utilization(asked([*TWO, started(10)]), metrics, 50)
    late = by_utilization(asked([*TWO, started(20)]), metrics, 50)
    assert (early.replicas, late.replicas) == (4, 6)
    memory = by_value(asked([*TWO, started(10)], resource="memory"), metrics, 50)
    assert memory.replicas == 6


@pytest.mark.parametrize(
    ("pods", "metrics", "why"),
    [
        ([], {}, "no pods returned by selector while calculating replica count"),
        (TWO, {}, "did not receive metrics for targeted pods (pods might be unready)"),
        ([made("a", cpu=None)], used(a=1), "missing request for cpu in container c of Pod a"),
        (TWO, used(other=1), "no metrics returned matched known pods"),
    ],
)
def test_what_cannot_be_said(pods, metrics, why):
    with pytest.raises(MetricError, match=f"^{re.escape(why)}$"):
        by_utilization(asked(pods), metrics, 50)


def test_tolerances_of_both_directions():
    metrics = used(a=60, b=60)
    assert by_utilization(asked(TWO, tolerance=Tolerance(0.2, 0.1)), metrics, 50).replicas == 2
    assert by_utilization(asked(TWO, tolerance=Tolerance(0.1, 0.5)), metrics, 50).replicas == 3
    assert by_utilization(asked(TWO, tolerance=Tolerance(0.1, 0.5)), metrics, 100).replicas == 2


def reason(memory: Memory, behavior: Any, limits: Limits, wanted: int, now: float) -> Any:
    found = paced(memory, behavior, limits, wanted, now)
    return found.replicas, found.stable[0], found.limited, found.limit[0]


def test_without_a_behavior_less_is_scaled_after_five_minutes():
    memory, limits = Memory(), Limits(5, 1, 10)
    within = "DesiredWithinRange"
    assert reason(memory, None, limits, 5, 0.0) == (5, "ReadyForNewScale", False, within)
    assert reason(memory, None, limits, 2, 200.0) == (5, "ScaleDownStabilized", False, within)
    assert reason(memory, None, limits, 1, 301.0) == (2, "ScaleDownStabilized", False, within)
    assert reason(memory, None, limits, 20, 302.0)[0] == 10
    assert reason(Memory(), None, limits, 20, 0.0) == (
        10,
        "ReadyForNewScale",
        True,
        "TooManyReplicas",
    )
    assert reason(Memory(), None, Limits(1, 1, 10), 9, 0.0)[::3] == (4, "ScaleUpLimit")
    assert reason(Memory(), None, Limits(3, 3, 10), 1, 0.0)[::3] == (3, "TooFewReplicas")


def behavior(up: dict[str, Any], down: dict[str, Any]) -> ScalingBehavior:
    base = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max"}
    return ScalingBehavior.parse({"scaleUp": base | up, "scaleDown": base | down})


PODS = {"type": "Pods", "value": 2, "periodSeconds": 60}
PERCENT = {"type": "Percent", "value": 50, "periodSeconds": 60}


def test_policies_limit_what_changes_in_their_period():
    rules = behavior({"policies": [PODS, PERCENT]}, {"policies": [PODS, PERCENT]})
    memory, limits = Memory(), Limits(10, 1, 100)
    assert reason(memory, rules, limits, 90, 0.0)[::3] == (15, "ScaleUpLimit")
    remember(memory, rules, 10, 15, 0.0)
    assert reason(memory, rules, Limits(15, 1, 100), 90, 30.0)[0] == 15
    assert reason(memory, rules, Limits(15, 1, 100), 90, 61.0)[0] == 23
    assert reason(Memory(), rules, limits, 1, 0.0)[::3] == (5, "ScaleDownLimit")
    least = behavior(
        {"policies": [PODS, PERCENT], "selectPolicy": "Min"},
        {"policies": [PODS, PERCENT], "selectPolicy": "Min"},
    )
    assert reason(Memory(), least, limits, 90, 0.0)[0] == 12
    assert reason(Memory(), least, limits, 1, 0.0)[0] == 8
    never = behavior({"policies": [PODS]}, {"policies": [PODS], "selectPolicy": "Disabled"})
    assert reason(Memory(), never, limits, 1, 0.0)[::3] == (10, "ScaleDownLimit")
    assert reason(Memory(), never, Limits(10, 1, 11), 50, 0.0)[::3] == (11, "TooManyReplicas")
    assert reason(Memory(), rules, Limits(3, 3, 9), 1, 0.0)[::3] == (3, "TooFewReplicas")


def test_windows_hold_both_directions():
    rules = behavior(
        {"policies": [PODS], "stabilizationWindowSeconds": 100},
        {"policies": [PODS], "stabilizationWindowSeconds": 200},
    )
    memory, limits = Memory([(5, 0.0)]), Limits(5, 1, 100)
    assert reason(memory, rules, limits, 7, 50.0)[:2] == (5, "ScaleUpStabilized")
    assert reason(memory, rules, limits, 7, 101.0)[:2] == (7, "ReadyForNewScale")
    assert reason(memory, rules, limits, 4, 240.0)[:2] == (7, "ScaleDownStabilized")


def autoscaler(*metrics: dict[str, Any], **spec: Any) -> HorizontalPodAutoscaler:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    base = {"scaleTargetRef": ref, "minReplicas": 1, "maxReplicas": 5, "metrics": [*metrics]}
    return HorizontalPodAutoscaler.parse({"metadata": {"name": "h"}, "spec": base | spec})


def resource(name: str = "cpu", **target: Any) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": name, "target": target}}


HALF = resource(type="Utilization", averageUtilization=50)


def usage(name: str, **parts: dict[str, str]) -> PodMetrics:
    containers = [{"name": each, "usage": amounts} for each, amounts in parts.items()]
    times = {"timestamp": rfc3339(NOW), "window": "1m15.5s"}
    return PodMetrics.parse({"metadata": {"name": name}, "containers": containers} | times)


def conditions(round_: Round) -> dict[str, tuple[str, str | None]]:
    return {it.type: (it.status, it.reason) for it in round_.conditions}


def test_a_round_says_what_it_does():
    round_, scale = Round(autoscaler(HALF), NOW), ScaleView(2, "app=d")
    assert simple(round_, scale) is None
    found = Measurements(
        (usage("a", c={"cpu": "100000000n"}), usage("b", c={"cpu": "100m", "memory": "1Ki"}))
    )
    verdict = measured(round_, scale, tuple(TWO), found, Memory())
    assert verdict.replicas == 4
    assert verdict.reason == "cpu resource utilization (percentage of request) above target"
    assert round_.metrics == (
        {
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "current": {"averageValue": "100m", "averageUtilization": 100},
            },
        },
    )
    assert list(conditions(round_).items()) == [
        ("AbleToScale", ("True", "ReadyForNewScale")),
        ("ScalingActive", ("True", "ValidMetricFound")),
        ("ScalingLimited", ("False", "DesiredWithinRange")),
    ]
    assert round_.events == []


def test_one_containers_metric():
    spec = {
        "name": "cpu",
        "container": "c",
        "target": {"type": "AverageValue", "averageValue": "50m"},
    }
    one = {"type": "ContainerResource", "containerResource": spec}
    round_ = Round(autoscaler(one), NOW)
    parts = {"c": {"cpu": "100m"}, "side": {"cpu": "5"}}
    found = Measurements((usage("a", **parts), usage("b", **parts)))
    verdict = measured(round_, ScaleView(2, "app=d"), tuple(TWO), found, Memory())
    assert (verdict.replicas, verdict.reason) == (4, "cpu resource above target")
    assert round_.metrics[0]["containerResource"]["current"] == {"averageValue": "100m"}


NONE = "unable to get metrics for resource cpu: no metrics returned from resource metrics API"


def test_without_metrics_nothing_changes_and_events_say_so():
    round_ = Round(autoscaler(HALF), NOW)
    verdict = measured(round_, ScaleView(2, "app=d"), tuple(TWO), Measurements(), Memory())
    assert verdict.replicas is None
    failed = f"failed to get cpu utilization: {NONE}"
    assert round_.events == [
        ("Warning", "FailedGetResourceMetric", failed),
        (
            "Warning",
            "FailedComputeMetricsReplicas",
            "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource"
            f" metric value: {failed}",
        ),
    ]
    (active,) = round_.conditions
    assert (active.status, active.reason) == ("False", "FailedGetResourceMetric")
    assert active.message == f"the HPA was unable to compute the replica count: {failed}"


@pytest.mark.parametrize(("millis", "wanted"), [("100m", 4), ("10m", None)])
def test_with_a_metric_that_says_nothing_only_more_is_possible(millis, wanted):
    other = {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "1"}}
    both = autoscaler(HALF, {"type": "Pods", "pods": other})
    round_ = Round(both, NOW)
    found = Measurements((usage("a", c={"cpu": millis}), usage("b", c={"cpu": millis})))
    verdict = measured(round_, ScaleView(2, "app=d"), tuple(TWO), found, Memory())
    assert verdict.replicas == wanted
    assert round_.events[0] == (
        "Warning",
        "FailedGetPodsMetric",
        "unable to get metric rps: unable to fetch metrics from custom metrics API: no custom"
        " metrics API (custom.metrics.k8s.io) registered",
    )


@pytest.mark.parametrize(
    ("current", "wanted", "condition"),
    [
        (0, (0, ""), ("False", "ScalingDisabled")),
        (9, (5, "Current number of replicas above Spec.MaxReplicas"), None),
        (1, (2, "Current number of replicas below Spec.MinReplicas"), None),
    ],
)
def test_what_needs_no_metrics(current, wanted, condition):
    round_ = Round(autoscaler(HALF, minReplicas=2), NOW)
    verdict = simple(round_, ScaleView(current, "app=d"))
    assert verdict is not None and (verdict.replicas, verdict.reason) == wanted
    assert conditions(round_).get("ScalingActive") == condition


@pytest.mark.parametrize(
    ("selector", "event"), [("", "SelectorRequired"), ("a in", "InvalidSelector")]
)
def test_a_scale_needs_a_selector(selector, event):
    round_ = Round(autoscaler(HALF), NOW)
    assert selected(round_, ScaleView(1, selector)) is None
    assert [reason for _, reason, _ in round_.events] == [event, "FailedComputeMetricsReplicas"]
    assert conditions(round_)["ScalingActive"] == ("False", "InvalidSelector")


def test_a_metric_of_an_unknown_type_is_told():
    round_ = Round(autoscaler({"type": "Odd"}), NOW)
    assert MetricSpec.parse({"type": "Odd"}).type == "Odd"
    measured(round_, ScaleView(2, "app=d"), tuple(TWO), Measurements(), Memory())
    assert round_.events[0][1:] == ("InvalidMetricSourceType", 'unknown metric source type "Odd"')


@pytest.fixture
async def api(api_server: ApiServer) -> AsyncIterator[Api]:
    client = client_of(api_server.url)
    controller = AutoscalerController(AutoscalerSettings(period=0.05))
    async with (
        aiohttp.ClientSession(api_server.url) as session,
        client,
        running(Manager(client, [controller, GarbageCollector()]).run()),
    ):
        yield Api(session, api_server.state)


async def until_status(api: Api, **wanted: tuple[str, str]) -> dict[str, Any]:
    """Wait for conditions: (status, reason) by type."""
    seen: dict[str, Any] = {}

    async def is_so() -> bool:
        seen.update((await api("GET", f"{AUTOSCALERS}/h")).body)
        have = seen["status"].get("conditions") or ()
        found = {it["type"]: (it["status"], it["reason"]) for it in have}
        return wanted.items() <= found.items()

    await until(is_so)
    return dict(seen["status"])


def body(kind: str = "Deployment", version: str = "apps/v1", name: str = "d") -> dict[str, Any]:
    ref = {"apiVersion": version, "kind": kind, "name": name}
    return {"metadata": {"name": "h"}, "spec": {"scaleTargetRef": ref, "maxReplicas": 5}}


async def running_pod(api: Api, name: str) -> None:
    spec = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}
    wire = pod(name, nodeName="n", containers=[spec])
    wire["metadata"]["labels"] = {"app": "d"}
    await api.make(f"{CORE}/pods", wire)
    since = "2026-01-01T00:00:00Z"
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": since}
    status = {"phase": "Running", "startTime": since, "conditions": [ready]}
    assert (await api("PATCH", f"{CORE}/pods/{name}/status", {"status": status}, MERGE)).code == 200


async def test_a_deployment_is_scaled_by_what_its_pods_use(api: Api):
    await api.make(f"{APPS}/deployments", deployment("d", 1))
    await running_pod(api, "a")
    at = api.state.now().timestamp()
    for moment, cpu in ((at - 20, 0.0), (at, 4.0)):  # 200m
        parts = {("default", "a"): {"c": Sample(moment, cpu, 1000, 1.0)}}
        api.state.measured.take("n", NodeSamples(Sample(moment, cpu, 1000), parts))
    await api.make(AUTOSCALERS, body())

    async def is_scaled() -> bool:
        return (await api("GET", f"{APPS}/deployments/d"))["spec"]["replicas"] == 3

    await until(is_scaled)
    status = await until_status(api, ScalingActive=("True", "ValidMetricFound"))
    assert status["desiredReplicas"] == 3 and status["lastScaleTime"]
    assert status["currentMetrics"][0]["resource"]["current"]["averageUtilization"] == 200

    async def is_told() -> bool:
        events = (await api("GET", f"{CORE}/events"))["items"]
        texts = [it["message"] for it in events if it["reason"] == "SuccessfulRescale"]
        why = "cpu resource utilization (percentage of request) above target"
        return texts == [f"New size: 3; reason: {why}"]

    await until(is_told)


async def test_what_cannot_be_scaled_is_told(api: Api):
    await api.make(AUTOSCALERS, body("Odd", "example.com/v1"))
    status = await until_status(api, AbleToScale=("False", "FailedGetScale"))
    assert status["conditions"][0]["message"] == (
        "the HPA controller was unable to get the target's current scale: no matches for kind"
        ' "Odd" in group "example.com"'
    )
    absent = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "absent"}
    patch = {"spec": {"scaleTargetRef": absent}}
    assert (await api("PATCH", f"{AUTOSCALERS}/h", patch, MERGE)).code == 200

    async def is_absent() -> bool:
        found = (await api("GET", f"{AUTOSCALERS}/h"))["status"]["conditions"]
        return 'deployments.apps "absent" not found' in found[0]["message"]

    await until(is_absent)


async def test_custom_kinds_are_scaled(api: Api):
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    await established(api, definition(version(subresources={"status": {}, "scale": scale})))
    await api.make(CRONTABS, crontab("c", replicas=9))
    await api.make(AUTOSCALERS, body("CronTab", "example.com/v1", "c"))

    async def is_scaled() -> bool:
        return bool((await api("GET", f"{CRONTABS}/c"))["spec"]["replicas"] == 5)

    await until(is_scaled)


TARGET = {"type": "Utilization", "averageUtilization": 50}
AVERAGE = {"type": "AverageValue", "averageValue": "1"}
OF_CONTAINER = {"name": "odd", "container": "A b", "target": AVERAGE}


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        ({"maxReplicas": 0}, {"spec.maxReplicas"}),
        ({"minReplicas": 0}, {"spec.minReplicas", "spec.metrics"}),
        ({"minReplicas": 9}, {"spec.maxReplicas"}),
        (
            {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "", "name": "a/b"}},
            {
                "spec.scaleTargetRef.kind",
                "spec.scaleTargetRef.name",
            },
        ),
        *[
            ({"scaleTargetRef": {"kind": kind, "name": "d", "apiVersion": version}}, wrong)
            for kind, version, wrong in (
                ("Deployment", "", {"spec.scaleTargetRef.apiVersion"}),
                ("Deployment", "v1", {"spec.scaleTargetRef.apiVersion"}),
                ("ReplicationController", "a/b/c", {"spec.scaleTargetRef.apiVersion"}),
            )
        ],
        ({"maxReplicas": -1}, {"spec.maxReplicas"}),
        ({"behavior": {"scaleUp": {"policies": []}}}, {"spec.behavior.scaleUp.policies"}),
        *[
            (
                {"metrics": [{"type": "External", "external": {"metric": metric, "target": each}}]},
                {f"spec.metrics[0].external.{wrong}"},
            )
            for metric, each, wrong in (
                ({"name": "a/b"}, AVERAGE, "metric.name"),
                ({"name": "a%b"}, AVERAGE, "metric.name"),
                ({"name": "a"}, AVERAGE | {"averageValue": "0"}, "target.averageValue"),
                ({"name": "a"}, AVERAGE | {"value": "1"}, "target.value"),
            )
        ],
        (
            {"metrics": [{"type": "ContainerResource", "containerResource": OF_CONTAINER}]},
            {
                "spec.metrics[0].containerResource.name",
                "spec.metrics[0].containerResource.container",
            },
        ),
        ({"metrics": [{"type": "Odd"}]}, {"spec.metrics[0].type"}),
        ({"metrics": [{"type": "Resource"}]}, {"spec.metrics[0].resource"}),
        (
            {"metrics": [{"type": "Resource", "resource": {"name": "", "target": {"type": "X"}}}]},
            {
                "spec.metrics[0].resource.name",
                "spec.metrics[0].resource.target.type",
                "spec.metrics[0].resource.target.averageUtilization",
            },
        ),
        (
            {"metrics": [HALF | {"pods": {"metric": {"name": "m"}, "target": TARGET}}]},
            {"spec.metrics[0].pods", "spec.metrics[0].pods.target.averageValue"},
        ),
        (
            {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601, "selectPolicy": "X"}}},
            {
                "spec.behavior.scaleUp.stabilizationWindowSeconds",
                "spec.behavior.scaleUp.selectPolicy",
            },
        ),
        (
            {
                "behavior": {
                    "scaleDown": {"policies": [{"type": "X", "value": 0, "periodSeconds": 1801}]}
                }
            },
            {
                "spec.behavior.scaleDown.policies[0].type",
                "spec.behavior.scaleDown.policies[0].value",
                "spec.behavior.scaleDown.policies[0].periodSeconds",
            },
        ),
    ],
)
async def test_wrong_autoscalers_are_refused(api: Api, spec, wrong):
    wire = body()
    reply = await api("POST", AUTOSCALERS, wire | {"spec": wire["spec"] | spec})
    assert reply.code == 422, reply
    assert {it["field"] for it in reply["details"]["causes"]} == wrong


async def test_what_was_wrong_before_an_update_may_stay(api: Api):
    wire = body("ReplicationController", "v1")
    about = {"metric": {"name": "m"}, "describedObject": {"kind": "Service", "name": "s"}}
    wire["spec"]["metrics"] = [{"type": "Object", "object": about | {"target": AVERAGE}}]
    made = await api.make(AUTOSCALERS, wire)
    assert made["spec"]["minReplicas"] == 1
    patch = {"spec": {"scaleTargetRef": {"kind": "Deployment"}}}
    refused = await api("PATCH", f"{AUTOSCALERS}/h", patch, MERGE)
    assert "apiVersion must specify API group" in refused["message"]
    for spec in (
        {"scaleTargetRef": {"name": "other"}},
        {"behavior": {"scaleUp": {"policies": None}}},
    ):
        assert (await api("PATCH", f"{AUTOSCALERS}/h", {"spec": spec}, MERGE)).code == 200
    unknown = await api("PATCH", f"{AUTOSCALERS}/h", {"spec": {"minReplicas": 0}}, MERGE)
    assert "must be greater than or equal to 1" in unknown["message"]


async def test_two_autoscalers_of_one_workload_both_stop(api: Api):
    await api.make(f"{APPS}/deployments", deployment("d", 1))
    await running_pod(api, "a")
    other = body()
    other["metadata"]["name"] = "i"
    await api.make(AUTOSCALERS, body())
    await api.make(AUTOSCALERS, other)
    status = await until_status(api, ScalingActive=("False", "AmbiguousSelector"))
    said = {it["type"]: it["message"] for it in status["conditions"]}
    assert said["ScalingActive"] == (
        "pods by selector app=d are controlled by multiple HPAs: [default/h default/i]"
    )
    assert (await api("DELETE", f"{AUTOSCALERS}/i")).code == 200
    await until_status(api, ScalingActive=("False", "FailedGetResourceMetric"))
