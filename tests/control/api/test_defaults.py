"""Defaults: their values, and that a second pass changes nothing."""

import copy
from typing import Any

import pytest

from control.api import kinds
from control.api.defaults.pod import default_pod
from control.api.errors import errors_in
from control.api.kinds import KINDS, Kind
from control.api.rules import rules_of
from tests.support.control.objects import VALID, containers, of


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_defaults_are_valid_and_stable(kind: Kind):
    given = of(kind, **VALID.get(kind.name, {}))
    before = copy.deepcopy(given)
    rules = rules_of(kind)
    complete = rules.default(given)
    assert given == before
    assert rules.default(complete) == complete
    assert errors_in(kind, kind.model.model_validate(complete)) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_defaults_keep_given_values(kind: Kind):
    given = of(kind, **VALID.get(kind.name, {}))
    complete = rules_of(kind).default(given)
    given.pop("stringData", None)
    assert _contains(complete, given)


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(key in whole and _contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(_contains, whole, part))
    return bool(whole == part)


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("busybox:1", "IfNotPresent"),
        ("registry:5000/busybox", "Always"),
        ("registry:5000/busybox:1", "IfNotPresent"),
        ("busybox@sha256:00", "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str):
    pod = default_pod(of(kinds.POD, spec={"containers": [{"name": "c", "image": image}]}))
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_defaults_of_a_pods_parts():
    probe = {"httpGet": {"port": 80}}
    limits = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}
    volumes = [{"name": "v", "configMap": {"name": "x"}}, {"name": "w"}]
    spec = {
        "containers": containers(
            readinessProbe=probe, resources=limits, ports=[{"containerPort": 8}]
        ),
        "volumes": volumes,
        "hostNetwork": True,
    }
    made = default_pod(of(kinds.POD, spec=spec))["spec"]
    (container,) = made["containers"]
    assert container["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert container["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}
    assert container["ports"] == [{"containerPort": 8, "protocol": "TCP", "hostPort": 8}]
    assert made["volumes"][0]["configMap"] == {"name": "x", "defaultMode": 0o644}
    assert made["volumes"][1] == {"name": "w", "emptyDir": {}}
    assert (made["restartPolicy"], made["terminationGracePeriodSeconds"]) == ("Always", 30)


def test_a_negative_grace_period_is_a_second():
    spec = {"containers": containers(), "terminationGracePeriodSeconds": -5}
    made = default_pod(of(kinds.POD, spec=spec))["spec"]
    assert made["terminationGracePeriodSeconds"] == 1


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        (
            {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
            "Guaranteed",
        ),
        (
            {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
            "Burstable",
        ),
    ],
)
def test_the_quality_of_service_class(resources: dict[str, Any], qos: str):
    pod = of(kinds.POD, spec={"containers": containers(resources=resources)})
    assert rules_of(kinds.POD).begin(pod)["status"] == {"phase": "Pending", "qosClass": qos}


def test_a_deployments_strategy():
    spec = rules_of(kinds.DEPLOYMENT).default(of(kinds.DEPLOYMENT, **VALID["Deployment"]))["spec"]
    rolling = {"maxSurge": "25%", "maxUnavailable": "25%"}
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    recreate = {"spec": VALID["Deployment"]["spec"] | {"strategy": {"type": "Recreate"}}}
    spec = rules_of(kinds.DEPLOYMENT).default(of(kinds.DEPLOYMENT, **recreate))["spec"]
    assert spec["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize("wrong", [[], [{}], {}, "x", 1, None])
def test_defaults_leave_wrong_types_to_validation(wrong: Any):
    source = {"serviceAccountToken": wrong, "downwardAPI": wrong}
    volume = {"name": "v", "projected": {"sources": [source, wrong]}, "hostPath": wrong}
    pod = of(
        kinds.POD, spec={"containers": containers(ports=wrong, env=wrong), "volumes": [volume]}
    )
    made = default_pod(pod)["spec"]
    assert made["volumes"][0]["projected"]["sources"][1] == wrong
