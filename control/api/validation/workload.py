"""Validate Deployments, ReplicaSets and DaemonSets. Pure.

Source: k8s.io/kubernetes/pkg/apis/apps/validation
"""

import re

from control.api import field
from control.api.field import FieldError
from control.api.selectors import selects
from control.api.validation import text
from control.api.validation.claims import validate_claim_spec
from control.api.validation.meta import immutable, invalid_each, validate_selector
from control.api.validation.pods.pod import validate_template
from control.api.validation.text import NOT_NEGATIVE
from control.api.workload import (
    ControllerRevision,
    DaemonSet,
    DaemonSetSpec,
    Deployment,
    DeploymentSpec,
    OrderedStrategy,
    PodTemplateSpec,
    ReplicaSet,
    ReplicaSetSpec,
    RollingUpdate,
    StatefulSet,
    StatefulSetSpec,
    UpdateStrategy,
)

_PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or"
    " '93%', regex used for validation is '[0-9]+%')"
)


def validate_deployment(deployment: Deployment) -> list[FieldError]:
    """Check a Deployment."""
    spec = deployment.spec
    found = _selected(spec, "deployment")
    found += _template(spec.template)
    found += _deployment_strategy("spec.strategy", spec.strategy)
    numbers = {
        "replicas": spec.replicas,
        "minReadySeconds": spec.min_ready_seconds,
        "revisionHistoryLimit": spec.revision_history_limit,
        "progressDeadlineSeconds": spec.progress_deadline_seconds,
    }
    found += _not_negative(numbers)
    progress, ready = spec.progress_deadline_seconds, spec.min_ready_seconds or 0
    if progress is not None and progress <= ready:
        why = "must be greater than minReadySeconds"
        found.append(field.invalid("spec.progressDeadlineSeconds", progress, why))
    return found


def validate_deployment_update(new: Deployment, old: Deployment) -> list[FieldError]:
    """Refuse a change of the selector."""
    return immutable("spec.selector", new.spec.selector, old.spec.selector)


def validate_replica_set(replica_set: ReplicaSet) -> list[FieldError]:
    """Check a ReplicaSet."""
    spec = replica_set.spec
    found = _selected(spec, "deployment")
    found += _template(spec.template)
    return found + _not_negative(
        {"replicas": spec.replicas, "minReadySeconds": spec.min_ready_seconds}
    )


def validate_replica_set_update(new: ReplicaSet, old: ReplicaSet) -> list[FieldError]:
    """Refuse a change of the selector."""
    return immutable("spec.selector", new.spec.selector, old.spec.selector)


def validate_daemon_set(daemon_set: DaemonSet) -> list[FieldError]:
    """Check a DaemonSet."""
    spec = daemon_set.spec
    found = _selected(spec, "daemonset")
    found += _template(spec.template)
    found += _daemon_strategy("spec.updateStrategy", spec.update_strategy)
    return found + _not_negative(
        {
            "minReadySeconds": spec.min_ready_seconds,
            "revisionHistoryLimit": spec.revision_history_limit,
        }
    )


def validate_daemon_set_update(new: DaemonSet, old: DaemonSet) -> list[FieldError]:
    """Refuse a change of the selector."""
    return immutable("spec.selector", new.spec.selector, old.spec.selector)


def validate_revision(revision: ControllerRevision) -> list[FieldError]:
    """Check the number of a ControllerRevision, and that it holds something."""
    found = [] if revision.data is not None else [field.required("data", "data is mandatory")]
    if revision.revision < 0:
        found.append(field.invalid("revision", revision.revision, NOT_NEGATIVE))
    return found


def validate_revision_update(new: ControllerRevision, old: ControllerRevision) -> list[FieldError]:
    """Refuse a change of what a ControllerRevision holds."""
    return immutable("data", new.data, old.data)


