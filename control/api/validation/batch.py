"""Validate Jobs and CronJobs. Pure.

Source: k8s.io/kubernetes/pkg/apis/batch/validation
"""

from collections.abc import Sequence, Set
from dataclasses import replace
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from control.api import field
from control.api.batch import (
    INDEXED,
    CronJob,
    ExitCodes,
    Job,
    JobSpec,
    PodConditionPattern,
    PodFailureRule,
    SuccessRule,
    own_labels,
)
from control.api.field import FieldError
from control.api.schedule import ScheduleError, parse_schedule
from control.api.selectors import selects
from control.api.validation import text
from control.api.validation.meta import domain_path, immutable, invalid_each, validate_selector
from control.api.validation.pods.pod import validate_template
from control.api.validation.text import NOT_NEGATIVE

_MODES = (INDEXED, "NonIndexed")
_REPLACEMENT = ("Failed", "TerminatingOrFailed")
_RESTART = ("Never", "OnFailure")
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")
_LONGEST_MANAGER = 63
_MOST_INDEXES = 100_000
_MOST_TEXT = 64 * 1024
_MOST_OF_MANY = 10_000
_MOST_RULES = 20
_MOST_CODES = 255


def validate_job(job: Job) -> list[FieldError]:
    """Check a Job."""
    return _spec(job.spec) + _selected(job) + _last_host_name(job)


def _last_host_name(job: Job) -> list[FieldError]:
    """Check that the Pod of the last index can have the Job's name and its index as host name."""
    spec, name = job.spec, job.metadata.name
    if spec.completion_mode != INDEXED or (spec.completions or 0) <= 0:
        return []
    longest = f"{name}-{(spec.completions or 0) - 1}"
    if not text.dns_label(longest):
        return []
    why = f"will not able to create pod with invalid DNS label: {longest}"
    return [field.invalid("metadata.name", name, why)]


def _spec(spec: JobSpec) -> list[FieldError]:
    """Check what a Job and the template of one have in common."""
    found = _numbers(spec) + _choices(spec) + _template(spec)
    if spec.pod_failure_policy is not None:
        found += _failure_policy(spec, spec.pod_failure_policy.rules)
    if spec.success_policy is not None and spec.completion_mode == INDEXED:
        found += _success_policy(spec, spec.success_policy.rules)
    return found


def _selected(job: Job) -> list[FieldError]:
    """Check that the selector finds the Job's own Pods: else it would make them without end."""
    spec, meta = job.spec, job.metadata
    labels = spec.template.metadata.labels
    if not spec.selector.wire():
        return [field.required("spec.selector")]
    if found := validate_selector("spec.selector", spec.selector):
        return found
    if not spec.manual_selector and not selects(spec.selector, own_labels(meta.name, meta.uid)):
        return [field.invalid("spec.selector", spec.selector, "`selector` not auto-generated")]
    if not selects(spec.selector, labels):
        why = "`selector` does not match template `labels`"
        return [field.invalid("spec.template.metadata.labels", labels, why)]
    return []


def _numbers(spec: JobSpec) -> list[FieldError]:
    numbers = {
        "parallelism": spec.parallelism,
        "completions": spec.completions,
        "activeDeadlineSeconds": spec.active_deadline_seconds,
        "backoffLimit": spec.backoff_limit,
        "backoffLimitPerIndex": spec.backoff_limit_per_index,
        "maxFailedIndexes": spec.max_failed_indexes,
        "ttlSecondsAfterFinished": spec.ttl_seconds_after_finished,
    }
    found = [
        field.invalid(f"spec.{name}", value, NOT_NEGATIVE)
        for name, value in numbers.items()
        if value is not None and value < 0
    ]
    found += _per_index(spec)
    return found + (_indexed(spec) if spec.completion_mode == INDEXED else [])


