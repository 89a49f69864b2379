"""Counts ended Pods exactly once, also if the controller is killed at any step. Pure.

A Pod has a finalizer until it is counted. Its uid is written into the status first; then the
finalizer goes; then the uid becomes one more in the number. Source: KEP-2307.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from control.api import kinds
from control.api.batch import INDEXED, Job, JobStatus, Uncounted
from control.api.pod import Pod
from control.controllers.actions import Patch
from control.controllers.job.failures import IGNORE, verdict
from control.controllers.job.indexes import format_indexes, index_of, parse_indexes
from control.controllers.job.perindex import IndexFailures, index_failures

FINALIZER = "batch.kubernetes.io/job-tracking"
COMPLETE = "Complete"
_MOST = 500  # uids in the status at a time, as upstream


@dataclass(frozen=True, slots=True)
class Tally:
    """The numbers of a Job, its status with them, and the Pods that need their finalizer no more.

    ``succeeded`` and ``failed`` have also the Pods whose uids the status still holds.
    """

    succeeded: int
    failed: int
    completed: frozenset[int]  # indexes
    failures: IndexFailures
    status: JobStatus
    counted: tuple[Pod, ...]


def is_failed(pod: Pod, job: Job) -> bool:
    """True if a Pod counts as failed: a deleted one at once, unless its end is waited for."""
    if pod.status.phase == "Failed":
        return True
    gone = pod.metadata.deletion_timestamp is not None and pod.status.phase != "Succeeded"
    return gone and not only_ended(job)


def only_ended(job: Job) -> bool:
    """True if a Pod is replaced when it has ended, not when it begins to."""
    return job.spec.pod_replacement_policy == "Failed" or job.spec.pod_failure_policy is not None


def has_finalizer(pod: Pod) -> bool:
    """True if a Pod is not counted yet."""
    return FINALIZER in pod.metadata.finalizers


def released(pod: Pod) -> Patch:
    """Return what removes the finalizer of a counted Pod."""
    left = [it for it in pod.metadata.finalizers if it != FINALIZER]
    return Patch(kinds.POD, pod, {"metadata": {"finalizers": left or None}})


def tally(job: Job, pods: Sequence[Pod], *, end: str = "") -> Tally:
    """Count a Job's Pods.

    Once the Job ends (``end`` is Failed or Complete), Pods that are being deleted need not be
    waited for; they count as failed if the Job has failed.
    """
    numbers = _Numbers(job, pods)
    failures = _index_failures(job, pods)
    for pod in pods:
        kept = not end and failures.keeps(pod)
        if has_finalizer(pod) and not kept and not numbers.is_full:
            numbers.add(pod, end)
    return numbers.result(failures)


def _index_failures(job: Job, pods: Sequence[Pod]) -> IndexFailures:
    if job.spec.backoff_limit_per_index is None:
        return IndexFailures()
    failed = [pod for pod in pods if has_finalizer(pod) and is_failed(pod, job)]
    good = {index_of(pod) for pod in pods if pod.status.phase == "Succeeded"}
    completed = parse_indexes(job.status.completed_indexes, job.spec.completions or 0) | good
    return index_failures(job, pods, failed, frozenset(completed))


class _Numbers:
    """The numbers while Pods are counted."""

    def __init__(self, job: Job, pods: Sequence[Pod]) -> None:
        self._job = job
        status, held = job.status, job.status.uncounted_terminated_pods or Uncounted()
        waiting = {pod.metadata.uid for pod in pods if has_finalizer(pod)}
        self._good = [uid for uid in held.succeeded if uid in waiting]
        self._bad = [uid for uid in held.failed if uid in waiting]
        self._held = {*self._good, *self._bad}
        self._succeeded = (status.succeeded or 0) + len(held.succeeded) - len(self._good)
        self._failed = (status.failed or 0) + len(held.failed) - len(self._bad)
        self._is_indexed = job.spec.completion_mode == INDEXED
        below = (job.spec.completions or 0) if self._is_indexed else 0
        self._completed = parse_indexes(status.completed_indexes, below)
        self._below = below
        self._counted: list[Pod] = []

    @property
    def is_full(self) -> bool:
        return len(self._good) + len(self._bad) >= _MOST

    def add(self, pod: Pod, end: str) -> None:
        uid = pod.metadata.uid
        if uid in self._held:
            self._counted.append(pod)
        elif pod.status.phase == "Succeeded":
            self._succeed(pod)
        elif end == COMPLETE and pod.metadata.deletion_timestamp:
            self._counted.append(pod)
        elif is_failed(pod, self._job) or (end and pod.metadata.deletion_timestamp):
            self._fail(pod)

    def _succeed(self, pod: Pod) -> None:
        self._counted.append(pod)
        if self._is_indexed:  # an index is enough to count only once
            if 0 <= (index := index_of(pod)) < self._below:
                self._completed.add(index)
        else:
            self._good.append(pod.metadata.uid)

    def _fail(self, pod: Pod) -> None:
        self._counted.append(pod)
        if verdict(self._job, pod).action != IGNORE:
            self._bad.append(pod.metadata.uid)

    def result(self, failures: IndexFailures) -> Tally:
        if self._is_indexed:
            self._succeeded = len(self._completed)
        uncounted = Uncounted(succeeded=self._good, failed=self._bad)
        change = {
            "succeeded": self._succeeded or None,
            "failed": self._failed or None,
            "completed_indexes": format_indexes(self._completed) or None,
            "uncounted_terminated_pods": uncounted,
        }
        if self._job.spec.backoff_limit_per_index is not None:
            change["failed_indexes"] = format_indexes(failures.failed)
        return Tally(
            self._succeeded + len(self._good),
            self._failed + len(self._bad),
            frozenset(self._completed),
            failures,
            self._job.status.model_copy(update=change),
            tuple(self._counted),
        )
