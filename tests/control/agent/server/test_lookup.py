"""Finding the container that a request means."""

import pytest

from control.agent.server import lookup
from control.agent.server.errors import HttpError
from control.api.pod import Pod
from control.runtime.base import Container, Phase, PodRef

CREATED, RUNNING, EXITED = Phase.CREATED, Phase.RUNNING, Phase.EXITED


def pod(*names: str, waiting: str = "") -> Pod:
    state = {"waiting": {"reason": waiting}} if waiting else {}
    return Pod.parse(
        {
            "metadata": {"name": "web", "namespace": "default", "uid": "u"},
            "spec": {
                "containers": [{"name": name} for name in names or ("c",)],
                "initContainers": [{"name": "init"}],
            },
            "status": {"containerStatuses": [{"name": "c", "state": state}]},
        }
    )


def runs(*phases: Phase, name: str = "c", uid: str = "u") -> list[Container]:
    ref = PodRef("default", "web", uid)
    return [
        Container(f"{name}{n}", "box", ref, name, n, phase, "image", "image", 0)
        for n, phase in enumerate(phases)
    ]


@pytest.mark.parametrize(
    ("phases", "waiting", "previous", "attempt"),
    [
        ((RUNNING,), "", False, 0),
        ((EXITED,), "", False, 0),
        ((EXITED, RUNNING), "", False, 1),
        ((EXITED, RUNNING), "", True, 0),
        ((EXITED, EXITED), "", True, 0),
        ((EXITED, CREATED), "", False, 0),
        # In CrashLoopBackOff both show the last run: it is lastState already.
        ((EXITED, EXITED), "CrashLoopBackOff", False, 1),
        ((EXITED, EXITED), "CrashLoopBackOff", True, 1),
        ((EXITED,), "CrashLoopBackOff", True, 0),
    ],
)
def test_the_log_of_the_right_run(phases, waiting, previous, attempt):
    found = lookup.with_log(pod(waiting=waiting), "c", reversed(runs(*phases)), previous)
    assert found.attempt == attempt


@pytest.mark.parametrize(
    ("waiting", "text"),
    [
        ("ContainerCreating", "is waiting to start: ContainerCreating"),
        ("ErrImagePull", "is waiting to start: image can't be pulled"),
        ("ImagePullBackOff", "is waiting to start: trying and failing to pull image"),
        ("", "is waiting to start - no logs yet"),
    ],
)
def test_a_container_that_never_ran_says_why(waiting, text):
    with pytest.raises(HttpError, match=f'container "c" in pod "web" {text}') as caught:
        lookup.with_log(pod(waiting=waiting), "c", runs(CREATED), False)
    assert caught.value.code == 400


def test_without_an_earlier_run_there_is_no_previous_log():
    with pytest.raises(HttpError, match='previous terminated container "c" in pod "web" not found'):
        lookup.with_log(pod(), "c", runs(RUNNING), True)


def test_another_pods_containers_do_not_count():
    with pytest.raises(HttpError, match="no logs yet"):
        lookup.with_log(pod(), "c", runs(RUNNING, uid="older"), False)


def test_a_container_that_is_not_the_pods():
    with pytest.raises(HttpError, match='container "x" not found in pod "web"') as caught:
        lookup.running(pod(), "x", runs(RUNNING, name="x"))
    assert caught.value.code == 404


def test_init_containers_have_logs_too():
    assert lookup.with_log(pod(), "init", runs(EXITED, name="init"), False).name == "init"


@pytest.mark.parametrize("phases", [(), (CREATED,), (EXITED,)])
def test_commands_run_only_in_running_containers(phases):
    with pytest.raises(HttpError, match=r'container not found \("c"\)'):
        lookup.running(pod(), "c", runs(*phases))


def test_commands_run_in_the_newest_run():
    assert lookup.running(pod(), "c", runs(EXITED, RUNNING)).attempt == 1
