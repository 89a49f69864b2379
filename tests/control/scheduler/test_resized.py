"""What counts of a Pod that is resized, for the scheduler and for quotas."""

from typing import Any

import pytest

from control.api.amounts import in_use, shown
from control.api.pod import Pod
from control.api.quota.usage import usage
from control.scheduler.model import pod_requests

INFEASIBLE = {"type": "PodResizePending", "status": "True", "reason": "Infeasible"}


def resized(asked: str, have: str, given: str, **more: Any) -> dict[str, Any]:
    status = {
        "name": "c",
        "resources": {"requests": {"cpu": have}, "limits": {"cpu": have}},
        "allocatedResources": {"cpu": given},
    }
    resources = {"requests": {"cpu": asked}, "limits": {"cpu": asked}}
    container = {"name": "c", "resources": resources}
    return {
        "metadata": {"name": "p"},
        "spec": {"containers": [container]},
        "status": {"containerStatuses": [status]} | more,
    }


@pytest.mark.parametrize(
    ("wire", "requests", "limits"),
    [
        (resized("1", "1", "1"), 1, 1),
        (resized("3", "1", "1"), 3, 3),
        (resized("1", "3", "2"), 3, 3),
        (resized("1", "1", "2"), 2, 1),
        (resized("3", "1", "2", conditions=[INFEASIBLE]), 2, 1),
    ],
)
def test_the_most_counts(wire: dict[str, Any], requests: int, limits: int):
    assert pod_requests(Pod.parse(wire), {}) == {"cpu": 1000 * requests}
    found = [shown(in_use(wire, part)) for part in ("requests", "limits")]
    assert found == [{"cpu": str(requests)}, {"cpu": str(limits)}]
    assert str(usage("pods", wire, 0.0)["requests.cpu"]) == str(requests)


def test_a_pod_as_a_whole_counts_with_what_it_has():
    wire = resized("1", "1", "1", resources={"requests": {"cpu": "4"}}, allocatedResources={})
    wire["spec"]["resources"] = {"requests": {"cpu": "2"}}
    assert pod_requests(Pod.parse(wire), {}) == {"cpu": 4000}
    assert shown(in_use(wire, "requests")) == {"cpu": "4"}


def test_an_init_container_that_has_ended_counts_as_it_asks():
    wire = resized("1", "1", "1")
    init = {"name": "i", "resources": {"requests": {"cpu": "2"}}}
    wire["spec"]["initContainers"] = [init]
    have = {"name": "i", "resources": {"requests": {"cpu": "8"}}}
    wire["status"]["initContainerStatuses"] = [have]
    assert pod_requests(Pod.parse(wire), {}) == {"cpu": 2000}
    assert shown(in_use(wire, "requests")) == {"cpu": "2"}
    init["restartPolicy"] = "Always"
    assert pod_requests(Pod.parse(wire), {}) == {"cpu": 9000}
    assert shown(in_use(wire, "requests")) == {"cpu": "9"}
