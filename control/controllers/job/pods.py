"""The Pods of a Job: which are made, and which are ended. Pure."""

from collections.abc import Sequence
from itertools import islice

from control.api import kinds
from control.api.batch import INDEXED, Job
from control.api.container import Container
from control.api.meta import ObjectMeta
from control.api.pod import Pod
from control.controllers.actions import Action, Create, Delete
from control.controllers.job.count import FINALIZER, Tally, only_ended
from control.controllers.job.indexes import LABEL, index_of
from control.controllers.job.perindex import IndexFailures, first_counts
from control.controllers.pods import deletion_order, is_active
from control.controllers.state import owner_reference

_BURST = 500  # Pods made or ended in one round, as upstream
_VARIABLE = "JOB_COMPLETION_INDEX"


def scaled(job: Job, pods: Sequence[Pod], counts: Tally, now: float) -> list[Action]:
    """Return what makes or ends Pods, so that the right number of them runs."""
    active = [pod for pod in pods if is_active(pod)]
    excess = len(active) - wanted(job, len(active), counts)
    if excess > 0:
        return ended(job, deletion_order(active, {}, now)[:excess])
    going = sum(is_going(pod) for pod in pods) if only_ended(job) else 0
    missing = max(0, min(-excess - going, _BURST))
    if job.spec.completion_mode != INDEXED:
        return [Create(kinds.POD, _pod(job), announce=job)] * missing
    busy = {index_of(pod) for pod in pods if is_active(pod) or (going and is_going(pod))}
    busy |= counts.completed | counts.failures.failed
    busy |= {at for at, wait in counts.failures.waits(now).items() if wait > 0}
    free = (index for index in range(job.spec.completions or 0) if index not in busy)
    return [
        Create(kinds.POD, _of_index(job, at, counts.failures), announce=job)
        for at in islice(free, missing)
    ]


def wanted(job: Job, active: int, counts: Tally) -> int:
    """Return the number of Pods that should run."""
    parallel = 1 if job.spec.parallelism is None else job.spec.parallelism
    if job.spec.completions is None:  # a queue of work: its first success ends it
        return min(active, parallel) if counts.succeeded else parallel
    over = counts.succeeded + len(counts.failures.failed)
    return min(max(0, job.spec.completions - over), parallel)


def is_going(pod: Pod) -> bool:
    """True if a Pod is being deleted and has not ended yet."""
    return pod.metadata.deletion_timestamp is not None and pod.status.phase not in (
        "Succeeded",
        "Failed",
    )


def ended(job: Job, pods: Sequence[Pod]) -> list[Action]:
    """Return what ends Pods."""
    return [Delete(kinds.POD, pod, announce=job) for pod in pods[:_BURST]]


def _pod(job: Job) -> Pod:
    """Return a Pod of the Job's template, without a name."""
    meta = job.spec.template.metadata
    return Pod(
        metadata=ObjectMeta(
            generate_name=f"{job.metadata.name}-",
            namespace=job.metadata.namespace,
            labels=meta.labels,
            annotations=meta.annotations,
            finalizers=[*meta.finalizers, FINALIZER],
            owner_references=[owner_reference(kinds.JOB, job)],
        ),
        spec=job.spec.template.spec,
    )


def _indexed(job: Job, index: int) -> Pod:
    """Return the Pod of an index, which its label, its host name and a variable say."""
    pod, mark = _pod(job), {LABEL: str(index)}
    name = f"{job.metadata.name}-{index}"
    spec = pod.spec.model_copy(
        update={
            "hostname": name,
            "containers": [_with_index(it) for it in pod.spec.containers],
            "init_containers": [_with_index(it) for it in pod.spec.init_containers],
        }
    )
    meta = pod.metadata.model_copy(
        update={
            "generate_name": f"{name}-",
            "labels": pod.metadata.labels | mark,
            "annotations": pod.metadata.annotations | mark,
        }
    )
    return pod.model_copy(update={"metadata": meta, "spec": spec})


def _of_index(job: Job, index: int, failures: IndexFailures) -> Pod:
    """Return the next Pod of an index; it says how often its index has failed."""
    pod = _indexed(job, index)
    if job.spec.backoff_limit_per_index is None:
        return pod
    counts = dict(failures.annotations.get(index, first_counts()))
    annotations = pod.metadata.annotations | counts
    meta = pod.metadata.model_copy(update={"annotations": annotations})
    return pod.model_copy(update={"metadata": meta})


def _with_index(container: Container) -> Container:
    if any(variable.name == _VARIABLE for variable in container.env):
        return container
    path = {"fieldRef": {"fieldPath": f"metadata.labels['{LABEL}']"}}
    wire = container.wire()
    wire["env"] = [*wire.get("env", []), {"name": _VARIABLE, "valueFrom": path}]
    return Container.parse(wire)
