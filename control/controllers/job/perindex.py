"""Failures of single indexes of an Indexed Job: how many, which index has failed. Pure.

A Pod says in an annotation how often its index has failed before. So the last failed Pod of an
index keeps its finalizer until its successor is there, which says one more. Source: KEP-3850.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from control.api.batch import Job
from control.api.pod import Pod
from control.controllers.job.failures import FAIL_INDEX, IGNORE, backoff, ended_at, verdict
from control.controllers.job.indexes import index_of, parse_indexes

COUNT = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"


@dataclass(frozen=True, slots=True)
class IndexFailures:
    """The failed indexes, and of each index that may be tried again its last failed Pod."""

    failed: frozenset[int] = frozenset()
    last: Mapping[int, Pod] = field(default_factory=dict)
    annotations: Mapping[int, Mapping[str, str]] = field(default_factory=dict)  # of the successor

    def keeps(self, pod: Pod) -> bool:
        """True if the Pod's finalizer stays: its successor is not there yet."""
        held = self.last.get(index_of(pod))
        return held is not None and held.metadata.uid == pod.metadata.uid

    def waits(self, now: float) -> dict[int, float]:
        """Return the seconds until each index may be tried again."""
        return {
            index: max(0.0, ended_at(pod, now) + backoff(sum(_counts(pod)) + 1) - now)
            for index, pod in self.last.items()
        }


def index_failures(
    job: Job, pods: Sequence[Pod], failed: Iterable[Pod], completed: frozenset[int]
) -> IndexFailures:
    """Return the failures of a Job's indexes; none if it has no limit for an index.

    ``failed`` are the failed Pods that still have their finalizer.
    """
    limit, below = job.spec.backoff_limit_per_index, job.spec.completions or 0
    if limit is None:
        return IndexFailures()
    over = parse_indexes(job.status.failed_indexes, below)
    latest: dict[int, Pod] = {}
    for pod in failed:
        index = index_of(pod)
        if not 0 <= index < below or index in completed:
            continue
        action = verdict(job, pod).action
        if action == FAIL_INDEX or (action != IGNORE and _counts(pod)[0] >= limit):
            over.add(index)
        known = latest.get(index)
        if known is None or _order(pod) > _order(known):
            latest[index] = pod
    newest: dict[int, int] = {}
    for pod in pods:
        index = index_of(pod)
        newest[index] = max(newest.get(index, 0), sum(_counts(pod)))
    waiting = {
        index: pod
        for index, pod in latest.items()
        if index not in over and newest[index] == sum(_counts(pod))
    }
    next_counts = {index: _next(job, pod) for index, pod in waiting.items()}
    return IndexFailures(frozenset(over), waiting, next_counts)


def first_counts() -> Mapping[str, str]:
    """Return the annotations of the first Pod of an index."""
    return {COUNT: "0"}


def _counts(pod: Pod) -> tuple[int, int]:
    """Return how often the Pod's index has failed before: counted, ignored."""
    texts = (pod.metadata.annotations.get(name, "") for name in (COUNT, IGNORED))
    counted, ignored = (int(text) if text.isdecimal() else 0 for text in texts)
    return counted, ignored


def _order(pod: Pod) -> tuple[int, str]:
    return sum(_counts(pod)), pod.metadata.name


def _next(job: Job, pod: Pod) -> Mapping[str, str]:
    counted, ignored = _counts(pod)
    if verdict(job, pod).action == IGNORE:
        ignored += 1
    else:
        counted += 1
    return {COUNT: str(counted)} | ({IGNORED: str(ignored)} if ignored else {})
