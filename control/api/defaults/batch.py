"""Defaults of Jobs, StatefulSets and other workloads that podwire stores. Pure.

Upstream's controllers expect them: a number that is not there stops them.
Source: the defaults.go of k8s.io/kubernetes/pkg/apis (apps, autoscaling, batch, core).
"""

from control.api.defaults.edit import Wire, filled, within
from control.api.defaults.pod import default_template

_UTILIZATION = 80
_HISTORY = 10
_BACKOFF = 6


def default_stateful_set(wire: Wire) -> Wire:
    """Set a StatefulSet's defaults: one replica, in order, rolling updates."""
    return within(wire, "spec", _stateful_set)


def _stateful_set(spec: Wire) -> Wire:
    made = filled(
        {"updateStrategy": {}} | spec,
        {"podManagementPolicy": "OrderedReady", "replicas": 1, "revisionHistoryLimit": _HISTORY},
    )
    keep = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    made["persistentVolumeClaimRetentionPolicy"] = keep | made.get(
        "persistentVolumeClaimRetentionPolicy", {}
    )
    made = within(made, "updateStrategy", _update_strategy)
    made = made | {
        "volumeClaimTemplates": [
            default_claim(claim) | {"status": {"phase": "Pending"} | claim.get("status", {})}
            for claim in made.get("volumeClaimTemplates", ())
        ]
    }
    if not made["volumeClaimTemplates"]:
        del made["volumeClaimTemplates"]
    return within(made, "template", default_template)


def _update_strategy(strategy: Wire) -> Wire:
    made = filled(strategy, {"type": "RollingUpdate"})
    if made["type"] != "RollingUpdate":
        return made
    return made | {"rollingUpdate": {"partition": 0} | made.get("rollingUpdate", {})}


def default_replication_controller(wire: Wire) -> Wire:
    """Set one replica; selector and labels are those of the template."""
    spec = filled(wire.get("spec", {}), {"replicas": 1})
    labels = spec.get("template", {}).get("metadata", {}).get("labels")
    if labels:
        spec = {"selector": labels} | spec
        metadata = {"labels": labels} | wire["metadata"]
        wire = wire | {"metadata": metadata}
    return wire | {"spec": within(spec, "template", default_template)}


def default_pod_template(wire: Wire) -> Wire:
    """Set the defaults of the template."""
    return within(wire, "template", default_template)


def default_job(wire: Wire) -> Wire:
    """Set a Job's defaults: it runs one Pod once, and tries six times more."""
    return within(wire, "spec", _job)


def _job(spec: Wire) -> Wire:
    made = dict(spec)
    if "completions" not in made and "parallelism" not in made:
        made |= {"completions": 1, "parallelism": 1}
    made = filled(
        made,
        {
            "parallelism": 1,
            "backoffLimit": _BACKOFF,
            "completionMode": "NonIndexed",
            "suspend": False,
            "manualSelector": False,
        },
    )
    made.setdefault(
        "podReplacementPolicy", "Failed" if "podFailurePolicy" in made else "TerminatingOrFailed"
    )
    return within(made, "template", default_template)


def default_cron_job(wire: Wire) -> Wire:
    """Set a CronJob's defaults: Jobs may run beside each other, a few are kept."""
    return within(wire, "spec", _cron_job)


def _cron_job(spec: Wire) -> Wire:
    made = filled(
        spec,
        {
            "concurrencyPolicy": "Allow",
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
        },
    )
    return within(made, "jobTemplate", _job_template)


def _job_template(template: Wire) -> Wire:
    return within(template, "spec", lambda spec: within(spec, "template", default_template))


def default_autoscaler(wire: Wire) -> Wire:
    """Set one replica at least, and a target of 80 % of the CPU that Pods request."""
    spec = filled(wire.get("spec", {}), {"minReplicas": 1})
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": _UTILIZATION}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    return wire | {"spec": spec}


def default_volume(wire: Wire) -> Wire:
    """Set what becomes of a volume after its claim, and that it has a file system."""
    return within(
        wire,
        "spec",
        lambda spec: filled(
            spec, {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"}
        ),
    )


def default_claim(wire: Wire) -> Wire:
    """Set that a claim wants a file system."""
    return within(wire, "spec", lambda spec: filled(spec, {"volumeMode": "Filesystem"}))


def begin_pending(wire: Wire) -> Wire:
    """Set the phase of a new volume or claim."""
    return wire | {"status": {"phase": "Pending"}}
