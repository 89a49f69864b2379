"""The order of a resize's steps, what restarts, what is refused, and what is allocated."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from control.agent.pods import decide, resizing, steps
from control.agent.pods.allocation import Allocations, held
from control.agent.pods.backoff import Failure
from control.agent.pods.decide import next_actions
from control.agent.pods.facts import PodFacts
from control.agent.pods.resize_status import ResizeStatus, event_message
from control.agent.pods.resizing import ContainerChange, SetContainer, SetPod
from control.agent.pods.status import StatusView, compute
from control.agent.pods.steps import Kill, Resize, Start
from control.api.container import Container as Spec
from control.api.pod import Pod
from control.runtime.base import Phase, Resources
from control.runtime.used import MemoryUse
from tests.support.control.pods import container, pod, sandbox

NOW = 2000.0
VIEW = StatusView(NOW, ("172.31.0.11",))
SMALL, LARGE = Resources(100, 200, 64, 0, 0, 32), Resources(300, 400, 128, 0, 0, 64)
AMOUNT = st.integers(1, 9)
RESOURCES = st.builds(Resources, AMOUNT, AMOUNT, AMOUNT, memory_request=AMOUNT)


def totals(parts: list[Resources]) -> Resources:
    return Resources(
        sum(it.cpu_request for it in parts),
        sum(it.cpu_limit for it in parts),
        sum(it.memory_limit for it in parts),
        memory_request=sum(it.memory_request or 0 for it in parts),
    )


@given(st.lists(st.tuples(RESOURCES, RESOURCES), min_size=1, max_size=4))
def test_no_container_ever_has_more_than_its_pod(pairs: list[tuple[Resources, Resources]]):
    now, wanted = (totals([pair[side] for pair in pairs]) for side in (0, 1))
    changes = [
        ContainerChange(str(at), str(at), *pair)
        for at, pair in enumerate(pairs)
        if resizing.differs(*pair)
    ]
    whole, parts = now, {str(at): pair[0] for at, pair in enumerate(pairs)}
    for step in resizing.steps(now, wanted, changes):
        if isinstance(step, SetPod):
            whole = step.resources
        else:
            parts[step.id] = step.resources
        for each in parts.values():
            assert each.cpu_limit <= whole.cpu_limit
            assert each.memory_limit <= whole.memory_limit
    assert whole == wanted
    assert parts == {str(at): pair[1] for at, pair in enumerate(pairs)}


def test_memory_comes_before_cpu_and_a_pod_grows_first():
    change = ContainerChange("c", "c", SMALL, LARGE)
    up = resizing.steps(SMALL, LARGE, [change])
    shown = [type(it).__name__ for it in up]
    assert shown == ["SetPod", "SetContainer", "SetPod", "SetPod", "SetPod", "SetContainer"]
    assert isinstance(up[1], SetContainer) and up[1].resources == replace(
        SMALL, memory_limit=128, memory_request=64
    )
    down = resizing.steps(LARGE, SMALL, [ContainerChange("c", "c", LARGE, SMALL)])
    assert isinstance(down[0], SetContainer) and down[-1] == SetPod(SMALL)


def test_a_limit_that_a_pod_has_stays_when_a_container_has_none():
    (step,) = resizing.steps(Resources(1, 2, 3), Resources(5, 0, 0), [])
    assert step == SetPod(Resources(5, 2, 3))


def test_memory_in_use_is_not_taken():
    change = ContainerChange("id", "c", LARGE, SMALL)
    assert not resizing.below_use(LARGE, SMALL, [change], MemoryUse(63, {"id": 63}))
    assert not resizing.below_use(SMALL, LARGE, [], MemoryUse(200))
    why = resizing.below_use(LARGE, SMALL, [change], MemoryUse(70, {"id": 65}))
    assert why == (
        "cannot decrease memory limits: [attempting to set pod memory limit (64) below current"
        ' usage (70), attempting to set container "c" memory limit (64) below current usage (65)]'
    )


def facts(now: Resources, wanted: Resources, **more: object) -> PodFacts:
    running = replace(container("a"), resources=now)
    box = replace(sandbox(), resources=now)
    values = {"sandboxes": (box,), "containers": (running,), "wanted": {"a": wanted}}
    return PodFacts(**(values | {"whole": wanted} | more))  # type: ignore[arg-type]


def test_a_running_container_is_resized_once_it_differs():
    assert next_actions(pod("a"), facts(SMALL, SMALL), NOW).actions == ()
    (action,) = next_actions(pod("a"), facts(SMALL, LARGE), NOW).actions
    assert isinstance(action, Resize)
    assert [(it.name, it.wanted) for it in action.changes] == [("a", LARGE)]
    assert decide.is_resizing(pod("a"), facts(SMALL, LARGE))
    assert not decide.is_resizing(pod("a"), facts(SMALL, SMALL))


def test_a_resize_that_failed_waits_for_its_next_try():
    failed = {steps.RESIZE: Failure("ResizePodInPlaceError", "no", 1, NOW + 5)}
    decision = next_actions(pod("a"), facts(SMALL, LARGE, failures=failed), NOW)
    assert decision.actions == () and decision.again == NOW + 5


def test_a_policy_restarts_only_for_its_resource():
    spec = Spec.parse(
        {
            "name": "a",
            "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}],
        }
    )
    memory = replace(SMALL, memory_limit=128)
    assert not resizing.needs_restart(spec, ContainerChange("a", "a", SMALL, memory))
    assert resizing.needs_restart(spec, ContainerChange("a", "a", SMALL, LARGE))
    wanted = pod("a")
    wanted = wanted.model_copy(
        update={"spec": wanted.spec.model_copy(update={"containers": [spec]})}
    )
    actions = next_actions(wanted, facts(SMALL, LARGE), NOW).actions
    (kill,) = (it for it in actions if isinstance(it, Kill))
    assert kill.message == "Container a resize requires restart" and kill.replaces


def test_a_replaced_container_starts_again_however_it_ended():
    item = pod("a", restartPolicy="OnFailure")
    ended = replace(container("a", code=0), phase=Phase.EXITED)
    boxes = (sandbox(),)
    assert next_actions(item, PodFacts(boxes, (ended,)), NOW).actions == ()
    again = PodFacts(boxes, (ended,), replaced=frozenset({ended.id}))
    assert next_actions(item, again, NOW).actions == (Start("a", 1, "box0"),)
    # A final phase would be the Pod's end, before the container has begun again.
    assert compute(item, PodFacts(boxes, (ended,)), VIEW).phase == "Succeeded"
    assert compute(item, again, VIEW).phase == "Running"


def asking(cpu: str, **status: object) -> Pod:
    resources = {"requests": {"cpu": cpu}}
    spec = {"containers": [{"name": "a", "resources": resources}]}
    return Pod.parse({"metadata": {"name": "p", "uid": "u"}, "spec": spec, "status": status})


def test_what_is_allocated_outlives_the_agent(tmp_path: Path):
    path = tmp_path / "allocated"
    first = Allocations(path)
    assert first.applied(asking("1")) == asking("1") and not first.knows("u")
    first.allocate(asking("1"))
    assert not first.is_allocated(asking("2"))
    later = Allocations(path)
    assert later.applied(asking("2")).spec == asking("1").spec
    later.allocate(asking("2"))
    assert Allocations(path).is_allocated(asking("2"))
    later.keep({"other"})
    assert not Allocations(path).knows("u")
    path.write_text("torn")
    assert not Allocations(path).knows("u")


def test_a_pod_holds_what_it_has_not_given_up_yet():
    status = {"name": "a", "resources": {"requests": {"cpu": "3"}}}
    pods = [asking(cpu, containerStatuses=[status]) for cpu in ("1", "4")]
    found = [held(it).spec.containers[0].resources.requests for it in pods]
    assert found == [{"cpu": "3"}, {"cpu": "4"}]


def test_conditions_keep_their_time_while_their_reason_stays():
    state = ResizeStatus(asking("1"))
    assert state.defer("Deferred", "full", 2, NOW)
    assert not state.defer("Deferred", "still full", 2, NOW + 60)
    (first,) = state.conditions()
    assert (first.last_transition_time or "") < (first.last_probe_time or "")
    assert state.defer("Infeasible", "never", 2, NOW + 90)
    state.begin(3, NOW)
    assert [it.type for it in state.conditions()] == ["PodResizeInProgress"]
    assert state.fail("busy", 4, NOW) and not state.fail("busy", 4, NOW + 1)
    (failed,) = state.conditions()
    assert (failed.reason, failed.observed_generation) == ("Error", 3)


def test_an_event_has_the_resources_as_json():
    assert event_message("Pod resize started", asking("1"), 2) == (
        'Pod resize started: {"containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}}],'
        '"generation":2}'
    )
