"""Decisions for Jobs, also when cut off after any write: each Pod counts exactly once."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api import kinds
from control.api.batch import Job
from control.api.errors import errors_in
from control.api.rules import rules_of
from control.controllers.actions import Again, Delete
from control.controllers.job.controller import JobController
from control.controllers.job.indexes import format_indexes, index_of, parse_indexes
from control.controllers.job.ttl import TTLAfterFinishedController
from tests.support.control.simulate import Simulation

JOBS = JobController()


def job(**spec: Any) -> Job:
    """A Job as the server stores it, with defaults and its selector."""
    pods = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    template = {"template": {"spec": pods | spec.pop("pods", {})}}
    wire = {"kind": "Job", "apiVersion": "batch/v1", "spec": template | spec}
    wire["metadata"] = {"name": "j", "namespace": "default", "uid": "uid-j"}
    rules = rules_of(kinds.JOB)
    return Job.parse(rules.begin(rules.default(wire)))


def started(**spec: Any) -> Simulation:
    sim = Simulation(job(**spec))
    sim.settle(JOBS)
    return sim


def now(sim: Simulation) -> Job:
    return sim.get(job())


def active(sim: Simulation) -> list[Any]:
    return [p for p in sim.pods() if p.status.phase is None and not p.metadata.deletion_timestamp]


def end(sim: Simulation, *codes: int) -> None:
    """End the first active Pods with exit codes; the controller then does its work."""
    for pod, code in zip(active(sim), codes, strict=False):
        sim.end_pod(pod, code)
    sim.settle(JOBS)


def conditions(sim: Simulation) -> dict[str, str]:
    return {it.type: it.reason for it in now(sim).status.conditions if it.status == "True"}


def numbers(sim: Simulation) -> tuple[Any, ...]:
    status = now(sim).status
    return status.active, status.succeeded, status.failed


def test_a_job_runs_one_pod_to_its_end():
    sim = started()
    (pod,) = sim.pods()
    assert numbers(sim) == (1, None, None) or numbers(sim) == (None, None, None)
    assert pod.metadata.labels["job-name"] == "j"
    assert pod.metadata.finalizers == ["batch.kubernetes.io/job-tracking"]
    end(sim, 0)
    assert numbers(sim) == (None, 1, None)
    assert conditions(sim) == {
        "SuccessCriteriaMet": "CompletionsReached",
        "Complete": "CompletionsReached",
    }
    assert now(sim).status.completion_time and now(sim).status.start_time
    assert [pod.metadata.finalizers for pod in sim.pods()] == [[]]
    assert [(r.type, r.reason) for r in sim.reports] == [("Normal", "Completed")]


def test_so_many_run_at_once_and_no_more_than_are_missing():
    sim = started(completions=5, parallelism=3)
    assert len(active(sim)) == 3
    end(sim, 0, 0)
    assert len(active(sim)) == 3 and numbers(sim)[1] == 2
    end(sim, 0, 0)
    assert len(active(sim)) == 1
    end(sim, 0)
    assert numbers(sim) == (None, 5, None) and "Complete" in conditions(sim)


def test_a_queue_of_work_ends_with_its_first_success():
    sim = started(parallelism=3)
    end(sim, 0)
    assert len(active(sim)) == 2 and "Complete" not in conditions(sim)
    end(sim, 0, 0)
    assert numbers(sim) == (None, 3, None) and "Complete" in conditions(sim)


def test_failures_are_tried_again_after_longer_pauses_then_the_job_has_failed():
    sim = started(backoffLimit=2)
    for pause in (10, 20):
        end(sim, 1)
        assert active(sim) == []
        (again,) = [
            a
            for a in JOBS.reconcile(sim.cluster, ("default", "j"), sim.now)
            if isinstance(a, Again)
        ]
        assert again.after == pytest.approx(pause, abs=1)
        sim.now += pause + 1
        sim.settle(JOBS)
        assert len(active(sim)) == 1
    end(sim, 1)
    assert conditions(sim) == {
        "FailureTarget": "BackoffLimitExceeded",
        "Failed": "BackoffLimitExceeded",
    }
    assert numbers(sim) == (None, None, 3) and now(sim).status.completion_time is None
    assert sim.reports[-1].message == "Job has reached the specified backoff limit"


def test_a_failed_job_ends_its_other_pods_first():
    sim = started(parallelism=2, completions=2, backoffLimit=0)
    slow = hold(sim, sim.pods()[1])
    end(sim, 1)
    assert conditions(sim) == {"FailureTarget": "BackoffLimitExceeded"}
    assert (numbers(sim), now(sim).status.terminating) == ((None, None, 2), 1)
    sim.drop(slow)  # its node has ended it
    sim.settle(JOBS)
    assert "Failed" in conditions(sim) and numbers(sim) == (None, None, 2)
    assert all(not pod.metadata.finalizers for pod in sim.pods())


def hold(sim: Simulation, pod: Any) -> Any:
    """Keep a Pod after its deletion, as its grace period does."""
    held = {"finalizers": [*pod.metadata.finalizers, "example.com/grace"]}
    sim.put(pod.model_copy(update={"metadata": pod.metadata.model_copy(update=held)}))
    return pod


def test_pods_that_an_early_success_ends_have_not_failed():
    sim = started(completions=2, parallelism=2)
    held = now(sim)
    spec = held.spec.model_copy(update={"completions": 1})  # as an elastic Job may
    sim.put(held.model_copy(update={"spec": spec}))
    end(sim, 0)
    assert "Complete" in conditions(sim)
    assert now(sim).status.succeeded == 1


def test_the_deadline_ends_a_job():
    sim = started(activeDeadlineSeconds=30)
    sim.now += 31
    sim.settle(JOBS)
    for pod in sim.pods():
        sim.end_pod(pod, 137)
    sim.settle(JOBS)
    assert conditions(sim)["Failed"] == "DeadlineExceeded"


@pytest.mark.parametrize(
    ("rule", "code", "ends", "failed"),
    [
        ({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}, 3, True, 1),
        ({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}, 4, False, 1),
        ({"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [3]}}, 4, True, 1),
        ({"action": "Ignore", "onExitCodes": {"operator": "In", "values": [3]}}, 3, False, None),
    ],
)
def test_a_policy_for_failed_pods(rule: dict[str, Any], code: int, ends: bool, failed: int | None):
    sim = started(podFailurePolicy={"rules": [rule]})
    end(sim, code)
    assert ("Failed" in conditions(sim), numbers(sim)[2]) == (ends, failed)
    if ends:
        assert sim.reports[-1].message.startswith("Container c for pod default/j-")
        assert sim.reports[-1].message.endswith("matching FailJob rule at index 0")


def test_each_index_succeeds_once():
    own = {"hostname": "not-this"}
    sim = started(completions=3, parallelism=3, completionMode="Indexed", pods=own)
    assert sorted(map(index_of, sim.pods())) == [0, 1, 2]
    assert {pod.spec.hostname for pod in sim.pods()} == {"j-0", "j-1", "j-2"}
    variable = sim.pods()[0].spec.containers[0].env[-1]
    assert variable.name == "JOB_COMPLETION_INDEX"
    end(sim, 0, 1, 0)
    sim.now += 11
    sim.settle(JOBS)
    (left,) = active(sim)
    done = parse_indexes(now(sim).status.completed_indexes, 3)
    assert {index_of(left)} | done == {0, 1, 2} and numbers(sim) == (1, 2, 1)
    end(sim, 0)
    assert now(sim).status.completed_indexes == "0-2" and "Complete" in conditions(sim)


def test_a_suspended_job_has_no_pods_and_goes_on_later():
    sim = started(suspend=True)
    assert sim.pods() == [] and conditions(sim) == {"Suspended": "JobSuspended"}
    held = now(sim)
    sim.put(held.model_copy(update={"spec": held.spec.model_copy(update={"suspend": False})}))
    sim.settle(JOBS)
    assert len(active(sim)) == 1 and conditions(sim) == {} and now(sim).status.start_time
    assert [r.reason for r in sim.reports] == ["Suspended", "Resumed"]


def test_pods_of_a_job_that_is_gone_or_made_anew_are_let_go():
    sim = started(parallelism=2, completions=2)
    old = sim.pods()
    sim.drop(now(sim))
    again = job().model_copy(update={"metadata": job().metadata.model_copy(update={"uid": "new"})})
    sim.create(again)
    for pod in old:
        sim.delete(pod)
    sim.settle(JOBS)
    left = {pod.metadata.name for pod in old} & {pod.metadata.name for pod in sim.pods()}
    assert not left and len(active(sim)) == 1


def test_a_job_that_somebody_else_manages_is_left_alone():
    assert started(managedBy="example.com/mine").pods() == []


def test_an_ended_job_is_removed_after_its_time():
    sim = started(ttlSecondsAfterFinished=100)
    ttl = TTLAfterFinishedController()
    assert list(ttl.reconcile(sim.cluster, ("default", "j"), sim.now)) == []
    end(sim, 0)
    assert list(ttl.reconcile(sim.cluster, ("default", "j"), sim.now)) == [Again(100)]
    (action,) = ttl.reconcile(sim.cluster, ("default", "j"), sim.now + 100)
    assert isinstance(action, Delete) and action.propagation == "Foreground"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, None),
        ({"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "uid-j"}}}, None),
        ({"selector": {"matchLabels": {"a": "b"}}}, "spec.selector: Invalid value"),
        (
            {"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "other"}}},
            "`selector` not auto-generated",
        ),
        ({"manualSelector": True}, "spec.selector: Required value"),
        (
            {"manualSelector": True, "selector": {"matchLabels": {"a": "b"}}},
            "`selector` does not match template `labels`",
        ),
        ({"managedBy": "mine"}, "must be a domain-prefixed path"),
        ({"completionMode": "Indexed", "parallelism": 2}, "when completion mode is Indexed"),
    ],
)
def test_a_selector_finds_the_jobs_own_pods(spec: dict[str, Any], message: str | None):
    """Else the Job would make Pods, not find them, and make more."""
    found = [str(error) for error in errors_in(kinds.JOB, job(**spec))]
    assert found == [] if message is None else message in found[0]


MODES = {
    "NonIndexed": {"backoffLimit": 99},
    "Indexed": {"backoffLimit": 99, "completionMode": "Indexed"},
    "of each index": {"backoffLimitPerIndex": 99, "completionMode": "Indexed"},
}


@given(st.data(), st.integers(1, 6), st.integers(1, 3), st.sampled_from([*MODES]))
def test_killed_after_any_write_it_counts_each_pod_once(
    data: st.DataObject, completions: int, parallelism: int, mode: str
):
    sim = Simulation(job(completions=completions, parallelism=parallelism, **MODES[mode]))
    failures = 0
    for _ in range(400):
        pending = list(sim.pending(JobController()))
        if not pending:
            if "Complete" in conditions(sim):
                break
            going = active(sim)
            if not going:
                sim.now += 700  # the pause after failures
                continue
            code = data.draw(st.sampled_from([0, 0, 1]))
            failures += code
            sim.end_pod(data.draw(st.sampled_from(going)), code)
            continue
        actions = data.draw(st.sampled_from(pending))
        for action in actions[: data.draw(st.integers(1, len(actions)))]:
            sim.apply(action)
        assert len(active(sim)) <= parallelism
    assert numbers(sim) == (None, completions, failures or None)
    assert all(not pod.metadata.finalizers for pod in sim.pods())


@given(st.sets(st.integers(0, 50)))
def test_indexes_are_written_and_read(indexes: set[int]):
    assert parse_indexes(format_indexes(indexes), 51) == indexes


@pytest.mark.parametrize(
    ("text", "indexes"),
    [("0-2,4", {0, 1, 2, 4}), ("x,9", set()), (None, set()), ("0-9", {*range(5)})],
)
def test_indexes_that_are_none_are_left_out(text: str | None, indexes: set[int]):
    assert parse_indexes(text, 5) == indexes


PER_INDEX = {"completionMode": "Indexed", "completions": 3, "parallelism": 3}
COUNT = "batch.kubernetes.io/job-index-failure-count"


def end_index(sim: Simulation, index: int, code: int) -> None:
    """End the active Pod of an index; the controller then does its work."""
    (pod,) = [it for it in active(sim) if index_of(it) == index]
    sim.end_pod(pod, code)
    sim.settle(JOBS)


def counts_of(sim: Simulation, index: int) -> list[str]:
    return sorted(it.metadata.annotations[COUNT] for it in sim.pods() if index_of(it) == index)


def test_each_index_has_failures_and_pauses_of_its_own():
    sim = started(backoffLimitPerIndex=1, **PER_INDEX)
    assert now(sim).spec.backoff_limit == 2**31 - 1
    end_index(sim, 1, 1)
    assert counts_of(sim, 1) == ["0"] and len(active(sim)) == 2
    assert numbers(sim) == (2, None, None)  # its finalizer stays until its successor is there
    sim.now += 10
    sim.settle(JOBS)
    assert counts_of(sim, 1) == ["0", "1"] and numbers(sim) == (3, None, 1)
    end_index(sim, 0, 0)
    end_index(sim, 1, 1)
    assert now(sim).status.failed_indexes == "1" and conditions(sim) == {}
    sim.now += 1000
    sim.settle(JOBS)
    assert len(active(sim)) == 1 and counts_of(sim, 1) == ["0", "1"]
    end_index(sim, 2, 0)
    assert conditions(sim) == {"FailureTarget": "FailedIndexes", "Failed": "FailedIndexes"}
    assert now(sim).status.completed_indexes == "0,2" and numbers(sim) == (None, 2, 2)
    assert [pod.metadata.finalizers for pod in sim.pods()] == [[]] * 4


def test_too_many_failed_indexes_end_a_job():
    sim = started(backoffLimitPerIndex=0, maxFailedIndexes=1, **PER_INDEX)
    end_index(sim, 0, 1)
    assert conditions(sim) == {} and now(sim).status.failed_indexes == "0"
    end_index(sim, 1, 1)
    assert conditions(sim)["FailureTarget"] == "MaxFailedIndexesExceeded"


@pytest.mark.parametrize(
    ("action", "failed", "count"), [("FailIndex", "1", ["0"]), ("Ignore", "", ["0", "0"])]
)
def test_a_policy_for_an_index(action: str, failed: str, count: list[str]):
    on_exit = {"operator": "In", "values": [7]}
    rules = {"podFailurePolicy": {"rules": [{"action": action, "onExitCodes": on_exit}]}}
    sim = started(backoffLimitPerIndex=5, **PER_INDEX, **rules)
    end_index(sim, 1, 7)
    sim.now += 10
    sim.settle(JOBS)
    assert (now(sim).status.failed_indexes, counts_of(sim, 1)) == (failed, count)


@pytest.mark.parametrize(
    ("rule", "codes", "ends"),
    [
        ({"succeededIndexes": "0"}, {0: 0}, True),
        ({"succeededIndexes": "0,2"}, {0: 0}, False),
        ({"succeededIndexes": "0-2", "succeededCount": 2}, {0: 0, 1: 0}, True),
        ({"succeededCount": 1}, {2: 0}, True),
    ],
)
def test_an_early_success(rule: dict[str, Any], codes: dict[int, int], ends: bool):
    sim = started(successPolicy={"rules": [{"succeededCount": 3}, rule]}, **PER_INDEX)
    for index, code in codes.items():
        end_index(sim, index, code)
    if not ends:
        assert conditions(sim) == {} and len(active(sim)) == 2
        return
    for pod in sim.pods():
        if pod.metadata.deletion_timestamp:
            sim.end_pod(pod, 1)
    sim.settle(JOBS)
    assert conditions(sim) == {"SuccessCriteriaMet": "SuccessPolicy", "Complete": "SuccessPolicy"}
    assert active(sim) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"maxFailedIndexes": 1}, "spec.backoffLimitPerIndex: Required value"),
        ({"backoffLimitPerIndex": 1, "maxFailedIndexes": 4}, "must be less than or equal to comp"),
        ({"successPolicy": {"rules": []}}, "spec.successPolicy.rules: Required value"),
        ({"successPolicy": {"rules": [{}]}}, "at least one of succeededCount or succeededIndexes"),
        ({"successPolicy": {"rules": [{"succeededIndexes": "0-3"}]}}, 'too large index: "3"'),
        ({"successPolicy": {"rules": [{"succeededIndexes": "1,0"}]}}, "non-increasing order"),
        ({"successPolicy": {"rules": [{"succeededIndexes": "a"}]}}, "cannot convert string"),
        ({"successPolicy": {"rules": [{"succeededCount": 4}]}}, "(the number of specified compl"),
        (
            {"successPolicy": {"rules": [{"succeededIndexes": "0,2", "succeededCount": 3}]}},
            "must be less than or equal to 2 (the number of indexes",
        ),
    ],
)
def test_limits_and_policies_of_indexes_that_are_refused(spec: dict[str, Any], message: str):
    found = [str(error) for error in errors_in(kinds.JOB, job(**PER_INDEX, **spec))]
    assert any(message in error for error in found), found