def _per_index(spec: JobSpec) -> list[FieldError]:
    """Check the limits for the failures of single indexes."""
    path, most = "spec.maxFailedIndexes", spec.max_failed_indexes
    if spec.backoff_limit_per_index is None:
        why = "when maxFailedIndexes is specified"
        return [] if most is None else [field.required("spec.backoffLimitPerIndex", why)]
    found = []
    completions = spec.completions or 0
    if most is not None and most > completions:
        why = "must be less than or equal to completions"
        found.append(field.invalid(path, most, why))
    if completions > _MOST_INDEXES:
        if most is None:
            why = f"must be specified when completions is above {_MOST_INDEXES}"
            found.append(field.required(path, why))
        for name, value in (("parallelism", spec.parallelism), ("maxFailedIndexes", most)):
            if (value or 0) > _MOST_OF_MANY:
                why = (
                    f"must be less than or equal to {_MOST_OF_MANY} when completions are above"
                    f" {_MOST_INDEXES} and used with backoff limit per index"
                )
                found.append(field.invalid(f"spec.{name}", value, why))
    return found


def _indexed(spec: JobSpec) -> list[FieldError]:
    if spec.completions is None:
        why = f"when completion mode is {INDEXED}"
        return [field.required("spec.completions", why)]
    if (spec.parallelism or 0) <= _MOST_INDEXES:
        return []
    why = f"must be less than or equal to {_MOST_INDEXES} when completion mode is {INDEXED}"
    return [field.invalid("spec.parallelism", spec.parallelism, why)]


def _choices(spec: JobSpec) -> list[FieldError]:
    found = []
    if spec.completion_mode not in (None, *_MODES):
        found.append(field.not_supported("spec.completionMode", spec.completion_mode, _MODES))
    policy = spec.pod_replacement_policy
    if policy not in (None, *_REPLACEMENT):
        found.append(field.not_supported("spec.podReplacementPolicy", policy, _REPLACEMENT))
    elif spec.pod_failure_policy is not None and policy not in (None, "Failed"):
        found.append(field.not_supported("spec.podReplacementPolicy", policy, ["Failed"]))
    manager = spec.managed_by
    if manager is not None:
        found += _manager("spec.managedBy", manager)
    if spec.completion_mode != INDEXED:
        for name, value in (
            ("backoffLimitPerIndex", spec.backoff_limit_per_index),
            ("maxFailedIndexes", spec.max_failed_indexes),
            ("successPolicy", spec.success_policy),
        ):
            if value is not None:
                why = "requires indexed completion mode"
                found.append(field.invalid(f"spec.{name}", value, why))
    return found


def _manager(path: str, name: str) -> list[FieldError]:
    """Check who counts a Job's Pods instead of podwire: a domain, then a path."""
    found = domain_path(path, name)
    if len(name) > _LONGEST_MANAGER:
        found.append(field.too_long(path, _LONGEST_MANAGER))
    return found


def _template(spec: JobSpec) -> list[FieldError]:
    pods = spec.template.spec
    found = validate_template("spec.template", spec.template)
    path = "spec.template.spec.restartPolicy"
    if pods.restart_policy == "Always":
        why = 'valid values: "OnFailure", "Never"'
        found.append(field.required(path, why))
    elif pods.restart_policy and pods.restart_policy not in _RESTART:
        found.append(field.not_supported(path, pods.restart_policy, _RESTART))
    if spec.pod_failure_policy is not None and pods.restart_policy != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        found.append(field.invalid(path, pods.restart_policy, why))
    return found


def _success_policy(spec: JobSpec, rules: Sequence[SuccessRule]) -> list[FieldError]:
    path = "spec.successPolicy.rules"
    if not rules:
        why = "at least one rules must be specified when the successPolicy is specified"
        return [field.required(path, why)]
    if len(rules) > _MOST_RULES:
        return [field.too_many(path, len(rules), _MOST_RULES)]
    return [
        error
        for at, rule in enumerate(rules)
        for error in _success_rule(f"{path}[{at}]", rule, spec.completions or 0)
    ]


