"""A Pod's status from its containers, by kubelet's rules."""

import pytest

from control.agent.pods.backoff import Failure, Streak
from control.agent.pods.conditions import merge
from control.agent.pods.facts import PodFacts
from control.agent.pods.publish import patch_for
from control.agent.pods.status import StatusView, compute
from control.api.meta import Condition
from control.api.pod import PodStatus
from control.api.types.conform import conform_message
from tests.support.control.pods import container, pod, sandbox

NOW = 2000.0
VIEW = StatusView(NOW, ("172.31.0.11",))
BOX = (sandbox(),)


def status(item, *, view=VIEW, **facts):
    return compute(item, PodFacts(**facts), view)


def conditions(found):
    return {it.type: it.status for it in found.conditions}


def test_a_fresh_pod_is_pending():
    found = status(pod("a", "b"))
    assert found.phase == "Pending"
    assert [it.state.waiting.reason for it in found.container_statuses] == ["ContainerCreating"] * 2
    assert conditions(found)["PodReadyToStartContainers"] == "False"
    assert conditions(found)["PodScheduled"] == "True"
    assert found.pod_ip is None and found.host_ip == "172.31.0.11"
    assert found.start_time == "1970-01-01T00:33:20Z"


def test_a_ready_pod():
    it = container()
    found = status(
        pod(),
        sandboxes=BOX,
        containers=(it,),
        started=frozenset({it.id}),
        view=StatusView(NOW, ("172.31.0.11",), ready=frozenset({it.id})),
    )
    assert found.phase == "Running"
    assert set(conditions(found).values()) == {"True"}
    assert (found.pod_ip, [ip.ip for ip in found.pod_ips]) == (
        "10.244.0.5",
        ["10.244.0.5", "fd00::5"],
    )
    (only,) = found.container_statuses
    assert (only.ready, only.started, only.restart_count) == (True, True, 0)
    assert only.container_id == f"podwire://{it.id}"
    assert only.image == "docker.io/podwire/tools:latest"


def test_an_unready_pod_names_the_container():
    it = container()
    found = status(pod(), sandboxes=BOX, containers=(it,), started=frozenset({it.id}))
    ready = next(it for it in found.conditions if it.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "ContainersNotReady")
    assert ready.message == "containers with unready status: [main]"


def test_readiness_gates_hold_a_pod_back():
    it = container()
    item = pod(readinessGates=[{"conditionType": "lb"}])
    view = StatusView(NOW, (), ready=frozenset({it.id}))
    found = status(item, sandboxes=BOX, containers=(it,), started=frozenset({it.id}), view=view)
    assert conditions(found)["ContainersReady"] == "True"
    assert conditions(found)["Ready"] == "False"


def test_a_crash_loop():
    ended = container(code=1, attempt=2, finished=NOW - 5)
    found = status(pod(), sandboxes=BOX, containers=(ended,), streaks={"main": Streak(2, NOW - 8)})
    (only,) = found.container_statuses
    assert only.state.waiting.reason == "CrashLoopBackOff"
    assert only.state.waiting.message.startswith("back-off 20s restarting failed container=main")
    assert (only.last_state.terminated.exit_code, only.restart_count) == (1, 2)
    assert found.phase == "Running"


def test_an_image_that_is_missing():
    failure = Failure("ImagePullBackOff", "import it", 1, NOW + 1)
    found = status(pod(), sandboxes=BOX, failures={"main": failure})
    waiting = found.container_statuses[0].state.waiting
    assert (waiting.reason, waiting.message, found.phase) == (
        "ImagePullBackOff",
        "import it",
        "Pending",
    )


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [
        ("Never", 0, "Succeeded"),
        ("Never", 1, "Failed"),
        ("OnFailure", 0, "Succeeded"),
        ("OnFailure", 1, "Running"),
        ("Always", 0, "Running"),
    ],
)
def test_phases_of_ended_pods(policy, code, phase):
    found = status(pod(restartPolicy=policy), sandboxes=BOX, containers=(container(code=code),))
    assert found.phase == phase


@pytest.mark.parametrize(
    ("over", "phase"), [("", "Succeeded"), ("Evicted", "Failed"), ("DeadlineExceeded", "Failed")]
)
def test_a_pod_is_over_when_its_sidecars_have_ended_too(over, phase):
    item = pod("main", init=("side+",), restartPolicy="Never", status={"phase": "Running"})
    main, side = container(code=0), container("side")
    found = status(item, sandboxes=BOX, containers=(main, side), over=over)
    assert (found.phase, found.reason) == ("Running", None)
    side = container("side", code=137)
    found = status(item, sandboxes=BOX, containers=(main, side), over=over)
    assert (found.phase, found.reason) == (phase, over or None)


def test_a_completed_pod_is_not_ready_for_that_reason():
    found = status(pod(restartPolicy="Never"), sandboxes=BOX, containers=(container(code=0),))
    assert next(it.reason for it in found.conditions if it.type == "Ready") == "PodCompleted"


