"""The table columns of Jobs, StatefulSets and what else runs or bounds Pods. Pure."""

from collections.abc import Sequence
from datetime import datetime

from control.api.columns.base import (
    AGE,
    NAME,
    NONE,
    Cell,
    Column,
    Columns,
    Wire,
    age_of,
    containers_cells,
    human,
    labels_text,
    name_of,
    since,
    wide,
)
from control.api.columns.fields import UNSET, field_at, flag, plain, text
from control.api.columns.workload import REPLICA_SET, TEMPLATE, number, template_cells
from control.api.times import parse_time


def _replication_controller(wire: Wire, now: datetime) -> Sequence[Cell]:
    """Show it as a ReplicaSet, whose selector may say more."""
    spec = wire.get("spec", {})
    selector = {"matchLabels": spec.get("selector") or {}}
    return REPLICA_SET.cells({**wire, "spec": {**spec, "selector": selector}}, now)


REPLICATION_CONTROLLER = Columns(REPLICA_SET.columns, _replication_controller)


def _stateful_set(wire: Wire, now: datetime) -> Sequence[Cell]:
    spec, status = wire.get("spec", {}), wire.get("status", {})
    return (
        name_of(wire),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        age_of(wire, now),
        *containers_cells(spec.get("template", {})),
    )


STATEFUL_SET = Columns(
    (NAME, Column("Ready"), AGE, wide("Containers"), wide("Images")), _stateful_set
)


def _pod_template(wire: Wire, _: datetime) -> Sequence[Cell]:
    template = wire.get("template", {})
    labels = template.get("metadata", {}).get("labels")
    return (name_of(wire), *containers_cells(template), labels_text(labels))


POD_TEMPLATE = Columns(
    (NAME, Column("Containers"), Column("Images"), Column("Pod Labels")), _pod_template
)


def _holds(wire: Wire, condition: str) -> bool:
    return any(
        found.get("type") == condition and found.get("status") == "True"
        for found in field_at(wire, "status.conditions") or ()
    )


def _job_status(wire: Wire) -> str:
    if _holds(wire, "Complete"):
        return "Complete"
    if _holds(wire, "Failed"):
        return "Failed"
    if "deletionTimestamp" in wire["metadata"]:
        return "Terminating"
    for condition, shown in (
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if _holds(wire, condition):
            return shown
    return "Running"


def _completions(spec: Wire, done: int) -> str:
    if "completions" in spec:
        return f"{done}/{spec['completions']}"
    parallel = spec.get("parallelism", 0)
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _duration(status: Wire, now: datetime) -> str:
    start, end = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    return human(((end or now) - start).total_seconds()) if start else ""


def _job(wire: Wire, now: datetime) -> Sequence[Cell]:
    spec, status = wire.get("spec", {}), wire.get("status", {})
    return (
        name_of(wire),
        _job_status(wire),
        _completions(spec, status.get("succeeded", 0)),
        _duration(status, now),
        age_of(wire, now),
        *template_cells(spec),
    )


JOB = Columns(
    (NAME, Column("Status"), Column("Completions"), Column("Duration"), AGE, *TEMPLATE), _job
)


def _cron_job(wire: Wire, now: datetime) -> Sequence[Cell]:
    last = field_at(wire, "status.lastScheduleTime")
    return (
        name_of(wire),
        text(wire, "spec.schedule", ""),
        text(wire, "spec.timeZone", NONE),
        text(wire, "spec.suspend", UNSET),
        len(field_at(wire, "status.active") or ()),
        since(last, now) if last else NONE,
        age_of(wire, now),
        *template_cells(field_at(wire, "spec.jobTemplate.spec") or {}),
    )


CRON_JOB = Columns(
    (
        NAME,
        Column("Schedule"),
        Column("Timezone"),
        Column("Suspend", type="boolean"),
        number("Active"),
        Column("Last Schedule"),
        AGE,
        *TEMPLATE,
    ),
    _cron_job,
)


def _disruption_budget(wire: Wire, now: datetime) -> Sequence[Cell]:
    return (
        name_of(wire),
        text(wire, "spec.minAvailable", "N/A"),
        text(wire, "spec.maxUnavailable", "N/A"),
        field_at(wire, "status.disruptionsAllowed") or 0,
        age_of(wire, now),
    )


POD_DISRUPTION_BUDGET = Columns(
    (
        NAME,
        Column("Min Available"),
        Column("Max Unavailable"),
        number("Allowed Disruptions"),
        AGE,
    ),
    _disruption_budget,
)


def _quota(wire: Wire, now: datetime) -> Sequence[Cell]:
    hard, used = field_at(wire, "status.hard") or {}, field_at(wire, "status.used") or {}
    shown = {name: f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard)}
    limits = [said for name, said in shown.items() if name.startswith("limits.")]
    requests = [said for name, said in shown.items() if not name.startswith("limits.")]
    return name_of(wire), ", ".join(requests), ", ".join(limits), age_of(wire, now)