def validate_stateful_set(the_set: StatefulSet) -> list[FieldError]:
    """Check a StatefulSet."""
    spec = the_set.spec
    found = []
    if spec.pod_management_policy not in _MANAGEMENT:
        given, why = spec.pod_management_policy or "", "must be 'OrderedReady' or 'Parallel'"
        found.append(field.invalid("spec.podManagementPolicy", given, why))
    found += _ordered_strategy("spec.updateStrategy", spec.update_strategy)
    found += _retention(spec.persistent_volume_claim_retention_policy or {})
    for at, claim in enumerate(spec.volume_claim_templates):
        path = f"spec.volumeClaimTemplates[{at}].spec"
        found += validate_claim_spec(path, claim.get("spec", {}))
    found += _not_negative(
        {
            "replicas": spec.replicas,
            "minReadySeconds": spec.min_ready_seconds,
            "ordinals.start": spec.ordinals.start if spec.ordinals else None,
        }
    )
    if name := spec.service_name:
        found += invalid_each("spec.serviceName", name, text.dns_label(name))
    found += _selected(spec, "statefulset")
    found += validate_template("spec.template", _of_one_pod(spec))
    return found + _long_lived(spec.template, "StatefulSet")


def _of_one_pod(spec: StatefulSetSpec) -> PodTemplateSpec:
    """Return the template as each Pod has it: with a volume for each claim, in front.

    The controller chooses host name and subdomain, so those of the template are not checked.
    """
    # Each name once: the volumes of two claims of one name would be one.
    names = dict.fromkeys(
        claim.get("metadata", {}).get("name", "") for claim in spec.volume_claim_templates
    )
    wire = spec.template.spec.wire()
    wire |= {"hostname": "", "subdomain": ""}
    if names:
        claimed = [{"name": it, "persistentVolumeClaim": {"claimName": it}} for it in names]
        own = [volume for volume in wire.get("volumes", ()) if volume.get("name", "") not in names]
        wire["volumes"] = [*claimed, *own]
    return PodTemplateSpec.parse(spec.template.wire() | {"spec": wire})


_MANAGEMENT = ("OrderedReady", "Parallel")
_RETENTIONS = ("Retain", "Delete")


