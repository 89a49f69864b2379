"""The Job controller: counts what has ended, decides if the Job has, and makes new Pods. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any

from control.api import kinds
from control.api.batch import MANAGER, Job, JobStatus, Uncounted
from control.api.meta import Condition
from control.api.pod import Pod
from control.api.times import rfc3339
from control.client.cache import Key
from control.controllers.actions import Action, Again, Create, Report, UpdateStatus
from control.controllers.claim import claim, interested
from control.controllers.job.count import COMPLETE, Tally, has_finalizer, released, tally
from control.controllers.job.failures import pause
from control.controllers.job.outcome import (
    FAILED,
    SUSPENDED,
    End,
    end_of,
    ended_as,
    said,
    seconds_left,
    with_condition,
)
from control.controllers.job.pods import ended, is_going, scaled
from control.controllers.loop import Source
from control.controllers.pods import condition, is_active, is_ready
from control.controllers.state import ClusterState, controller_of


def _keys_of_job(_: ClusterState, job: Job) -> Iterator[Key]:
    yield job.key
    yield _of_uid(job.key, job.metadata.uid)


def _keys_of_pod(cluster: ClusterState, pod: Pod) -> Iterator[Key]:
    yield from interested(kinds.JOB, pod, cluster)
    owner = controller_of(pod)
    if owner is not None and owner.kind == kinds.JOB.name and has_finalizer(pod):
        yield _of_uid((pod.metadata.namespace or "", owner.name), owner.uid)


def _of_uid(key: Key, uid: str) -> Key:
    """The key of the Pods of exactly one Job, which may be gone, and made again by its name."""
    return key[0], f"{key[1]}/{uid}"


class JobController:
    """Runs the Pods of Jobs."""

    component = "job-controller"
    sources = (Source(kinds.JOB, _keys_of_job), Source(kinds.POD, _keys_of_pod))

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Return what the Job ``key`` needs: owners, else its counted Pods and its next Pods."""
        name, _, uid = key[1].partition("/")
        job = cluster[kinds.JOB].get(key[0], name)
        if uid:
            yield from _strays(cluster, job, uid)
            return
        if job is None or job.spec.managed_by not in (None, MANAGER):
            return
        claimed = claim(cluster[kinds.POD], kinds.JOB, job, job.spec.selector)
        if claimed.actions:
            yield from claimed.actions  # their effects come back as changes
            return
        if end := ended_as(job):
            yield from map(released, tally(job, claimed.owned, end=end).counted)
            return
        yield from _run(job, claimed.owned, now)


def _strays(cluster: ClusterState, job: Job | None, uid: str) -> Iterator[Action]:
    """Release the Pods of a Job that is gone: nobody counts them any more."""
    if job is None or job.metadata.uid != uid:
        pods = cluster[kinds.POD].controlled_by(uid)
        yield from map(released, filter(has_finalizer, pods))


def _run(job: Job, pods: Sequence[Pod], now: float) -> Iterator[Action]:
    counts = tally(job, pods)
    end = end_of(job, pods, counts, now)
    if end is not None:
        counts = tally(job, pods, end=end.type)
    status = _status(job, pods, counts, end, now)
    if status != job.status:
        yield UpdateStatus(kinds.JOB, job.model_copy(update={"status": status}))
    yield from map(released, counts.counted)
    yield from _news(job, status)
    if end is not None or job.spec.suspend:
        yield from ended(job, [pod for pod in pods if is_active(pod)])
    elif job.metadata.deletion_timestamp is None:
        yield from _next_pods(job, pods, counts, now)


def _next_pods(job: Job, pods: Sequence[Pod], counts: Tally, now: float) -> Iterator[Action]:
    changes = scaled(job, pods, counts, now)
    if job.spec.backoff_limit_per_index is not None:  # each index waits for itself
        yield from changes
        waits = [wait for wait in counts.failures.waits(now).values() if wait > 0]
        yield from map(Again, waits[:1] and [min(waits)])
    elif isinstance(next(iter(changes), None), Create) and (wait := pause(pods, now)) > 0:
        yield Again(wait)
    else:
        yield from changes
    left = seconds_left(job, now)
    if left is not None:
        yield Again(max(0.0, left))


def _status(job: Job, pods: Sequence[Pod], counts: Tally, end: End | None, now: float) -> JobStatus:
    active = [pod for pod in pods if is_active(pod)]
    going = sum(is_going(pod) for pod in pods)
    change: dict[str, Any] = {
        "active": len(active) or None,
        "ready": sum(is_ready(pod) for pod in active),
        "terminating": going,
        "conditions": _conditions(job, end, now),
    }
    if job.spec.suspend:
        change["start_time"] = None
    elif job.status.start_time is None:
        change["start_time"] = rfc3339(now)
    if end is not None:
        held = counts.status.uncounted_terminated_pods or Uncounted()
        if not (active or going or held.succeeded or held.failed):
            change |= _ended(change["conditions"], end, now)
    return counts.status.model_copy(update=change)


def _conditions(job: Job, end: End | None, now: float) -> list[Condition]:
    found = job.status.conditions
    if end is not None:
        return with_condition(found, said(end.interim, end.reason, end.message, now))
    known = condition(found, SUSPENDED)
    if job.spec.suspend:
        return with_condition(found, said(SUSPENDED, "JobSuspended", "Job suspended", now))
    if known is not None and known.status == "True":
        resumed = said(SUSPENDED, "JobResumed", "Job resumed", now, holds=False)
        return with_condition(found, resumed)
    return list(found)


def _ended(found: Sequence[Condition], end: End, now: float) -> dict[str, Any]:
    made = said(end.type, end.reason, end.message, now)
    change: dict[str, Any] = {"conditions": with_condition(found, made)}
    return change | ({"completion_time": rfc3339(now)} if end.type == COMPLETE else {})


def _news(job: Job, status: JobStatus) -> Iterator[Action]:
    """Report the conditions that are new."""
    for item in status.conditions:
        known = condition(job.status.conditions, item.type)
        if known is not None and known.status == item.status:
            continue
        if item.type == COMPLETE:
            yield Report(job, "Normal", "Completed", "Job completed")
        elif item.type == FAILED:
            yield Report(job, "Warning", item.reason or "", item.message or "")
        elif item.type == SUSPENDED:
            reason = "Suspended" if item.status == "True" else "Resumed"
            yield Report(job, "Normal", reason, item.message or "")
