"""Decisions for a Pod: single cases, then a simulated node that carries out every decision."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.agent.pods import decide
from control.agent.pods.backoff import FIRST, Failure, Streak, failed
from control.agent.pods.decide import next_actions
from control.agent.pods.facts import PodFacts
from control.agent.pods.steps import (
    Action,
    CreateSandbox,
    Finish,
    Forget,
    Free,
    Kill,
    RemoveSandbox,
    Start,
    StopSandbox,
)
from control.runtime.base import Container, Phase, Sandbox
from tests.support.control.pods import container, pod, sandbox

NOW = 2000.0


def due(item, **facts):
    return next_actions(item, PodFacts(**facts), NOW).actions


def test_a_sandbox_comes_first_then_all_containers():
    assert due(pod("a", "b")) == (CreateSandbox(0),)
    assert due(pod("a", "b"), sandboxes=(sandbox(),)) == (
        Start("a", 0, "box0"),
        Start("b", 0, "box0"),
    )


def test_init_containers_run_one_after_the_other():
    item = pod("main", init=("one", "two"))
    boxes = (sandbox(),)
    assert due(item, sandboxes=boxes) == (Start("one", 0, "box0"),)
    assert due(item, sandboxes=boxes, containers=(container("one"),)) == ()
    done = (container("one", code=0),)
    assert due(item, sandboxes=boxes, containers=done) == (Start("two", 0, "box0"),)
    both = (*done, container("two", code=0))
    assert due(item, sandboxes=boxes, containers=both) == (Start("main", 0, "box0"),)


def test_a_failed_init_container_ends_a_pod_that_never_restarts():
    boxes, ended = (sandbox(),), (container("one", code=1),)
    assert due(pod(init=("one",), restartPolicy="Never"), sandboxes=boxes, containers=ended) == ()
    assert due(pod(init=("one",)), sandboxes=boxes, containers=ended) == (Start("one", 1, "box0"),)


def test_an_init_container_is_not_run_again_beside_main_ones():
    here = (container("main"),)  # the init container was removed meanwhile
    assert due(pod(init=("one",)), sandboxes=(sandbox(),), containers=here) == ()


def test_a_sidecar_must_start_before_the_next_one_and_stays():
    item, boxes = pod("main", init=("side+", "one")), (sandbox(),)
    assert due(item, sandboxes=boxes) == (Start("side", 0, "box0"),)
    side = container("side")
    assert due(item, sandboxes=boxes, containers=(side,)) == ()
    started = frozenset({side.id})
    assert due(item, sandboxes=boxes, containers=(side,), started=started) == (
        Start("one", 0, "box0"),
    )
    gone = (container("side", code=1), container("one", code=0), container("main"))
    assert due(item, sandboxes=boxes, containers=gone) == (Start("side", 1, "box0"),)


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_restart_policies(policy, code, again):
    ended = (container(code=code),)
    found = due(pod(restartPolicy=policy), sandboxes=(sandbox(),), containers=ended)
    assert found == ((Start("main", 1, "box0"),) if again else ())


def test_back_off_waits_and_gives_its_end():
    ended = container(code=1, attempt=1, finished=NOW - 1)
    facts = PodFacts((sandbox(),), (ended,), streaks={"main": Streak(1, NOW - 30)})
    assert next_actions(pod(), facts, NOW) == decide.Decision((), NOW - 1 + FIRST)
    assert next_actions(pod(), facts, NOW + 10).actions == (Start("main", 2, "box0"),)


def test_the_attempt_survives_a_lost_record():
    status = {"containerStatuses": [{"name": "main", "restartCount": 4, "containerID": "x://y"}]}
    assert due(pod(status=status), sandboxes=(sandbox(),)) == (Start("main", 5, "box0"),)


def test_a_sick_or_edited_container_is_killed_first():
    running = container()
    boxes = (sandbox(),)
    (kill,) = due(pod(), sandboxes=boxes, containers=(running,), sick={running.id: "failed"})
    assert (kill.container_id, kill.message, kill.grace) == (running.id, "failed", 30)
    (kill,) = due(pod(), sandboxes=boxes, containers=(running,), hashes={"main": "new"})
    assert "definition changed" in kill.message


def test_a_probe_may_have_its_own_grace_period():
    running = container()
    probe = {"livenessProbe": {"terminationGracePeriodSeconds": 3}}
    facts = {"sandboxes": (sandbox(),), "containers": (running,), "sick": {running.id: "x"}}
    (kill,) = due(pod(container=probe), started=frozenset({running.id}), **facts)
    assert kill.grace == 3
    (kill,) = due(pod(container=probe), **facts)
    assert kill.grace == 30


def test_a_lost_sandbox_takes_its_containers_along():
    lost, running = sandbox(ready=False), container()
    (kill,) = due(pod(), sandboxes=(lost,), containers=(running,))
    assert (kill.container_id, kill.grace, kill.hook) == (running.id, 0, False)
    ended = container(code=137)
    assert due(pod(), sandboxes=(lost,), containers=(ended,)) == (RemoveSandbox("box0"),)
    assert due(pod(restartPolicy="Never"), sandboxes=(lost,), containers=(ended,)) == ()


def test_a_failed_sandbox_is_made_again_later():
    failure = Failure("FailedCreatePodSandBox", "no network", 1, NOW + 3)
    assert next_actions(pod(), PodFacts(failures={"": failure}), NOW) == decide.Decision(
        (), NOW + 3
    )


def test_a_container_that_cannot_be_created_waits():
    facts = PodFacts((sandbox(),), failures={"main": Failure("ErrImagePull", "", 1, NOW + 3)})
    assert next_actions(pod("main", "b"), facts, NOW).actions == (Start("b", 0, "box0"),)
    assert next_actions(pod("main", "b"), facts, NOW).again == NOW + 3


def test_deletion_kills_with_its_own_grace_then_finishes():
    item = pod(meta={"deletionTimestamp": "2026-11-22T12:00:00Z", "deletionGracePeriodSeconds": 5})
    (kill,) = due(item, sandboxes=(sandbox(),), containers=(container(),))
    assert (kill.grace, kill.message) == (5, "Stopping container main")
    assert due(item, sandboxes=(sandbox(),), containers=(container(code=0),)) == (Finish(),)
    assert due(item) == (Finish(),)


def test_sidecars_end_last():
    item = pod("main", init=("side+",), meta={"deletionTimestamp": "2026-11-22T12:00:00Z"})
    both = (container("main"), container("side"))
    assert [kill.name for kill in due(item, containers=both)] == ["main"]
    after = (container("main", code=0), container("side"))
    assert [kill.name for kill in due(item, containers=after)] == ["side"]


@pytest.mark.parametrize("init", [("side+",), ("side+", "one")])
def test_sidecars_end_with_a_pod_that_has_ended_by_itself(init):
    item = pod("main", init=init, restartPolicy="Never", status={"phase": "Running"})
    ended = container("main", code=0) if len(init) == 1 else container("one", code=1)
    (kill,) = due(item, sandboxes=(sandbox(),), containers=(ended, container("side")))
    assert kill.name == "side"


def test_sidecars_get_the_rest_of_the_grace_period():
    end = {"deletionTimestamp": "1970-01-01T00:33:27Z", "deletionGracePeriodSeconds": 10}  # at 2007
    item, after = pod(init=("side+",), meta=end), (container(code=0), container("side"))
    (kill,) = due(item, containers=after)
    assert kill.grace == 7
    (kill,) = next_actions(item, PodFacts(containers=after), 2006).actions
    assert kill.grace == 2


def test_a_pod_that_is_over_keeps_its_records_and_frees_its_address():
    item = pod(status={"phase": "Succeeded"})
    assert due(item, sandboxes=(sandbox(),), containers=(container(code=0),)) == (
        StopSandbox("box0"),
    )
    assert due(item, sandboxes=(sandbox(ready=False),), containers=(container(code=0),)) == ()


def test_an_evicted_pod_keeps_nothing_once_its_status_says_so():
    running, ended = (container(),), (container(code=137),)
    gone = {"over": "Evicted", "why": "The node was low on resource: memory. "}
    (kill,) = due(pod(), sandboxes=(sandbox(),), containers=running, **gone)
    assert (type(kill), kill.grace) == (Kill, 1)
    assert due(pod(), sandboxes=(sandbox(),), containers=ended, **gone) == ()
    said = pod(status={"phase": "Failed", "reason": "Evicted"})
    assert due(said, sandboxes=(sandbox(),), containers=ended) == (Free(),)
    assert due(said, containers=ended) == (Free(),)
    assert due(said) == ()
    deleted = pod(
        meta={"deletionTimestamp": "2026-11-22T12:00:00Z"},
        status={"phase": "Failed", "reason": "Evicted"},
    )
    assert due(deleted, sandboxes=(sandbox(),), containers=ended) == (Finish(),)


def test_the_active_deadline():
    item = pod(activeDeadlineSeconds=60, status={"startTime": "1970-01-01T00:33:00Z"})  # at 1980
    assert next_actions(item, PodFacts((sandbox(),), (container(),)), NOW).again == 2040
    (kill,) = next_actions(item, PodFacts((sandbox(),), (container(),)), 2040).actions
    assert isinstance(kill, Kill)


def test_old_dead_containers_are_forgotten():
    dead = tuple(container(attempt=number, code=1) for number in range(4))
    running = container(attempt=4)
    assert due(pod(), sandboxes=(sandbox(),), containers=(*dead, running)) == (
        Forget("main-0-0", "main"),
        Forget("main-0-1", "main"),
    )


def test_failures_wait_longer_each_time_up_to_a_limit():
    failure = None
    waits = []
    for _ in range(8):
        failure = failed(failure, "X", "", 0.0)
        waits.append(failure.until)
    assert waits == [1, 2, 4, 8, 16, 20, 20, 20]


def test_streaks_double_and_are_forgotten():
    streak = Streak()
    waits = []
    for _ in range(8):
        waits.append(streak.delay())
        streak = streak.restarted(streak.since + 1)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
    assert streak.restarted(streak.since + 601).delay() == 10


class SimulatedNode:
    """A simulated node: carries out decided actions one at a time, in any order."""

    def __init__(self, item, codes):
        self.pod, self.codes = item, codes  # name -> exit codes of its runs; later runs do not end
        self.facts = PodFacts()
        self.log: list[Action] = []
        self.finished = False
        self.now = NOW

    def step(self, choose):
        """Carry out one of the due actions; False if there is none."""
        decision = next_actions(self.pod, self.facts, self.now)
        assert next_actions(self.pod, self.facts, self.now) == decision
        if not decision.actions:
            if decision.again is None:
                return False
            self.now = decision.again
            return True
        action = choose(decision.actions)
        self.log.append(action)
        self.do(action)
        return True

    def do(self, action):
        facts = self.facts
        match action:
            case CreateSandbox(attempt):
                assert not any(box.ready for box in facts.sandboxes)
                self.put(sandboxes=(*facts.sandboxes, sandbox(attempt)))
            case StopSandbox(key):
                boxes = [replace(box, ready=box.ready and box.id != key) for box in facts.sandboxes]
                self.put(sandboxes=tuple(boxes))
            case RemoveSandbox(key):
                self.put(
                    sandboxes=tuple(box for box in facts.sandboxes if box.id != key),
                    containers=tuple(it for it in facts.containers if it.sandbox_id != key),
                )
            case Start(name, attempt, box):
                self.start(name, attempt, box)
            case Kill(key):
                self.end(key, 137)
            case Forget(key):
                self.put(containers=tuple(it for it in facts.containers if it.id != key))
            case Finish():
                assert not any(it.phase is Phase.RUNNING for it in facts.containers)
                self.finished = True
                self.put(sandboxes=(), containers=())

    def start(self, name, attempt, box):
        assert not any(
            it.name == name and it.phase is Phase.RUNNING for it in self.facts.containers
        )
        made = replace(container(name, attempt, box=int(box[3:])), started=self.now)
        self.put(containers=(*self.facts.containers, made), started=self.facts.started | {made.id})
        one_shot = any(
            it.name == name and not it.is_sidecar for it in self.pod.spec.init_containers
        )
        runs = self.codes.get(name, [])
        if runs or one_shot:
            self.end(made.id, runs.pop(0) if runs else 0)

    def end(self, key, code):
        def ended(it: Container) -> Container:
            if it.id != key:
                return it
            return replace(it, phase=Phase.EXITED, exit_code=code, finished=self.now)

        self.put(containers=tuple(ended(it) for it in self.facts.containers))

    def forget_sandbox(self):
        """Forget a sandbox whose checkpoint is torn; its containers still run."""
        self.put(sandboxes=())

    def put(self, **changes):
        self.facts = replace(self.facts, **changes)

    def lose_sandbox(self):
        boxes: list[Sandbox] = [replace(box, ready=False) for box in self.facts.sandboxes]
        self.put(sandboxes=tuple(boxes))

    @property
    def running(self):
        return {it.name for it in self.facts.containers if it.phase is Phase.RUNNING}


names = st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)
inits = st.lists(st.sampled_from(["i", "j", "s+"]), max_size=3, unique=True)
exit_codes = st.lists(st.sampled_from([0, 1, 2]), max_size=2)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_node_settles_as_its_pod_wants_it(data):
    mains, before = data.draw(names), data.draw(inits)
    policy = data.draw(st.sampled_from(["Always", "OnFailure", "Never"]))
    codes = {name: data.draw(exit_codes) for name in mains}
    codes |= {name: data.draw(exit_codes) for name in before if not name.endswith("+")}
    node = SimulatedNode(pod(*mains, init=tuple(before), restartPolicy=policy), codes)
    crash_at = data.draw(st.integers(0, 12))
    for count in range(300):
        if count == crash_at:
            data.draw(st.sampled_from([node.lose_sandbox, node.forget_sandbox]))()
        if not node.step(lambda actions: data.draw(st.sampled_from(actions))):
            break
    else:
        pytest.fail(f"no rest after {node.log[-10:]}")
    failed_init = policy == "Never" and any(
        it.exit_code for it in node.facts.containers if it.name in before
    )
    if policy == "Always":
        assert node.running >= set(mains)
    elif not failed_init:
        assert {it.name for it in node.facts.containers} >= set(mains)
    if not node.running & set(mains):
        assert not node.running  # a Pod that has ended keeps no sidecar
    assert_order(node, mains, before)


def assert_order(node, mains, before):
    """Assert that in each sandbox every init container was started before any main one."""
    boxes = {action.sandbox_id for action in node.log if isinstance(action, Start)}
    for box in boxes:
        order = [
            action.name
            for action in node.log
            if isinstance(action, Start) and action.sandbox_id == box
        ]
        first_main = next((order.index(name) for name in order if name in mains), len(order))
        begun = [name.rstrip("+") for name in before]
        if first_main < len(order):
            assert set(begun) <= set(order[:first_main])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_deleted_pod_ends_from_every_state(data):
    mains, before = data.draw(names), data.draw(inits)
    node = SimulatedNode(pod(*mains, init=tuple(before)), {})
    for _ in range(data.draw(st.integers(0, 15))):
        node.step(lambda actions: data.draw(st.sampled_from(actions)))
    if data.draw(st.booleans()):
        node.lose_sandbox()
    node.pod = pod(*mains, init=tuple(before), meta={"deletionTimestamp": "2026-11-22T12:00:00Z"})
    started = sum(isinstance(action, Start) for action in node.log)
    for _ in range(100):
        if node.finished:
            break
        assert node.step(lambda actions: data.draw(st.sampled_from(actions)))
    assert node.finished
    assert sum(isinstance(action, Start) for action in node.log) == started


def test_ephemeral_containers_start_once_whatever_the_others_do():
    item = pod("main", init=("one",), ephemeralContainers=[{"name": "debug", "image": "i"}])
    boxes = (sandbox(),)
    assert due(item, sandboxes=boxes) == (Start("debug", 0, "box0"), Start("one", 0, "box0"))
    ended = (container("one"), container("debug", code=1))
    assert due(item, sandboxes=boxes, containers=ended) == ()
    wait = {"debug": failed(None, "ImagePullBackOff", "no image", NOW)}
    assert due(item, sandboxes=boxes, containers=(container("one"),), failures=wait) == ()


def test_an_ephemeral_container_ends_with_its_pod():
    item = pod("main", restartPolicy="Never", ephemeralContainers=[{"name": "debug", "image": "i"}])
    item = item.model_copy(update={"status": item.status.model_copy(update={"phase": "Succeeded"})})
    actions = due(item, sandboxes=(sandbox(),), containers=(container("debug"),))
    assert [action.name for action in actions if isinstance(action, Kill)] == ["debug"]
