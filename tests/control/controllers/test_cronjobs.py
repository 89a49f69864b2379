"""Decisions for CronJobs: which Job is due, which run beside it, and which are forgotten."""

from typing import Any

import pytest

from control.api import kinds
from control.api.batch import CronJob, Job
from control.api.errors import errors_in
from control.api.rules import rules_of
from control.api.times import rfc3339
from control.controllers.actions import Again, Report
from control.controllers.cronjob.controller import CronJobController
from control.controllers.job.controller import JobController
from tests.support.control.simulate import Simulation

CRON = CronJobController()
HOUR = 3600.0
START = 1_800_000_000.0  # on the hour


def cron(**spec: Any) -> CronJob:
    pods = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    template = {"spec": {"template": {"spec": pods}}}
    wire = {
        "kind": "CronJob",
        "apiVersion": "batch/v1",
        "metadata": {
            "name": "c",
            "namespace": "default",
            "uid": "uid-c",
            "creationTimestamp": rfc3339(START - 60),
        },
        "spec": {"schedule": "0 * * * *", "jobTemplate": template} | spec,
    }
    return CronJob.parse(rules_of(kinds.CRON_JOB).default(wire))


def at(now: float, **spec: Any) -> Simulation:
    sim = Simulation(cron(**spec))
    sim.now = now
    sim.settle(CRON)
    return sim


def jobs(sim: Simulation) -> list[Job]:
    return sorted(sim.cluster[kinds.JOB], key=lambda job: job.metadata.name)


def end(sim: Simulation, job: Job, kind: str = "Complete") -> None:
    condition = {"type": kind, "status": "True"}
    status = {"conditions": [condition], "completionTime": rfc3339(sim.now)}
    sim.put(Job.parse(job.wire() | {"status": status}))
    sim.settle(CRON)


def status(sim: Simulation) -> Any:
    return sim.get(cron()).status


def test_a_job_is_made_at_its_time_and_once():
    sim = at(START - 1)
    assert jobs(sim) == []
    assert [
        a for a in CRON.reconcile(sim.cluster, ("default", "c"), sim.now) if isinstance(a, Again)
    ]
    sim.now = START + 1
    sim.settle(CRON)
    (job,) = jobs(sim)
    assert job.metadata.name == f"c-{int(START) // 60}"
    assert [ref.name for ref in status(sim).active] == [job.metadata.name]
    assert status(sim).last_schedule_time == rfc3339(START)
    sim.settle(CRON, JobController())
    assert len(jobs(sim)) == 1 and len(sim.pods()) == 1


@pytest.mark.parametrize(
    ("policy", "left", "active"), [("Allow", 2, 2), ("Forbid", 1, 1), ("Replace", 1, 1)]
)
def test_jobs_that_run_into_the_next_time(policy: str, left: int, active: int):
    sim = at(START + 1, concurrencyPolicy=policy)
    sim.now += HOUR
    sim.settle(CRON)
    names = [job.metadata.name for job in jobs(sim)]
    assert (len(names), len(status(sim).active)) == (left, active)
    assert (f"c-{int(START + HOUR) // 60}" in names) is (policy != "Forbid")


def test_of_many_missed_times_only_the_last_one_runs():
    sim = at(START + 200 * HOUR)
    assert [job.metadata.name for job in jobs(sim)] == [f"c-{int(START + 200 * HOUR) // 60}"]
    assert "TooManyMissedTimes" in [report.reason for report in sim.reports]


def test_a_time_that_is_too_long_ago_is_left_out():
    assert jobs(at(START + 120, startingDeadlineSeconds=60)) == []
    assert len(jobs(at(START + 30, startingDeadlineSeconds=60))) == 1


def test_a_suspended_one_makes_nothing():
    assert jobs(at(START + 1, suspend=True)) == []


def test_old_jobs_are_forgotten_and_news_are_told():
    sim = at(START + 1, successfulJobsHistoryLimit=1, failedJobsHistoryLimit=0)
    for kind in ("Complete", "Failed", "Complete", "Complete"):
        end(sim, next(job for job in jobs(sim) if not job.status.conditions), kind)
        sim.now += HOUR
        sim.settle(CRON)
    ended = [job for job in jobs(sim) if job.status.conditions]
    assert [job.status.conditions[0].type for job in ended] == ["Complete"]
    assert status(sim).last_successful_time == rfc3339(sim.now - HOUR)
    assert "SawCompletedJob" in [report.reason for report in sim.reports]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": ""}, "spec.schedule: Required value"),
        ({"schedule": "* * * *"}, "expected exactly 5 fields, found 4"),
        ({"schedule": "TZ=UTC 0 0 * * *"}, "use timeZone field instead"),
        ({"timeZone": "Nowhere/City"}, "unknown time zone Nowhere/City"),
        ({"timeZone": "../etc"}, "unknown time zone"),
        ({"concurrencyPolicy": "Maybe"}, "spec.concurrencyPolicy: Unsupported value"),
        ({"jobTemplate": {"spec": {"template": {"spec": {}}}}}, "spec.jobTemplate.spec.template"),
        (
            {"jobTemplate": {"spec": {"selector": {"matchLabels": {"a": "b"}}}}},
            "spec.jobTemplate.spec.selector: Invalid value",
        ),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str):
    found = [str(error) for error in errors_in(kinds.CRON_JOB, cron(**change))]
    assert any(message in error for error in found), found


def test_a_schedule_without_a_time_is_told_and_makes_nothing():
    sim = Simulation(cron(schedule="0 0 30 2 *"))
    (report,) = CRON.reconcile(sim.cluster, ("default", "c"), START)
    assert isinstance(report, Report) and report.reason == "InvalidSchedule"