def test_init_containers():
    item = pod(init=("one", "two"))
    found = status(item, sandboxes=BOX, containers=(container("one", code=0), container("two")))
    assert found.phase == "Pending"
    assert found.container_statuses[0].state.waiting.reason == "PodInitializing"
    reasons = {it.state.waiting.reason for it in found.container_statuses}
    assert reasons == {"PodInitializing"}
    fresh = status(item)
    waiting = (*fresh.init_container_statuses, *fresh.container_statuses)
    assert {it.state.waiting.reason for it in waiting} == {"PodInitializing"}
    initialized = next(it for it in found.conditions if it.type == "Initialized")
    assert initialized.message == "containers with incomplete status: [two]"
    failed = (container("one", code=1),)
    assert (
        status(pod(init=("one",), restartPolicy="Never"), sandboxes=BOX, containers=failed).phase
        == "Failed"
    )


def test_a_final_phase_stays():
    item = pod(status={"phase": "Failed", "reason": "Evicted"})
    assert status(item).phase == "Failed"


def test_a_deleted_pod_ends_failed_or_succeeded():
    item = pod(meta={"deletionTimestamp": "2026-11-22T12:00:00Z"})
    assert status(item, sandboxes=BOX, containers=(container(code=137),)).phase == "Failed"
    assert status(item, sandboxes=BOX, containers=(container(code=0),)).phase == "Succeeded"
    assert status(item, sandboxes=BOX, containers=(container(),)).phase == "Running"


def test_the_deadline_fails_a_pod():
    item = pod(activeDeadlineSeconds=1, status={"startTime": "1970-01-01T00:33:00Z"})
    found = status(item, sandboxes=BOX, containers=(container(code=137),))
    assert (found.phase, found.reason) == ("Failed", "DeadlineExceeded")


def test_a_refused_pod():
    found = status(
        pod(), view=StatusView(NOW, (), rejected=("OutOfcpu", "Node didn't have enough"))
    )
    assert (found.phase, found.reason) == ("Failed", "OutOfcpu")
    assert found.message == "Pod was rejected: Node didn't have enough"


def test_host_network_pods_have_the_nodes_address():
    box = sandbox(host_network=True)
    found = status(pod(hostNetwork=True), sandboxes=(box,), containers=(container(),))
    assert found.pod_ip == "172.31.0.11"


def test_transition_times_move_only_with_the_status():
    old = [
        Condition(type="Ready", status="True", last_transition_time="A"),
        Condition(type="lb", status="True", last_transition_time="B"),
    ]
    same, kept = merge(old, [Condition(type="Ready", status="True")], NOW)
    assert same.last_transition_time == "A" and kept.type == "lb"
    changed, _ = merge(old, [Condition(type="Ready", status="False")], NOW)
    assert changed.last_transition_time == "1970-01-01T00:33:20Z"


def test_a_status_is_written_once():
    item = pod()
    found = status(item)
    patch = patch_for(item, found)
    assert patch["phase"] == "Pending"
    (first,) = patch["containerStatuses"]
    assert (first["ready"], first["restartCount"], first["lastState"]) == (False, 0, {})
    again = pod(status=conform_message("core.PodStatus", found.wire())[0])
    assert patch_for(again, status(again)) == {}


def test_a_condition_that_is_true_again_loses_its_message():
    unready = status(pod(), sandboxes=BOX, containers=(container(),)).wire()
    it = container()
    view = StatusView(NOW, ("172.31.0.11",), ready=frozenset({it.id}))
    item = pod(status=unready)
    found = status(item, sandboxes=BOX, containers=(it,), started=frozenset({it.id}), view=view)
    ready, contained = patch_for(item, found)["conditions"]
    assert ready == {
        "type": "Ready",
        "status": "True",
        "reason": None,
        "message": None,
        "lastTransitionTime": "1970-01-01T00:33:20Z",
    }
    assert contained["type"] == "ContainersReady"


def test_a_patch_removes_absent_fields():
    item = pod(status={"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]})
    assert patch_for(item, PodStatus(phase="Failed")) == {
        "phase": "Failed",
        "podIP": None,
        "podIPs": None,
    }


def test_an_ephemeral_container_has_a_status_of_its_own():
    item = pod("main", ephemeralContainers=[{"name": "debug", "image": "i"}])
    (fresh,) = status(item, sandboxes=BOX).ephemeral_container_statuses
    assert fresh.state.waiting and fresh.started is None
    both = (container("main"), container("debug"))
    found = status(item, sandboxes=BOX, containers=both)
    (debug,) = found.ephemeral_container_statuses
    assert debug.state.running and not debug.ready
    assert [it.name for it in found.container_statuses] == ["main"]
    ended = (container("main"), container("debug", code=1))
    found = status(item, sandboxes=BOX, containers=ended)
    assert found.ephemeral_container_statuses[0].state.terminated.exit_code == 1
    assert found.phase == "Running"
