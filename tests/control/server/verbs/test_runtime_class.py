"""What a RuntimeClass makes of the Pods that name it, by the rules of upstream's admission."""

import pytest

from control.server.verbs.runtime_class import merged
from tests.support.control.requests import CORE, Api, pod

PODS = f"{CORE}/pods"
CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"
NO_EXECUTE = {"operator": "Exists", "effect": "NoExecute"}
SANDBOXED = {
    "metadata": {"name": "sandboxed"},
    "handler": "gvisor",
    "overhead": {"podFixed": {"cpu": "100m", "memory": "1024Ki"}},
    "scheduling": {"nodeSelector": {"gvisor": "yes"}, "tolerations": [NO_EXECUTE]},
}


@pytest.fixture
async def classes(api: Api) -> None:
    await api.make(CLASSES, SANDBOXED)
    await api.make(CLASSES, {"metadata": {"name": "plain"}, "handler": "runc"})


@pytest.mark.usefixtures("classes")
async def test_a_pod_gets_what_its_class_says(api: Api):
    made = await api.make(PODS, pod(runtimeClassName="sandboxed", nodeSelector={"a": "b"}))
    spec = made["spec"]
    assert spec["overhead"] == {"cpu": "100m", "memory": "1Mi"}
    assert spec["nodeSelector"] == {"a": "b", "gvisor": "yes"}
    # The five minutes of a Pod on an unreachable node are part of it.
    assert spec["tolerations"] == [NO_EXECUTE]


@pytest.mark.usefixtures("classes")
async def test_a_plain_class_adds_nothing(api: Api):
    with_class = await api.make(PODS, pod(runtimeClassName="plain"))
    assert "overhead" not in with_class["spec"]
    assert "nodeSelector" not in with_class["spec"]
    assert len(with_class["spec"]["tolerations"]) == 2


@pytest.mark.usefixtures("classes")
async def test_a_pod_may_say_what_its_class_says(api: Api):
    overhead = {"cpu": "0.1", "memory": "1Mi"}
    made = await api.make(PODS, pod(runtimeClassName="sandboxed", overhead=overhead))
    assert made["spec"]["overhead"] == {"cpu": "100m", "memory": "1Mi"}


@pytest.mark.usefixtures("classes")
@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"runtimeClassName": "none"}, 'pod rejected: RuntimeClass "none" not found'),
        (
            {"overhead": {"cpu": "1"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            {"runtimeClassName": "plain", "overhead": {"cpu": "1"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            {"runtimeClassName": "sandboxed", "overhead": {"cpu": "1"}},
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            {"runtimeClassName": "sandboxed", "nodeSelector": {"gvisor": "no"}},
            "conflict: runtimeClass.scheduling.nodeSelector[gvisor] = yes; "
            "pod.spec.nodeSelector[gvisor] = no",
        ),
    ],
)
async def test_what_contradicts_a_class_is_refused(api: Api, spec, why):
    reply = await api("POST", PODS, pod(**spec))
    assert (reply.code, reply["reason"]) == (403, "Forbidden")
    assert reply["message"] == f'pods "p" is forbidden: {why}'


KEY = {"key": "a", "operator": "Exists"}
VALUE = {"key": "a", "operator": "Equal", "value": "x"}


@pytest.mark.parametrize(
    ("tolerations", "left"),
    [
        ([], []),
        ([VALUE, VALUE], [VALUE]),
        ([VALUE, KEY], [KEY]),
        ([KEY, VALUE], [KEY]),
        ([{"operator": "Exists"}, VALUE, NO_EXECUTE], [{"operator": "Exists"}]),
        ([VALUE, VALUE | {"value": "y"}], [VALUE, VALUE | {"value": "y"}]),
        ([KEY | {"effect": "NoSchedule"}, KEY], [KEY]),
        ([KEY | {"effect": "NoSchedule"}, KEY | {"effect": "NoExecute"}],) * 2,
        (
            [NO_EXECUTE | {"tolerationSeconds": 9}, NO_EXECUTE | {"tolerationSeconds": 10}],
            [NO_EXECUTE | {"tolerationSeconds": 10}],
        ),
        ([NO_EXECUTE | {"tolerationSeconds": 9}, NO_EXECUTE], [NO_EXECUTE]),
    ],
)
def test_a_toleration_that_another_includes_is_left_out(tolerations, left):
    assert merged(tolerations) == left
