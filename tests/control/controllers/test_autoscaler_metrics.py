"""Autoscalers by metrics of Pods, of objects and from outside, and what adapters may say."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from control.api.autoscaling import HorizontalPodAutoscaler, MetricSpec
from control.api.pod import Pod
from control.api.times import rfc3339
from control.client.rest import Client
from control.controllers.autoscaler.controller import AutoscalerController
from control.controllers.autoscaler.decide import Round, ScaleView, measured
from control.controllers.autoscaler.metrics import Measurements, asked
from control.controllers.autoscaler.other import NOTHING
from control.controllers.autoscaler.rates import Memory
from control.controllers.autoscaler.reading import (
    Reading,
    of_external,
    of_object,
    of_pods,
    selector_text,
    version_of,
)
from control.controllers.autoscaler.replicas import (
    MetricError,
    PodMetric,
    Question,
    Tolerance,
    by_total,
    by_total_of_each,
)
from control.controllers.autoscaler.settings import AutoscalerSettings
from control.controllers.loop import Manager
from control.server.aggregation import follow
from control.server.remote import services as backend
from tests.support.control.cluster import running, until
from tests.support.control.extension import Wardle, certificates, endpoints, extension
from tests.support.control.requests import APPS, CORE, MERGE, Api, deployment, pod
from tests.support.control.secured import secured_server

NOW = 1_000_000.0
AUTOSCALERS = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


def made(name: str, ready: bool = True, phase: str = "Running") -> Pod:
    wire = pod(name)
    ready_ = {"type": "Ready", "status": str(ready), "lastTransitionTime": rfc3339(NOW - 900)}
    start = rfc3339(NOW - 1000)
    wire["status"] = {"phase": phase, "startTime": start, "conditions": [ready_]}
    return Pod.parse(wire)


PODS = tuple(made(name) for name in "abc")


def question(current: int = 3, present: int | None = None, pods: Any = PODS) -> Question:
    return Question(
        "", "", pods, current, Tolerance(), NOW, current if present is None else present
    )


@pytest.mark.parametrize(
    ("used", "target", "current", "pods", "wanted"),
    [
        (30, 10, 3, PODS, 9),  # three times too much for the three that are ready
        (10, 10, 3, PODS, 3),
        (1_099, 1_000, 3, PODS, 3),  # within the tolerance
        (1_101, 1_000, 3, PODS, 4),
        (5, 10, 3, PODS, 2),  # rounded up
        (30, 10, 4, (*PODS, made("d", ready=False)), 9),  # by Pods that are ready, not all
        (30, 10, 4, (*PODS, made("d", phase="Pending")), 9),
        (25, 10, 0, (), 3),  # from nothing: the ratio itself
        (2**62, 1, 3, PODS, 2**31 - 1),
    ],
)
def test_a_target_of_all_pods_together(used, target, current, pods, wanted):
    assert by_total(question(current, pods=pods), used, target).replicas == wanted


def test_without_pods_a_total_says_nothing():
    with pytest.raises(MetricError, match="unable to calculate ready pods: no pods returned by"):
        by_total(question(pods=()), 30, 10)


@pytest.mark.parametrize(
    ("used", "target", "present", "wanted"),
    [
        (30, 10, 3, (3, 10)),
        (33, 10, 3, (3, 11)),  # within the tolerance
        (34, 10, 3, (4, 12)),  # 34 by 3, rounded up
        (1, 10, 3, (1, 1)),
        (50, 10, 0, (5, 0)),  # none is there yet
        (2**63 - 1, 1, 3, (2**31 - 1, -(-(2**63 - 1) // 3))),
    ],
)
def test_a_target_of_each_pod_by_a_total(used, target, present, wanted):
    found = by_total_of_each(question(present=present), used, target)
    assert found.replicas == wanted[0] and abs(found.raw - wanted[1]) <= 1024


def item(value: Any, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"describedObject": {"kind": "Pod", "name": name}, "value": value, **more}


def test_readings_of_both_versions():
    wire = {
        "items": [item("1500m", "a", windowSeconds=30), item("2", "b", window=20), item(3, "c")]
    }
    assert of_pods(wire).pods == {
        "a": PodMetric(1500, 0.0, 30.0),
        "b": PodMetric(2000, 0.0, 20.0),
        "c": PodMetric(3000, 0.0, 60.0),
    }
    assert of_object({"items": [item("1k")]}).total == 1_000_000
    assert of_external({"items": [{"value": "2"}, {"value": "500m"}]}).total == 2500
    assert of_external({"items": [{"value": 9e15}] * 2}).total == 2**63 - 1


@pytest.mark.parametrize("items", [[], None, 7, [{"value": "x"}], [{"value": True}], [{}, {}]])
def test_what_adapters_say_wrongly_is_an_error(items):
    for read in (of_pods, of_object, of_external):
        with pytest.raises(MetricError):
            read({"items": items})


def test_versions_that_are_known():
    both = [{"version": "v1beta2"}, {"version": "v1beta1"}]
    assert version_of({"versions": both, "preferredVersion": both[1]}) == "v1beta1"
    assert version_of({"versions": both, "preferredVersion": {"version": "v9"}}) == "v1beta2"
    with pytest.raises(MetricError, match="no known available metric versions found"):
        version_of({"versions": [{"version": "v9"}]})


def test_selectors_as_go_prints_them():
    assert selector_text(None) == "nil"
    expression = {"key": "k", "operator": "In", "values": ["v", "w"]}
    assert selector_text(
        {"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [expression]}
    ) == (
        "&LabelSelector{MatchLabels:map[string]string{a: 1,b: 2,},MatchExpressions:"
        "[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[v w],},},}"
    )


METRIC = {"name": "rps"}
SERVICE = {"apiVersion": "v1", "kind": "Service", "name": "s"}
EACH = {"type": "AverageValue", "averageValue": "10"}
ALL = {"type": "Value", "value": "10"}
BY_PODS = {"type": "Pods", "pods": {"metric": METRIC, "target": EACH}}


def by_object(target: dict[str, Any]) -> dict[str, Any]:
    source = {"metric": METRIC, "describedObject": SERVICE, "target": target}
    return {"type": "Object", "object": source}


def external(target: dict[str, Any]) -> dict[str, Any]:
    return {"type": "External", "external": {"metric": METRIC, "target": target}}


@pytest.mark.parametrize(
    ("spec", "reading", "replicas", "name", "current"),
    [
        (
            BY_PODS,
            Reading({name: PodMetric(20_000) for name in "abc"}),
            6,
            "pods metric rps",
            {"averageValue": "20"},
        ),
        (by_object(ALL), Reading(total=20_000), 6, "Service metric rps", {"value": "20"}),
        (
            by_object(EACH),
            Reading(total=60_500),
            7,
            "external metric rps(nil)",
            {"averageValue": "20167m"},
        ),
        (external(ALL), Reading(total=20_000), 6, "external metric rps(nil)", {"value": "20"}),
        (
            external(EACH),
            Reading(total=60_000),
            6,
            "external metric rps(nil)",
            {"averageValue": "20"},
        ),
    ],
    ids=["Pods", "Object Value", "Object AverageValue", "External Value", "External AverageValue"],
)
def test_what_each_type_asks_for(spec, reading, replicas, name, current):
    found = asked(
        [MetricSpec.parse(spec)], question(), Measurements(readings={0: reading}, namespace="n")
    )
    assert (found.replicas, found.name, found.failures) == (replicas, name, ())
    (status,) = found.statuses
    field = spec["type"].lower()
    assert (status["type"], status[field]["current"]) == (spec["type"], current)
    assert status[field]["metric"] == METRIC
    assert status[field].get("describedObject") == (SERVICE if field == "object" else None)


WRONG = Reading(error="unable to fetch metrics from custom metrics API: gone")


@pytest.mark.parametrize(
    ("spec", "reading", "reason", "message", "summary"),
    [
        (
            BY_PODS,
            WRONG,
            "FailedGetPodsMetric",
            f"unable to get metric rps: {WRONG.error}",
            "failed to get pods metric value: ",
        ),
        (
            by_object(ALL),
            WRONG,
            "FailedGetObjectMetric",
            f"unable to get metric rps: {WRONG.error} on Service n/s",
            "failed to get object metric value: ",
        ),
        (
            by_object(EACH),
            WRONG,
            "FailedGetObjectMetric",
            f"unable to get metric rps: {WRONG.error} on Service n/s",
            "failed to get object metric value: failed to get rps object metric: ",
        ),
        (
            external(ALL),
            WRONG,
            "FailedGetExternalMetric",
            f"unable to get external metric n/rps/nil: {WRONG.error}",
            "failed to get rps external metric value: failed to get external metric rps: ",
        ),
        (
            external(EACH),
            WRONG,
            "FailedGetExternalMetric",
            f"unable to get external metric n/rps/nil: {WRONG.error}",
            "failed to get rps external metric value: failed to get rps external metric: ",
        ),
        (
            by_object({"type": "Utilization"}),
            WRONG,
            "FailedGetObjectMetric",
            "invalid object metric source: neither a value target nor an average value target was"
            " set",
            "failed to get object metric value: ",
        ),
        (
            external({"type": "Value"}),
            WRONG,
            "FailedGetExternalMetric",
            "invalid external metric source: neither a value target nor an average value target was"
            " set",
            "failed to get rps external metric value: ",
        ),
    ],
)
def test_failures_have_upstreams_words(spec, reading, reason, message, summary):
    found = asked(
        [MetricSpec.parse(spec)], question(), Measurements(readings={0: reading}, namespace="n")
    )
    (failure,) = found.failures
    assert (failure.reason, failure.message, failure.summary) == (
        reason,
        message,
        summary + message,
    )


def test_of_several_metrics_the_largest_answer_holds_and_failures_are_told():
    wire = {
        "scaleTargetRef": {},
        "maxReplicas": 9,
        "metrics": [BY_PODS, external(ALL), by_object(ALL)],
    }
    round_ = Round(HorizontalPodAutoscaler.parse({"metadata": {"name": "h"}, "spec": wire}), NOW)
    readings = {0: NOTHING, 1: Reading(total=20_000), 2: Reading(total=15_000)}
    found = Measurements(readings=readings, namespace="n")
    verdict = measured(round_, ScaleView(3, "a=b", present=3), PODS, found, Memory())
    assert (verdict.replicas, verdict.reason) == (6, "external metric rps(nil) above target")
    assert [it.reason for it in round_.conditions if it.type == "ScalingActive"] == [
        "ValidMetricFound"
    ]
    assert [reason for _, reason, _ in round_.events] == ["FailedGetPodsMetric"]


def test_an_autoscalers_own_tolerance_holds():
    spec = {"scaleTargetRef": {}, "maxReplicas": 9, "metrics": [external(ALL)]}
    rules = {"policies": [{"type": "Pods", "value": 9, "periodSeconds": 60}]}
    behavior = {"scaleUp": rules | {"tolerance": "250m"}, "scaleDown": rules}

    def wanted(total: int, **more: Any) -> int | None:
        wire = {"metadata": {"name": "h"}, "spec": spec | more}
        settings = AutoscalerSettings(tolerance=0.05)
        round_ = Round(HorizontalPodAutoscaler.parse(wire), NOW, settings)
        found = Measurements(readings={0: Reading(total=total)})
        return measured(round_, ScaleView(3, "a=b", present=3), PODS, found, Memory()).replicas

    assert [wanted(total) for total in (10_400, 10_600)] == [3, 4]
    assert [wanted(total, behavior=behavior) for total in (12_500, 12_600)] == [3, 4]


class Adapter:
    """An adapter of metrics, as an extension server: one version of the custom metrics API."""

    def __init__(self, wardle: Wardle, version: str) -> None:
        self.asked: list[str] = []
        self.values: dict[str, int | str] = {"each": 20, "all": 20, "outside": 20}
        base = f"/apis/custom.metrics.k8s.io/{version}/namespaces/default"
        outside = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/outside"
        wardle.answers |= {
            f"{base}/pods/*/each": self._pods,
            f"{base}/services/s/all": self._object,
            outside: self._outside,
        }

    async def _pods(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        return _values([item(self.values["each"], name) for name in ("a", "b")])

    async def _object(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        return _values([item(self.values["all"], "s")])

    async def _outside(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        return _values([{"metricName": "outside", "value": str(self.values["outside"])}])


def _values(items: list[dict[str, Any]]) -> web.Response:
    return web.Response(text=json.dumps({"items": items}), content_type="application/json")


@pytest.fixture(params=["v1beta2", "v1beta1"])
async def adapted(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Api, Adapter]]:
    """A server, controllers, and an adapter that is registered for both APIs."""
    monkeypatch.setattr(backend, "is_allowed", lambda _: True)
    monkeypatch.setattr(follow, "_SOON", 0.02)
    certs, wardle = certificates(tmp_path), Wardle()
    adapter = Adapter(wardle, request.param)
    controller = AutoscalerController(AutoscalerSettings(period=0.05))
    async with (
        extension(certs, wardle),
        secured_server(tmp_path, front_proxy=certs.proxy) as server,
        aiohttp.ClientSession(
            server.url, connector=aiohttp.TCPConnector(ssl=server.client_tls())
        ) as session,
        Client.from_kubeconfig(server.kubeconfig) as client,
        running(Manager(client, [controller]).run()),
    ):
        api = Api(session, server.state)
        service = {"metadata": {"name": "wardle"}, "spec": {"ports": [{"port": 443}]}}
        await api.make(f"{CORE}/services", service)
        await endpoints(server.state, wardle.port)
        for group, version in (("custom", request.param), ("external", "v1beta1")):
            await _register(api, f"{group}.metrics.k8s.io", version)
        yield api, adapter


async def _register(api: Api, group: str, version: str) -> None:
    name = f"{version}.{group}"
    spec = {
        "group": group,
        "version": version,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "service": {"namespace": "default", "name": "wardle"},
        "insecureSkipTLSVerify": True,
    }
    await api.make(SERVICES, {"metadata": {"name": name}, "spec": spec})

    async def passed() -> bool:
        status = (await api("GET", f"{SERVICES}/{name}"))["status"] or {}
        return any(it["reason"] == "Passed" for it in status.get("conditions", ()))

    await until(passed)


async def ready_pods(api: Api, *names: str) -> None:
    for name in names:
        wire = pod(name, nodeName="n")
        wire["metadata"]["labels"] = {"app": "d"}
        await api.make(f"{CORE}/pods", wire)
        since = "2026-01-01T00:00:00Z"
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": since}
        status = {"status": {"phase": "Running", "startTime": since, "conditions": [ready]}}
        assert (await api("PATCH", f"{CORE}/pods/{name}/status", status, MERGE)).code == 200


def three_kinds() -> list[dict[str, Any]]:
    """Return metrics of Pods, of a Service, and of something outside."""
    outside = {"name": "outside", "selector": {"matchLabels": {"queue": "q"}}}
    about = by_object({"type": "Value", "value": "8"})
    about["object"]["metric"] = {"name": "all"}
    return [
        {"type": "Pods", "pods": {"metric": {"name": "each"}, "target": EACH}},
        about,
        {"type": "External", "external": {"metric": outside, "target": EACH}},
    ]


async def test_a_deployment_is_scaled_by_what_an_adapter_says(adapted: tuple[Api, Adapter]):
    api, adapter = adapted
    await api.make(f"{APPS}/deployments", deployment("d", 2))
    await ready_pods(api, "a", "b")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    spec = {"scaleTargetRef": target, "maxReplicas": 9, "metrics": three_kinds()}
    await api.make(AUTOSCALERS, {"metadata": {"name": "h"}, "spec": spec})

    async def is_scaled() -> bool:
        # 20 for each Pod instead of 10 asks for 4, 20 of the Service instead of 8 for 5.
        return bool((await api("GET", f"{APPS}/deployments/d"))["spec"]["replicas"] == 5)

    await until(is_scaled)

    async def is_told() -> bool:
        events = (await api("GET", f"{CORE}/events"))["items"]
        texts = {it["message"] for it in events if it["reason"] == "SuccessfulRescale"}
        # At most four at once, or twice as many, without a behavior.
        return texts == {
            f"New size: {it}; reason: Service metric all above target" for it in (4, 5)
        }

    await until(is_told)
    asked_for = {each.partition("namespaces/default/")[2] for each in adapter.asked}
    assert asked_for == {
        "pods/*/each?labelSelector=app%3Dd",
        "services/s/all",
        "outside?labelSelector=queue%3Dq",
    }
    status = (await api("GET", f"{AUTOSCALERS}/h"))["status"]
    assert [it["type"] for it in status["currentMetrics"]] == ["Pods", "Object", "External"]
    assert status["currentMetrics"][0]["pods"]["current"] == {"averageValue": "20"}
    adapter.values |= {"each": "nonsense", "all": "nonsense", "outside": "nonsense"}

    async def is_wrong() -> bool:
        found = (await api("GET", f"{AUTOSCALERS}/h"))["status"]["conditions"]
        return any(it["reason"] == "FailedGetPodsMetric" for it in found)

    await until(is_wrong)
    assert (await api("GET", f"{APPS}/deployments/d"))["spec"]["replicas"] == 5