RESOURCE_QUOTA = Columns((NAME, Column("Request"), Column("Limit"), AGE), _quota)


def _autoscaler(wire: Wire, now: datetime) -> Sequence[Cell]:
    spec = wire.get("spec", {})
    target = spec.get("scaleTargetRef", {})
    return (
        name_of(wire),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _targets(spec.get("metrics", ()), field_at(wire, "status.currentMetrics") or ()),
        text(wire, "spec.minReplicas", UNSET),
        spec.get("maxReplicas", 0),
        field_at(wire, "status.currentReplicas") or 0,
        age_of(wire, now),
    )


_SHOWN_METRICS = 2


def _targets(metrics: Sequence[Wire], statuses: Sequence[Wire]) -> str:
    shown = [
        _target(metric, statuses[at] if at < len(statuses) else {})
        for at, metric in enumerate(metrics)
    ]
    more = f" + {len(shown) - _SHOWN_METRICS} more..." if len(shown) > _SHOWN_METRICS else ""
    return ", ".join(shown[:_SHOWN_METRICS]) + more or NONE


def _target(metric: Wire, status: Wire) -> str:
    """Return the present value of a metric, and the wanted one."""
    sort = metric.get("type", "")
    field = sort[:1].lower() + sort[1:]
    if field not in metric:
        return "<unknown type>"
    target, current = metric[field].get("target", {}), status.get(field, {}).get("current", {})
    name = f"{metric[field].get('name', '')}: " if field.endswith("esource") else ""
    if "averageValue" in target:
        average = " (avg)" if field in ("external", "object") else ""
        return f"{name}{current.get('averageValue', '<unknown>')}/{target['averageValue']}{average}"
    if "value" in target:
        return f"{name}{current.get('value', '<unknown>')}/{target['value']}"
    used, wanted = current.get("averageUtilization"), target.get("averageUtilization")
    left = f"{used}%" if used is not None else "<unknown>"
    return f"{name}{left}/{f'{wanted}%' if wanted is not None else '<auto>'}"


HORIZONTAL_POD_AUTOSCALER = Columns(
    (
        NAME,
        Column("Reference"),
        Column("Targets"),
        Column("MinPods"),
        Column("MaxPods"),
        Column("Replicas"),
        AGE,
    ),
    _autoscaler,
)


def _priority_class(wire: Wire, now: datetime) -> Sequence[Cell]:
    return (
        name_of(wire),
        wire.get("value", 0),
        flag(wire, "globalDefault"),
        age_of(wire, now),
        text(wire, "preemptionPolicy", ""),
    )


PRIORITY_CLASS = Columns(
    (
        NAME,
        number("Value"),
        Column("Global-Default", type="boolean"),
        AGE,
        Column("PreemptionPolicy"),
    ),
    _priority_class,
)
RUNTIME_CLASS = plain(("Handler", "handler", ""))