def _ordered_strategy(path: str, strategy: OrderedStrategy) -> list[FieldError]:
    known = ("RollingUpdate", "OnDelete")
    if strategy.type not in known:
        return [field.invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")]
    rolling = strategy.rolling_update
    if strategy.type == "OnDelete":
        why = "only allowed for updateStrategy 'RollingUpdate'"
        return [field.invalid(f"{path}.rollingUpdate", rolling, why)] if rolling else []
    if rolling is None:
        return []
    found = validate_amount(f"{path}.rollingUpdate.partition", rolling.partition)
    return found + validate_amount(f"{path}.rollingUpdate.maxUnavailable", rolling.max_unavailable)


def _retention(policy: dict[str, str]) -> list[FieldError]:
    return [
        field.not_supported_in_order(
            f"spec.persistentVolumeClaimRetentionPolicy.{name}", value, _RETENTIONS
        )
        for name, value in policy.items()
        if value not in _RETENTIONS
    ]


_CHANGEABLE = {
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
}


def validate_stateful_set_update(new: StatefulSet, old: StatefulSet) -> list[FieldError]:
    """Refuse changes of what the Pods are found and named by."""
    after, before = new.spec.wire(), old.spec.wire()
    names = {*after, *before} - _CHANGEABLE
    if all(after.get(name) == before.get(name) for name in names):
        return []
    why = (
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template',"
        " 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and"
        " 'minReadySeconds' are forbidden"
    )
    return [field.forbidden("spec", why)]


def _not_negative(numbers: dict[str, int | None]) -> list[FieldError]:
    return [
        field.invalid(f"spec.{name}", value, NOT_NEGATIVE)
        for name, value in numbers.items()
        if value is not None and value < 0
    ]


# What upstream says, beside its reasons, of a selector that cannot be read.
_UNREADABLE = {"deployment": "invalid label selector", "statefulset": ""}


def _selected(
    spec: DeploymentSpec | ReplicaSetSpec | DaemonSetSpec | StatefulSetSpec, noun: str
) -> list[FieldError]:
    """Check that the selector is not empty and matches the template's labels."""
    selector, template, given = spec.selector, spec.template, "selector" in spec.model_fields_set
    labels, why = template.metadata.labels, "`selector` does not match template `labels`"
    mismatch = field.invalid("spec.template.metadata.labels", labels, why)
    if not given:
        missing = [field.required("spec.selector")] if noun != "daemonset" else []
        return [*missing, mismatch]
    if not selector.match_labels and not selector.match_expressions:
        why = f"empty selector is invalid for {noun}"
        return [field.invalid("spec.selector", selector, why)]
    if found := validate_selector("spec.selector", selector):
        if noun in _UNREADABLE:
            found.append(field.invalid("spec.selector", selector, _UNREADABLE[noun]))
        return found
    return [] if selects(selector, labels) else [mismatch]


def _template(template: PodTemplateSpec) -> list[FieldError]:
    return validate_template("spec.template", template) + _long_lived(template, "ReplicaSet")


def _long_lived(template: PodTemplateSpec, noun: str) -> list[FieldError]:
    """Check that Pods are started again when they end."""
    policy, found = template.spec.restart_policy, []
    if policy and policy != "Always":
        found.append(field.not_supported("spec.template.spec.restartPolicy", policy, ["Always"]))
    if template.spec.active_deadline_seconds is not None:
        why = f"activeDeadlineSeconds in {noun} is not Supported"
        found.append(field.forbidden("spec.template.spec.activeDeadlineSeconds", why))
    return found


def _deployment_strategy(path: str, strategy: UpdateStrategy) -> list[FieldError]:
    if strategy.type == "Recreate":
        why = "may not be specified when strategy `type` is 'Recreate'"
        return [field.forbidden(f"{path}.rollingUpdate", why)] if strategy.rolling_update else []
    if strategy.type != "RollingUpdate":
        return [_no_strategy(path, strategy, "Recreate", "RollingUpdate")]
    return _rolling(f"{path}.rollingUpdate", strategy.rolling_update or RollingUpdate())


def _daemon_strategy(path: str, strategy: UpdateStrategy) -> list[FieldError]:
    if strategy.type == "OnDelete":
        return []
    if strategy.type != "RollingUpdate":
        return [_no_strategy(path, strategy, "RollingUpdate", "OnDelete")]
    rolling = strategy.rolling_update or RollingUpdate()
    found = _rolling(f"{path}.rollingUpdate", rolling, daemon=True)
    if not found and _is_zero(rolling.max_surge) == _is_zero(rolling.max_unavailable) is False:
        why = "may not be set when maxUnavailable is non-zero"
        found.append(field.invalid(f"{path}.rollingUpdate.maxSurge", rolling.max_surge, why))
    return found


def _no_strategy(path: str, strategy: UpdateStrategy, *known: str) -> FieldError:
    """Return the error of an unknown strategy; upstream shows all of it."""
    rolling = strategy.rolling_update
    parts = (
        {f"{it[0].upper()}{it[1:]}": at for it, at in rolling.wire().items()} if rolling else None
    )
    shown = {"Type": strategy.type, "RollingUpdate": parts}
    return field.not_supported_in_order(path, shown, known)


def _rolling(path: str, rolling: RollingUpdate, *, daemon: bool = False) -> list[FieldError]:
    found = validate_amount(f"{path}.maxUnavailable", rolling.max_unavailable)
    found += validate_amount(f"{path}.maxSurge", rolling.max_surge)
    if not found and _is_zero(rolling.max_unavailable) and _is_zero(rolling.max_surge):
        where, why = f"{path}.maxUnavailable", "may not be 0 when `maxSurge` is 0"
        if daemon:
            found.append(field.required(where, "cannot be 0 when maxSurge is 0"))
        else:
            found.append(field.invalid(where, rolling.max_unavailable, why))
    if not found and percent_of(rolling.max_unavailable) > 100:
        why = "must not be greater than 100%"
        found.append(field.invalid(f"{path}.maxUnavailable", rolling.max_unavailable, why))
    return found


def validate_amount(path: str, value: int | str | None) -> list[FieldError]:
    """Check a number that is not negative, or a percentage."""
    if isinstance(value, str):
        return [] if re.fullmatch("[0-9]+%", value) else [field.invalid(path, value, _PERCENT)]
    return [field.invalid(path, value, NOT_NEGATIVE)] if value is not None and value < 0 else []


def _is_zero(value: int | str | None) -> bool:
    return value in (0, None) or percent_of(value) == 0


def percent_of(value: int | str | None) -> int:
    """Return the number of a percentage; -1 for a value that is not one."""
    return int(value.removesuffix("%")) if isinstance(value, str) else -1
