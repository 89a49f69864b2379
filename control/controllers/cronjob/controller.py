"""The CronJob controller: makes the Job that is due, and forgets old ones. Pure."""

from collections.abc import Iterator, Sequence

from control.api import kinds
from control.api.batch import CronJob, CronJobStatus, Job
from control.api.meta import ObjectMeta
from control.api.schedule import MISSED_MAX, Schedule, ScheduleError, parse_schedule
from control.api.service import ObjectReference
from control.api.times import rfc3339, seconds_of
from control.client.cache import Key
from control.controllers.actions import Action, Again, Create, Delete, Report, UpdateStatus
from control.controllers.job.count import COMPLETE
from control.controllers.job.outcome import ended_as
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState, controller_of, owner_reference

_SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_STILL_ACTIVE = (
    "Not starting job because prior execution is running and concurrency policy is Forbid"
)
_FORBID, _REPLACE = "Forbid", "Replace"
_TOO_MANY = (
    "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
)


def _its_cron_job(_: ClusterState, job: Job) -> Iterator[Key]:
    owner = controller_of(job)
    if owner is not None and owner.kind == kinds.CRON_JOB.name:
        yield job.metadata.namespace or "", owner.name


class CronJobController:
    """Makes Jobs at the times of CronJobs."""

    component = "cronjob-controller"
    sources = (Source(kinds.CRON_JOB, itself), Source(kinds.JOB, _its_cron_job))

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Return what the CronJob ``key`` needs: its status, old Jobs, and the Job that is due."""
        cron = cluster[kinds.CRON_JOB].get(*key)
        if cron is None:
            return
        jobs = cluster[kinds.JOB].controlled_by(cron.metadata.uid)
        yield from _old(cron, jobs)
        status = _seen(cron, jobs)
        yield from _news(cron, jobs, status)
        if cron.metadata.deletion_timestamp is not None or cron.spec.suspend:
            yield from _report(cron, status)
            return
        try:
            schedule = parse_schedule(cron.spec.schedule, cron.spec.time_zone or "UTC")
        except ScheduleError as err:
            yield from _report(cron, status)
            text = f'unparseable schedule: "{cron.spec.schedule}" : {err}'
            yield Report(cron, "Warning", "UnparseableSchedule", text)
            return
        following = schedule.after(now)
        if following is None:
            yield from _report(cron, status)
            yield Report(cron, "Warning", "InvalidSchedule", _never(cron))
            return
        yield from _due(cron, jobs, status, schedule, now)
        yield Again(max(0.0, following - now) + 0.1)


def _never(cron: CronJob) -> str:
    why = "time difference between two schedules is less than 1 second"
    return f"invalid schedule: {cron.spec.schedule} : {why}"


def _seen(cron: CronJob, jobs: Sequence[Job]) -> CronJobStatus:
    """Return the status with the Jobs that still run, and the last success."""
    running = sorted((job for job in jobs if not ended_as(job)), key=lambda it: it.metadata.name)
    active = [_reference(job) for job in running]
    done = [job.status.completion_time or "" for job in jobs if ended_as(job) == COMPLETE]
    last = max([cron.status.last_successful_time or "", *done])
    change = {"active": active, "last_successful_time": last or None}
    return cron.status.model_copy(update=change)


def _reference(job: Job) -> ObjectReference:
    return ObjectReference(
        api_version=kinds.JOB.api_version,
        kind=kinds.JOB.name,
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        uid=job.metadata.uid,
    )


def _news(cron: CronJob, jobs: Sequence[Job], status: CronJobStatus) -> Iterator[Action]:
    still = {ref.uid for ref in status.active}
    there = {job.metadata.uid: job for job in jobs}
    for ref in cron.status.active:
        if ref.uid in still:
            continue
        job = there.get(ref.uid or "")
        if job is None:
            text = f"Active job went missing: {ref.name}"
            yield Report(cron, "Normal", "MissingJob", text)
        else:
            text = f"Saw completed job: {ref.name}, condition: {ended_as(job)}"
            yield Report(cron, "Normal", "SawCompletedJob", text)


def _report(cron: CronJob, status: CronJobStatus) -> Iterator[Action]:
    if status != cron.status:
        yield UpdateStatus(kinds.CRON_JOB, cron.model_copy(update={"status": status}))


def _due(
    cron: CronJob, jobs: Sequence[Job], status: CronJobStatus, schedule: Schedule, now: float
) -> Iterator[Action]:
    last, missed = schedule.last(_since(cron, now), now)
    if missed > MISSED_MAX:
        yield Report(cron, "Warning", "TooManyMissedTimes", _TOO_MANY)
    if last is None or _name(cron, last) in {job.metadata.name for job in jobs}:
        yield from _report(cron, status)
        return
    if status.active and cron.spec.concurrency_policy == _FORBID:
        yield from _report(cron, status)
        yield Report(cron, "Normal", "JobAlreadyActive", _STILL_ACTIVE)
        return
    if cron.spec.concurrency_policy == _REPLACE:
        old = {ref.uid for ref in status.active}
        yield from (
            Delete(kinds.JOB, job, "Background", announce=cron)
            for job in jobs
            if job.metadata.uid in old
        )
        status = status.model_copy(update={"active": []})
    yield Create(kinds.JOB, _job(cron, last), announce=cron)
    yield from _report(cron, status.model_copy(update={"last_schedule_time": rfc3339(last)}))


def _since(cron: CronJob, now: float) -> float:
    """Return the time after which a start counts as missed."""
    known = cron.status.last_schedule_time or cron.metadata.creation_timestamp
    since = seconds_of(known) or now
    deadline = cron.spec.starting_deadline_seconds
    return since if deadline is None else max(since, now - deadline)


def _name(cron: CronJob, at: float) -> str:
    """A name for each time: a second controller, or a second try, makes no second Job."""
    return f"{cron.metadata.name}-{int(at) // 60}"


def _job(cron: CronJob, at: float) -> Job:
    template = cron.spec.job_template
    meta = template.metadata
    return Job(
        metadata=ObjectMeta(
            name=_name(cron, at),
            namespace=cron.metadata.namespace,
            labels=meta.labels,
            annotations=meta.annotations | {_SCHEDULED: rfc3339(at)},
            owner_references=[owner_reference(kinds.CRON_JOB, cron)],
        ),
        spec=template.spec,
    )


def _old(cron: CronJob, jobs: Sequence[Job]) -> Iterator[Action]:
    """Delete the oldest ended Jobs beyond the limits."""
    limits = (
        (True, cron.spec.successful_jobs_history_limit),
        (False, cron.spec.failed_jobs_history_limit),
    )
    for good, limit in limits:
        ended = [job for job in jobs if (end := ended_as(job)) and (end == COMPLETE) is good]
        ended.sort(key=lambda job: (job.status.start_time or "", job.metadata.name))
        if limit is not None and len(ended) > limit:
            gone = ended[: len(ended) - limit]
            yield from (Delete(kinds.JOB, job, "Background", announce=cron) for job in gone)
