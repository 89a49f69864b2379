"""Computes a Deployment's status: counts, and the conditions Available and Progressing. Pure.

Reasons and messages are upstream's, because kubectl and others read them:
https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status
"""

from collections.abc import Sequence

from control.api.meta import Condition
from control.api.times import rfc3339, seconds_of
from control.api.workload import Deployment, DeploymentStatus, ReplicaSet
from control.controllers.deployment.history import Versions
from control.controllers.deployment.limits import Limits
from control.controllers.pods import condition

_NO_DEADLINE = 2**31 - 1  # as kubectl writes "for ever"


def status_of(
    deployment: Deployment, found: Versions, bounds: Limits, now: float
) -> DeploymentStatus:
    """Return the status to write."""
    counted = _counts(deployment, found)
    conditions = [
        _kept(deployment, _available(counted, bounds, now)),
        _progressing(deployment, found, counted, now),
        _failure(found),
    ]
    return counted.model_copy(update={"conditions": [c for c in conditions if c is not None]})


def _counts(deployment: Deployment, found: Versions) -> DeploymentStatus:
    def total(sets: Sequence[ReplicaSet], count: str) -> int:
        return sum(getattr(rs.status, count) or 0 for rs in sets)

    wanted = sum(rs.spec.replicas or 0 for rs in found.all)
    available = total(found.all, "available_replicas")
    updated = total((found.new,), "replicas") if found.new else 0
    # Zero counts are left out, as upstream does.
    return deployment.status.model_copy(
        update={
            "observed_generation": deployment.metadata.generation,
            "replicas": total(found.all, "replicas") or None,
            "updated_replicas": updated or None,
            "ready_replicas": total(found.all, "ready_replicas") or None,
            "available_replicas": available or None,
            "unavailable_replicas": max(0, wanted - available) or None,
        }
    )


def is_complete(status: DeploymentStatus, bounds: Limits) -> bool:
    """True if all Pods are of the wanted version, and available."""
    counts = (status.updated_replicas, status.replicas, status.available_replicas)
    return all((count or 0) == bounds.replicas for count in counts)


def _available(status: DeploymentStatus, bounds: Limits, now: float) -> Condition:
    enough = (status.available_replicas or 0) >= bounds.replicas - bounds.unavailable
    word = "has" if enough else "does not have"
    return _condition(
        "Available",
        "True" if enough else "False",
        "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        f"Deployment {word} minimum availability.",
        now,
    )


def _failure(found: Versions) -> Condition | None:
    """Return a ReplicaSet's condition ReplicaFailure, the wanted version's first."""
    for rs in reversed(found.all):
        failure = condition(rs.status.conditions, "ReplicaFailure")
        if failure is not None:
            return failure.model_copy(update={"last_update_time": failure.last_transition_time})
    return None


def deadline(deployment: Deployment) -> int | None:
    """Return the seconds without progress after which a rollout is stuck; None if it never is."""
    seconds = deployment.spec.progress_deadline_seconds
    return None if seconds is None or seconds >= _NO_DEADLINE else seconds


def _progressing(
    deployment: Deployment, found: Versions, status: DeploymentStatus, now: float
) -> Condition | None:
    if deadline(deployment) is None:
        return None
    known = condition(deployment.status.conditions, "Progressing")
    if deployment.spec.paused:
        return _paused(known, now)
    title = _title(deployment, found.new)
    if known and _had_ended(known, title, status):
        return known
    new = _stage(deployment, found, known, status, now)
    if new is None:
        return known
    moved = _moved(deployment.status, status) and new.reason == "ReplicaSetUpdated"
    return _merged(known, new, refresh=moved)


def _had_ended(known: Condition, title: str, status: DeploymentStatus) -> bool:
    """True if this rollout has completed: later changes, such as a lost Pod, do not count."""
    ended = known.reason == "NewReplicaSetAvailable" and title in (known.message or "")
    return ended and (status.replicas or 0) == (status.updated_replicas or 0)


def _paused(known: Condition | None, now: float) -> Condition | None:
    if known and known.reason in ("ProgressDeadlineExceeded", "DeploymentPaused"):
        return known
    pause = ("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
    return _merged(known, _condition(*pause))


def _stage(
    deployment: Deployment,
    found: Versions,
    known: Condition | None,
    status: DeploymentStatus,
    now: float,
) -> Condition | None:
    """Return the rollout's new condition; None if it has not changed."""
    title = _title(deployment, found.new)
    kind = "Progressing"
    if _complete(deployment, status):
        text = f"{title} has successfully progressed."
        return _condition(kind, "True", "NewReplicaSetAvailable", text, now)
    if known and known.reason == "DeploymentPaused":
        return _condition(kind, "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    if _moved(deployment.status, status):
        text = f"{title} is progressing."
        return _condition(kind, "True", "ReplicaSetUpdated", text, now)
    if found.new and (known is None or _is_about_another(known, found.new)):
        text = f'Created new replica set "{found.new.metadata.name}"'
        return _condition(kind, "True", "NewReplicaSetCreated", text, now)
    if known and _is_overdue(deployment, known, now):
        text = f"{title} has timed out progressing."
        return _condition(kind, "False", "ProgressDeadlineExceeded", text, now)
    return None


def _complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    replicas = 1 if deployment.spec.replicas is None else deployment.spec.replicas
    return is_complete(status, Limits(replicas, 0, 0))


def _title(deployment: Deployment, new: ReplicaSet | None) -> str:
    if new is None:
        return f'Deployment "{deployment.metadata.name}"'
    return f'ReplicaSet "{new.metadata.name}"'


def _is_about_another(known: Condition, new: ReplicaSet) -> bool:
    """True if the condition reports the end or failure of another version's rollout."""
    ended = known.reason in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded")
    return ended and f'"{new.metadata.name}"' not in (known.message or "")


def _moved(old: DeploymentStatus, new: DeploymentStatus) -> bool:
    """True if there was progress: more updated, ready or available Pods, or fewer old ones."""

    def outdated(status: DeploymentStatus) -> int:
        return (status.replicas or 0) - (status.updated_replicas or 0)

    return (
        (new.updated_replicas or 0) > (old.updated_replicas or 0)
        or (new.ready_replicas or 0) > (old.ready_replicas or 0)
        or (new.available_replicas or 0) > (old.available_replicas or 0)
        or outdated(new) < outdated(old)
    )


def _is_overdue(deployment: Deployment, known: Condition, now: float) -> bool:
    left = overdue_in(deployment, known, now)
    return left is not None and left <= 0


def overdue_in(deployment: Deployment, known: Condition | None, now: float) -> float | None:
    """Return the seconds until the rollout counts as stuck; None if it cannot, or does already."""
    seconds = deadline(deployment)
    if known is None or seconds is None or deployment.spec.paused:
        return None
    if known.reason in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    since = seconds_of(known.last_update_time)
    return None if since is None else since + seconds - now


def _condition(kind: str, status: str, reason: str, message: str, now: float) -> Condition:
    time = rfc3339(now)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_update_time=time,
        last_transition_time=time,
    )


def _kept(deployment: Deployment, new: Condition) -> Condition:
    return _merged(condition(deployment.status.conditions, new.type), new)


def _merged(known: Condition | None, new: Condition, *, refresh: bool = False) -> Condition:
    """Return the known condition if nothing changed; a status change sets the transition time."""
    if known is None:
        return new
    if (known.status, known.reason) == (new.status, new.reason) and not refresh:
        return known
    if known.status != new.status:
        return new
    return new.model_copy(update={"last_transition_time": known.last_transition_time})
