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
from control.controllers.job.indexes import parse_indexes
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
_TOO_MANY = End(
    FAILED,
    "MaxFailedIndexesExceeded",
    "Job has exceeded the specified maximal number of failed indexes",
)
_SOME_FAILED = End(FAILED, "FailedIndexes", "Job has failed indexes")
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
    return (
        _failure(job, pods, counts, now)
        or _failed_indexes(job, counts)
        or _early_success(job, counts)
        or _success(job, pods, counts)
    )


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


def _failed_indexes(job: Job, counts: Tally) -> End | None:
    failed, most = len(counts.failures.failed), job.spec.max_failed_indexes
    if most is not None and failed > most:
        return _TOO_MANY
    over = failed + len(counts.completed) >= (job.spec.completions or 0)
    return _SOME_FAILED if failed and over else None


def _early_success(job: Job, counts: Tally) -> End | None:
    """Return the end by the first rule for an early success that fits (KEP-3998)."""
    policy = job.spec.success_policy
    for at, rule in enumerate(policy.rules if policy else ()):
        done, needed = counts.completed, rule.succeeded_count
        if rule.succeeded_indexes is not None:
            chosen = parse_indexes(rule.succeeded_indexes, job.spec.completions or 0)
            done = done & chosen
            needed = len(chosen) if needed is None else needed
        if needed is not None and len(done) >= needed:
            return End(COMPLETE, "SuccessPolicy", f"Matched rules at index {at}")
    return None


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