def _success_rule(path: str, rule: SuccessRule, completions: int) -> list[FieldError]:
    count, indexes, found = rule.succeeded_count, rule.succeeded_indexes, list[FieldError]()
    if count is None and indexes is None:
        why = "at least one of succeededCount or succeededIndexes must be specified"
        return [field.required(path, why)]
    most, whose = completions, "the number of specified completions"
    if indexes is not None:
        own = f"{path}.succeededIndexes"
        if len(indexes) > _MOST_TEXT:
            return [field.too_long(own, _MOST_TEXT)]
        try:
            total = count_indexes(indexes, completions)
        except ValueError as err:
            return [field.invalid(own, indexes, f"error parsing succeededIndexes: {err}")]
        most, whose = total, "the number of indexes in the specified succeededIndexes field"
    if count is not None and count < 0:
        found.append(field.invalid(f"{path}.succeededCount", count, NOT_NEGATIVE))
    if count is not None and count > most:
        why = f"must be less than or equal to {most} ({whose})"
        found.append(field.invalid(f"{path}.succeededCount", count, why))
    return found


def count_indexes(text: str, completions: int) -> int:
    """Return how many indexes a text such as ``0,2-5`` names; raises ValueError."""
    total, before = 0, -1
    for part in text.split(",") if text else []:
        first, dash, last = part.partition("-")
        if "-" in last:
            raise ValueError(
                f'the fragment "{part}" violates the requirement that an index'
                " interval can have at most two parts separated by '-'"
            )
        ends = [_index(each, completions) for each in ((first, last) if dash else (first,))]
        if ends[0] <= before:
            raise ValueError(f"non-increasing order, previous: {before}, current: {ends[0]}")
        if ends[-1] < ends[0] or (dash and ends[0] == ends[1]):
            raise ValueError(f"non-increasing order, previous: {ends[0]}, current: {ends[-1]}")
        total, before = total + ends[-1] - ends[0] + 1, ends[-1]
    return total


def _index(text: str, completions: int) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 10:
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)


def _failure_policy(spec: JobSpec, rules: Sequence[PodFailureRule]) -> list[FieldError]:
    path = "spec.podFailurePolicy.rules"
    if len(rules) > _MOST_RULES:
        return [field.too_many(path, len(rules), _MOST_RULES)]
    found = []
    for at, rule in enumerate(rules):
        found += _failure_rule(f"{path}[{at}]", spec, rule)
    return found


def _failure_rule(path: str, spec: JobSpec, rule: PodFailureRule) -> list[FieldError]:
    found = []
    if not rule.action:
        found.append(field.required(f"{path}.action", f"valid values: {', '.join(_ACTIONS)}"))
    elif rule.action not in _ACTIONS:
        found.append(field.not_supported(f"{path}.action", rule.action, _ACTIONS))
    elif rule.action == "FailIndex" and spec.backoff_limit_per_index is None:
        why = "requires the backoffLimitPerIndex to be set"
        found.append(field.invalid(f"{path}.action", rule.action, why))
    if bool(rule.on_exit_codes) == bool(rule.on_pod_conditions):
        why = "specifying one of OnExitCodes and OnPodConditions is required"
        found.append(field.invalid(path, rule.wire(), why))
    if rule.on_exit_codes is not None:
        pods = spec.template.spec
        names = {container.name for container in (*pods.containers, *pods.init_containers)}
        found += _exit_codes(f"{path}.onExitCodes", rule.on_exit_codes, names)
    return found + _conditions(f"{path}.onPodConditions", rule.on_pod_conditions)


def _conditions(path: str, patterns: Sequence[PodConditionPattern]) -> list[FieldError]:
    if len(patterns) > _MOST_RULES:
        return [field.too_many(path, len(patterns), _MOST_RULES)]
    found: list[FieldError] = []
    for at, pattern in enumerate(patterns):
        own = f"{path}[{at}]"
        found += invalid_each(f"{own}.type", pattern.type, text.qualified_name(pattern.type))
        if not pattern.status:
            why = 'valid values: ["False" "True" "Unknown"]'
            found.append(field.required(f"{own}.status", why))
        elif pattern.status not in _STATUSES:
            found.append(field.not_supported(f"{own}.status", pattern.status, _STATUSES))
    return found


