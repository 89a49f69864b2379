"""Defaults of Deployments, ReplicaSets and DaemonSets. Pure.

Source: k8s.io/kubernetes/pkg/apis/apps/v1/defaults.go
"""

from control.api.defaults.edit import Wire, filled, within
from control.api.defaults.pod import default_template

_HISTORY = 10
_PROGRESS_SECONDS = 600
_QUARTER = "25%"


def default_deployment(deployment: Wire) -> Wire:
    """Set a Deployment's defaults: one replica, rolling updates by 25%."""
    return _with_spec(
        deployment,
        {
            "replicas": 1,
            "revisionHistoryLimit": _HISTORY,
            "progressDeadlineSeconds": _PROGRESS_SECONDS,
            "strategy": {},
        },
        strategy="strategy",
        rolling={"maxUnavailable": _QUARTER, "maxSurge": _QUARTER},
    )


def default_replica_set(replica_set: Wire) -> Wire:
    """Set a ReplicaSet's default: one replica."""
    return _with_spec(replica_set, {"replicas": 1})


# Counts the changes of a DaemonSet's template, as the API before apps/v1 did in its spec.
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def default_daemon_set(daemon_set: Wire) -> Wire:
    """Set a DaemonSet's defaults: rolling updates, one node at a time."""
    metadata = daemon_set["metadata"]
    annotations = {TEMPLATE_GENERATION: "1"} | metadata.get("annotations", {})
    return _with_spec(
        daemon_set | {"metadata": metadata | {"annotations": annotations}},
        {"revisionHistoryLimit": _HISTORY, "updateStrategy": {}},
        strategy="updateStrategy",
        rolling={"maxUnavailable": 1, "maxSurge": 0},
    )


def _with_spec(
    workload: Wire, defaults: Wire, *, strategy: str = "", rolling: Wire | None = None
) -> Wire:
    spec = filled(workload.get("spec", {}), defaults)
    spec = within(spec, "template", default_template)
    if strategy:
        spec[strategy] = _strategy(spec[strategy], rolling or {})
    return workload | {"spec": spec}


def _strategy(strategy: Wire, rolling: Wire) -> Wire:
    strategy = filled(strategy, {"type": "RollingUpdate"})
    if strategy["type"] != "RollingUpdate":
        return strategy
    return strategy | {"rollingUpdate": rolling | strategy.get("rollingUpdate", {})}
