"""When a Job has ended, and how: its conditions. Pure.

An end has two steps: first its reason is known (``FailureTarget``, ``SuccessCriteriaMet``) and the
Pods that still run are ended; when the last has gone, the Job is ``Failed`` or ``Complete``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from control.api.batch import Job
from control.api.meta import Condition
from control.api.pod import Pod
from control.api.times import rfc3339, seconds_of
from control.controllers.job.count import COMPLETE, Tally, has_finalizer, is_failed
from control.controllers.job.failures import FAIL_JOB, restarts, verdict
from control.controllers.pods import condition, is_active

FAILED, SUSPENDED = "Failed", "Suspended"
FAILURE_TARGET, SUCCESS = "FailureTarget", "SuccessCriteriaMet"


@dataclass(frozen=True, slots=True)
class End:
    """How a Job ends; ``type`` is Failed or Complete."""

    type: str
    reason: str
    message: str

    @property
    def interim(self) -> str:
        """The condition until the last Pod has gone."""
        return FAILURE_TARGET if self.type == FAILED else SUCCESS


_DONE = End(COMPLETE, "CompletionsReached", "Reached expected number of succeeded pods")
_TRIED = End(FAILED, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
_LATE = End(FAILED, "DeadlineExceeded", "Job was active longer than specified deadline")


def holds(job: Job, kind: str) -> bool:
    """True if a condition of the Job is True."""
    found = condition(job.status.conditions, kind)
    return found is not None and found.status == "True"


def ended_as(job: Job) -> str:
    """Return Complete or Failed if the Job has ended, or nothing."""
    return next((kind for kind in (COMPLETE, FAILED) if holds(job, kind)), "")


def end_of(job: Job, pods: Sequence[Pod], counts: Tally, now: float) -> End | None:
    """Return how the Job ends by now; None if it goes on."""
    for kind, interim in ((FAILED, FAILURE_TARGET), (COMPLETE, SUCCESS)):
        if holds(job, interim):
            known = condition(job.status.conditions, interim)
            return End(kind, known.reason or "", known.message or "") if known else None
    return _failure(job, pods, counts, now) or _success(job, pods, counts)


def _failure(job: Job, pods: Sequence[Pod], counts: Tally, now: float) -> End | None:
    for pod in pods:
        if has_finalizer(pod) and is_failed(pod, job):
            said = verdict(job, pod)
            if said.action == FAIL_JOB:
                return End(FAILED, "PodFailurePolicy", said.message)
    if counts.failed > _limit(job) or _restarted_too_often(job, pods):
        return _TRIED
    left = seconds_left(job, now)
    return _LATE if left is not None and left <= 0 else None


def _limit(job: Job) -> int:
    return 6 if job.spec.backoff_limit is None else job.spec.backoff_limit


def _restarted_too_often(job: Job, pods: Sequence[Pod]) -> bool:
    """Count the restarts of containers where the node restarts them."""
    if job.spec.template.spec.restart_policy != "OnFailure":
        return False
    return restarts(pods) >= max(1, _limit(job))


def seconds_left(job: Job, now: float) -> float | None:
    """Return the seconds until the Job's deadline; None if it has none, or does not run."""
    started, limit = seconds_of(job.status.start_time), job.spec.active_deadline_seconds
    if started is None or limit is None or job.spec.suspend:
        return None
    return started + limit - now


def _success(job: Job, pods: Sequence[Pod], counts: Tally) -> End | None:
    if job.spec.completions is not None:
        return _DONE if counts.succeeded >= job.spec.completions else None
    working = any(is_active(pod) for pod in pods)
    return _DONE if counts.succeeded and not working else None


def said(kind: str, reason: str, message: str, now: float, *, holds: bool = True) -> Condition:
    """Return a condition that begins now."""
    return Condition(
        type=kind,
        status="True" if holds else "False",
        reason=reason,
        message=message,
        last_probe_time=rfc3339(now),
        last_transition_time=rfc3339(now),
    )


def with_condition(found: Sequence[Condition], new: Condition) -> list[Condition]:
    """Return conditions with a new one; one that says the same stays."""
    known = condition(found, new.type)
    if known is not None and (known.status, known.reason) == (new.status, new.reason):
        return list(found)
    return [*(it for it in found if it.type != new.type), new]
