"""Defaults of Jobs, and of StatefulSets and other workloads that podwire stores. Pure.

Upstream's controllers expect them: a number that is not there stops them.
Source: the defaults.go of k8s.io/kubernetes/pkg/apis (apps, autoscaling, batch, core).
"""

from control.api.batch import UID_LABEL, own_labels
from control.api.defaults.edit import Wire, filled, within, within_each
from control.api.defaults.pod import default_source, default_template

_UTILIZATION = 80
_HISTORY = 10
_BACKOFF = 6
_ANY_BACKOFF = 2**31 - 1
# How fast an autoscaler may add and remove replicas.
_SCALE_UP = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_SCALE_DOWN = {
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


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
            {"kind": "PersistentVolumeClaim", "apiVersion": "v1"}
            | default_claim(claim)
            | {"status": {"phase": "Pending"} | claim.get("status", {})}
            for claim in made.get("volumeClaimTemplates", ())
        ]
    }
    if not made["volumeClaimTemplates"]:
        del made["volumeClaimTemplates"]
    return within(made, "template", default_template)


def _update_strategy(strategy: Wire) -> Wire:
    if not strategy.get("type"):
        strategy = {"rollingUpdate": {}} | strategy | {"type": "RollingUpdate"}
    if strategy["type"] != "RollingUpdate":
        return strategy
    return within(strategy, "rollingUpdate", lambda rolling: {"partition": 0} | rolling)


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
    """Set a Job's defaults: it runs one Pod once, and tries six times more.

    Without labels of its own, it has those of the template.
    """
    labels = wire.get("spec", {}).get("template", {}).get("metadata", {}).get("labels")
    if labels and not wire["metadata"].get("labels"):
        wire = wire | {"metadata": wire["metadata"] | {"labels": labels}}
    return within(wire, "spec", _job)


def _job(spec: Wire) -> Wire:
    made = dict(spec)
    if "completions" not in made and "parallelism" not in made:
        made |= {"completions": 1, "parallelism": 1}
    made = filled(
        made,
        {
            "parallelism": 1,
            "backoffLimit": _ANY_BACKOFF if "backoffLimitPerIndex" in made else _BACKOFF,
            "completionMode": "NonIndexed",
            "suspend": False,
            "manualSelector": False,
        },
    )
    made.setdefault(
        "podReplacementPolicy", "Failed" if "podFailurePolicy" in made else "TerminatingOrFailed"
    )
    return within(_with_statuses(made), "template", default_template)


def _with_statuses(spec: Wire) -> Wire:
    """Set that a rule for failed Pods is about conditions that are true."""

    def set_in(rule: Wire) -> Wire:
        return within_each(rule, "onPodConditions", lambda it: filled(it, {"status": "True"}))

    return within(spec, "podFailurePolicy", lambda policy: within_each(policy, "rules", set_in))


def begin_job(wire: Wire) -> Wire:
    """Set the selector of a new Job's Pods, unless its maker has chosen one.

    It is the Job's uid, which no other Pod has.
    """
    spec, meta = wire.get("spec", {}), wire["metadata"]
    if spec.get("manualSelector"):
        return wire
    template, selector = spec.get("template", {}), spec.get("selector") or {}
    inner = template.get("metadata", {})
    labels = (inner.get("labels") or {}) | own_labels(meta["name"], meta["uid"])
    template = template | {"metadata": inner | {"labels": labels}}
    matched = {UID_LABEL: meta["uid"]} | (selector.get("matchLabels") or {})
    selector = selector | {"matchLabels": matched}
    if not meta.get("labels"):
        wire = wire | {"metadata": meta | {"labels": labels}}
    return wire | {"spec": spec | {"selector": selector, "template": template}}


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
    return within(
        template, "spec", lambda spec: within(_with_statuses(spec), "template", default_template)
    )


def default_autoscaler(wire: Wire) -> Wire:
    """Set one replica at least, and a target of 80 % of the CPU that Pods request."""
    spec = filled(wire.get("spec", {}), {"minReplicas": 1})
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": _UTILIZATION}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    return wire | {"spec": within(spec, "behavior", _behavior)}


def default_autoscaler_form(wire: Wire) -> Wire:
    """Set one replica at least; the target is set when the object is kept as v2."""
    return wire | {"spec": filled(wire.get("spec", {}), {"minReplicas": 1})}


def _behavior(behavior: Wire) -> Wire:
    return {
        "scaleUp": _SCALE_UP | behavior.get("scaleUp", {}),
        "scaleDown": _SCALE_DOWN | behavior.get("scaleDown", {}),
    }


def default_volume(wire: Wire) -> Wire:
    """Set what becomes of a volume after its claim, and that it has a file system."""
    return within(wire, "spec", _volume)


def _volume(spec: Wire) -> Wire:
    made = filled(spec, {"persistentVolumeReclaimPolicy": "Retain"})
    made = {"volumeMode": "Filesystem"} | made
    return default_source(made)


# What the older field of a claim's source may name; upstream drops everything else.
_COPIED = (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))


def default_claim(wire: Wire) -> Wire:
    """Set that a claim wants a file system, and its source in both forms."""
    return within(wire, "spec", _claim)


def _claim(spec: Wire) -> Wire:
    made: Wire = {"volumeMode": "Filesystem"} | spec
    source, wide = made.get("dataSource"), made.get("dataSourceRef")
    if source and not wide:
        if (source.get("apiGroup") or "", source.get("kind")) not in _COPIED:
            return {name: value for name, value in made.items() if name != "dataSource"}
        return made | {"dataSourceRef": source}
    if wide and not source and not wide.get("namespace"):
        return made | {"dataSource": wide}
    return made


def begin_pending(wire: Wire) -> Wire:
    """Set the phase of a new volume or claim."""
    return wire | {"status": {"phase": "Pending"}}
