"""batch/v1: Job, which runs Pods to their end, and CronJob, which makes Jobs at times."""

from pydantic import Field

from control.api.base import Int32, Model
from control.api.meta import Condition, LabelSelector, Object, ObjectMeta
from control.api.service import ObjectReference
from control.api.workload import PodTemplateSpec

MANAGER = "kubernetes.io/job-controller"
INDEXED = "Indexed"
UID_LABEL = "batch.kubernetes.io/controller-uid"
NAME_LABEL = "batch.kubernetes.io/job-name"


def own_labels(name: str, uid: str) -> dict[str, str]:
    """Return the labels of a Job's Pods; those without a prefix are for old clients."""
    labels = {UID_LABEL: uid, NAME_LABEL: name}
    return labels | {key.rpartition("/")[2]: value for key, value in labels.items()}


class ExitCodes(Model):
    """The exit codes that a rule is about: In or NotIn the values, of one container or any."""

    container_name: str | None = None
    operator: str = ""
    values: list[int] = []


class PodConditionPattern(Model):
    """A Pod's condition that a rule is about."""

    type: str = ""
    status: str | None = None


class PodFailureRule(Model):
    """What becomes of a failed Pod: FailJob, FailIndex, Ignore or Count."""

    action: str = ""
    on_exit_codes: ExitCodes | None = None
    on_pod_conditions: list[PodConditionPattern] = []


class PodFailurePolicy(Model):
    """Rules for failed Pods; the first that fits decides."""

    rules: list[PodFailureRule] = []


class SuccessRule(Model):
    """The indexes, or the number of them, that make a Job a success."""

    succeeded_indexes: str | None = None
    succeeded_count: Int32 | None = None


class SuccessPolicy(Model):
    """Rules for an early success; any that fits decides."""

    rules: list[SuccessRule] = []


class JobSpec(Model):
    """The desired state of a Job."""

    parallelism: Int32 | None = None
    completions: Int32 | None = None
    active_deadline_seconds: int | None = None
    pod_failure_policy: PodFailurePolicy | None = None
    success_policy: SuccessPolicy | None = None
    backoff_limit: Int32 | None = None
    backoff_limit_per_index: Int32 | None = None
    max_failed_indexes: Int32 | None = None
    selector: LabelSelector = Field(default_factory=LabelSelector)
    manual_selector: bool | None = None
    template: PodTemplateSpec = Field(default_factory=PodTemplateSpec)
    ttl_seconds_after_finished: Int32 | None = None
    completion_mode: str | None = None
    suspend: bool | None = None
    pod_replacement_policy: str | None = None
    managed_by: str | None = None


class Uncounted(Model):
    """The uids of ended Pods that are not in the numbers yet."""

    succeeded: list[str] = []
    failed: list[str] = []


class JobStatus(Model):
    """The numbers of Pods, as the controller counts them."""

    conditions: list[Condition] = []
    start_time: str | None = None
    completion_time: str | None = None
    active: Int32 | None = None
    succeeded: Int32 | None = None
    failed: Int32 | None = None
    terminating: Int32 | None = None
    completed_indexes: str | None = None
    failed_indexes: str | None = None
    uncounted_terminated_pods: Uncounted | None = None
    ready: Int32 | None = None


class Job(Object):
    """batch/v1 Job."""

    spec: JobSpec = Field(default_factory=JobSpec)
    status: JobStatus = Field(default_factory=JobStatus)


class JobTemplateSpec(Model):
    """The template of a CronJob's Jobs."""

    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: JobSpec = Field(default_factory=JobSpec)


class CronJobSpec(Model):
    """The desired state of a CronJob."""

    schedule: str = ""
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str | None = None
    suspend: bool | None = None
    job_template: JobTemplateSpec = Field(default_factory=JobTemplateSpec)
    successful_jobs_history_limit: Int32 | None = None
    failed_jobs_history_limit: Int32 | None = None


class CronJobStatus(Model):
    """The Jobs that run, and the last times."""

    active: list[ObjectReference] = []
    last_schedule_time: str | None = None
    last_successful_time: str | None = None


class CronJob(Object):
    """batch/v1 CronJob."""

    spec: CronJobSpec = Field(default_factory=CronJobSpec)
    status: CronJobStatus = Field(default_factory=CronJobStatus)