def _exit_codes(path: str, wanted: ExitCodes, names: Set[str]) -> list[FieldError]:
    found: list[FieldError] = []
    if wanted.container_name is not None and wanted.container_name not in names:
        why = "must be one of the container or initContainer names in the pod template"
        found.append(field.invalid(f"{path}.containerName", wanted.container_name, why))
    if wanted.operator not in _OPERATORS:
        found.append(field.not_supported(f"{path}.operator", wanted.operator, _OPERATORS))
    if not wanted.values:
        found.append(field.invalid(f"{path}.values", [], "at least one value is required"))
    elif len(wanted.values) > _MOST_CODES:
        found.append(field.too_many(f"{path}.values", len(wanted.values), _MOST_CODES))
    if wanted.operator == "In" and 0 in wanted.values:
        where, why = f"{path}.values[{wanted.values.index(0)}]", "must not be 0 for the In operator"
        found.append(field.invalid(where, 0, why))
    if list(wanted.values) != sorted({*wanted.values}):
        why = "must be ordered, without duplicates"
        found.append(field.invalid(f"{path}.values", wanted.values, why))
    return found


def validate_job_update(new: Job, old: Job) -> list[FieldError]:
    """Refuse changes of what the counted Pods have run by; a suspended Job may be placed anew."""
    found = []
    for name in ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"):
        found += _same(name, new, old)
    found += _same("managedBy", new, old) + _same("successPolicy", new, old)
    if new.spec.completion_mode != INDEXED or new.spec.completions != new.spec.parallelism:
        found += _same("completions", new, old)
    if not (old.spec.suspend and old.status.start_time is None):
        found += _same("template", new, old)
    return found


def _same(name: str, new: Job, old: Job) -> list[FieldError]:
    after, before = new.spec.wire(), old.spec.wire()
    return immutable(f"spec.{name}", after.get(name), before.get(name))


_CONCURRENCY = ("Allow", "Forbid", "Replace")
_CRON_NAME_MAX = 52  # its Jobs add a dash and ten digits


def validate_cron_job(cron: CronJob) -> list[FieldError]:
    """Check a CronJob and the template of its Jobs."""
    spec, found = cron.spec, []
    if len(cron.metadata.name) > _CRON_NAME_MAX:
        why = f"must be no more than {_CRON_NAME_MAX} characters"
        found.append(field.invalid("metadata.name", cron.metadata.name, why))
    found += _schedule(spec.schedule) + _zone(spec.time_zone)
    if spec.concurrency_policy not in _CONCURRENCY:
        policy = spec.concurrency_policy or ""
        found.append(field.not_supported("spec.concurrencyPolicy", policy, _CONCURRENCY))
    numbers = {
        "startingDeadlineSeconds": spec.starting_deadline_seconds,
        "successfulJobsHistoryLimit": spec.successful_jobs_history_limit,
        "failedJobsHistoryLimit": spec.failed_jobs_history_limit,
    }
    for name, value in numbers.items():
        if value is not None and value < 0:
            found.append(field.invalid(f"spec.{name}", value, NOT_NEGATIVE))
    inner = _spec(spec.job_template.spec) + _no_selector(spec.job_template.spec)
    return found + [replace(it, path=f"spec.jobTemplate.{it.path}") for it in inner]


def _no_selector(spec: JobSpec) -> list[FieldError]:
    """Check that each Job of a template gets a selector of its own."""
    found = []
    if spec.selector.wire():
        why = "`selector` will be auto-generated"
        found.append(field.invalid("spec.selector", spec.selector, why))
    if spec.manual_selector:
        found.append(field.not_supported("spec.manualSelector", "true", ["nil", "false"]))
    return found


def _schedule(text_: str) -> list[FieldError]:
    if not text_:
        return [field.required("spec.schedule")]
    try:
        parse_schedule(text_)
    except ScheduleError as err:
        return [field.invalid("spec.schedule", text_, str(err))]
    return []


def _zone(name: str | None) -> list[FieldError]:
    if name is None:
        return []
    if not name or name.lower() == "local":
        why = "timeZone must be nil or non-empty string, and an explicit time zone"
        return [field.invalid("spec.timeZone", name, why)]
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return [field.invalid("spec.timeZone", name, f"unknown time zone {name}")]
    return []
