"""What a Job's policy says of a failed Pod, and how long the next one waits. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from control.api.batch import ExitCodes, Job, PodConditionPattern
from control.api.pod import ContainerStatus, Pod
from control.api.times import seconds_of

FAIL_JOB, FAIL_INDEX, IGNORE, COUNT = "FailJob", "FailIndex", "Ignore", "Count"
_FIRST, _LONGEST = 10.0, 600.0  # seconds, as upstream's DefaultJobPodFailureBackOff


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a failed Pod; ``message`` says which rule decided."""

    action: str = COUNT
    message: str = ""


def verdict(job: Job, pod: Pod) -> Verdict:
    """Return what the first rule that fits says; a Pod that no rule fits counts."""
    policy = job.spec.pod_failure_policy
    for at, rule in enumerate(policy.rules if policy else ()):
        why = ""
        if rule.on_exit_codes:
            why = _by_exit_code(pod, rule.on_exit_codes)
        elif rule.on_pod_conditions:
            why = _by_condition(pod, rule.on_pod_conditions)
        if why:
            return Verdict(rule.action, f"{why} matching {rule.action} rule at index {at}")
    return Verdict()


def _by_exit_code(pod: Pod, wanted: ExitCodes) -> str:
    for status in _statuses(pod):
        ended = status.state.terminated
        if ended is None or ended.exit_code == 0:
            continue
        if wanted.container_name not in (None, status.name):
            continue
        if (ended.exit_code in wanted.values) == (wanted.operator == "In"):
            where = f"{pod.metadata.namespace}/{pod.metadata.name}"
            return (
                f"Container {status.name} for pod {where} failed with exit code {ended.exit_code}"
            )
    return ""


def _by_condition(pod: Pod, wanted: Sequence[PodConditionPattern]) -> str:
    for pattern in wanted:
        status = pattern.status or "True"
        if any((it.type, it.status) == (pattern.type, status) for it in pod.status.conditions):
            where = f"{pod.metadata.namespace}/{pod.metadata.name}"
            return f"Pod {where} has condition {pattern.type}"
    return ""


def _statuses(pod: Pod) -> Iterator[ContainerStatus]:
    yield from pod.status.container_statuses
    yield from pod.status.init_container_statuses


def restarts(pods: Iterable[Pod]) -> int:
    """Return the restarts of all containers of the Pods that run or will run."""
    going = (pod for pod in pods if pod.status.phase in ("Pending", "Running"))
    return sum(status.restart_count for pod in going for status in _statuses(pod))


def pause(pods: Iterable[Pod], now: float) -> float:
    """Return the seconds until a new Pod may start: longer after each failure without success."""
    ended = sorted(
        (ended_at(pod, now), pod.status.phase == "Succeeded")
        for pod in pods
        if pod.status.phase in ("Succeeded", "Failed")
    )
    failures, last = 0, 0.0
    for at, succeeded in ended:
        failures, last = (0, 0.0) if succeeded else (failures + 1, at)
    if not failures:
        return 0.0
    return max(0.0, last + backoff(failures) - now)


def backoff(failures: int) -> float:
    """Return the seconds between the last of so many failures and the next Pod."""
    return min(_LONGEST, _FIRST * 2.0 ** min(failures - 1, 30))


def ended_at(pod: Pod, now: float) -> float:
    """Return when a Pod has ended, in seconds since the epoch; ``now`` if nothing says it."""
    times = [
        at
        for status in _statuses(pod)
        if status.state.terminated
        and (at := seconds_of(status.state.terminated.finished_at)) is not None
    ]
    return max(times) if times else seconds_of(pod.metadata.deletion_timestamp) or now
